import { z } from 'zod';
import { KEY_SCOPES } from '../domain/keyScopes.ts';
import { askedInstant } from './askedInstant.ts';
import { operation } from './operation.ts';
import { pageQuery } from './page.ts';

export const KEYS_PATH = '/api/v1/organizations/{organizationId}/keys';

const instant = z.iso.datetime({ offset: false });
const LONGEST_OVERLAP_S = 2_592_000;
const USUAL_OVERLAP_S = 86_400;

/**
 * A key as its organization sees it; never its secret, of which `prefix` is the beginning (null: made before it was kept).
 * `lastUsedAt` is exact to a minute. `replacedBy`: the newest key that it was rotated into.
 */
export const key = z
  .strictObject({
    id: z.string(),
    name: z.string(),
    mode: z.enum(['live', 'test']),
    prefix: z.nullable(z.string()),
    scopes: z.array(z.enum(KEY_SCOPES)),
    createdAt: instant,
    expiresAt: z.nullable(instant),
    revokedAt: z.nullable(instant),
    lastUsedAt: z.nullable(instant),
    replacedBy: z.nullable(z.string()),
  })
  .meta({ id: 'Key' });
export type Key = z.infer<typeof key>;

/** With its secret, which is shown this once. */
export const createdKey = key.extend({ secret: z.string() }).meta({ id: 'CreatedKey' });
export type CreatedKey = z.infer<typeof createdKey>;

/** The successor with its secret, and until when the key that it replaces works. */
export const rotatedKey = createdKey
  .extend({
    replaces: z.strictObject({ id: z.string(), expiresAt: z.nullable(instant) }),
  })
  .meta({ id: 'RotatedKey' });
export type RotatedKey = z.infer<typeof rotatedKey>;

/** The newest first. `nextCursor` is null on the last page. */
export const keyList = z
  .strictObject({ keys: z.array(key), nextCursor: z.nullable(z.string()) })
  .meta({ id: 'KeyList' });
export type KeyList = z.infer<typeof keyList>;
export const keyListQuery = z.strictObject(pageQuery({ most: 100, usual: 20 }));

/** Without `expiresAt` it ends when the key that asks does; asked for by a person, never. */
export const keyRequest = z
  .strictObject({
    name: z
      .string()
      .max(100)
      .regex(/^(?=.*\S)\P{Cc}+$/u, 'must say what the key is for'),
    scopes: z
      .array(z.enum(KEY_SCOPES))
      .min(1)
      .max(KEY_SCOPES.length)
      .refine((scopes) => new Set(scopes).size === scopes.length, 'must not name a scope twice'),
    expiresAt: askedInstant.optional(),
  })
  .meta({ id: 'KeyRequest' });
export type KeyRequest = z.infer<typeof keyRequest>;

export const rotationRequest = z
  .strictObject({
    overlapSeconds: z.int().nonnegative().max(LONGEST_OVERLAP_S).default(USUAL_OVERLAP_S),
  })
  .meta({ id: 'RotationRequest' });

const ORGANIZATION = { organizationId: 'acme' };
const ONE = { ...ORGANIZATION, keyId: 'acme-key' };
const mayRead = { role: 'admin', scopes: ['organization:read'], operators: true } as const;
const mayWrite = { role: 'admin', scopes: ['organization:write'], operators: true } as const;

export const listKeys = operation({
  id: 'listKeys',
  method: 'get',
  path: KEYS_PATH,
  tag: 'Keys',
  summary: 'The keys of an organization, the newest first',
  access: mayRead,
  query: keyListQuery,
  answers: { 200: { description: 'A page.', schema: keyList } },
  problems: ['organization_not_found'],
  examples: [{ title: 'The newest ten', params: ORGANIZATION, query: { limit: '10' }, status: 200 }],
});

export const createKey = operation({
  id: 'createKey',
  method: 'post',
  path: KEYS_PATH,
  tag: 'Keys',
  summary: 'Make a key',
  description:
    'The answer holds the secret, which is shown this once. A key hands on only scopes that it has itself, and lives on at most as long as it does.',
  access: mayWrite,
  body: { schema: keyRequest },
  answers: { 201: { description: 'Made.', schema: createdKey, headers: ['Location'] } },
  problems: ['organization_not_found', 'scope_missing'],
  examples: [
    {
      title: 'One that checks and deducts',
      params: ORGANIZATION,
      body: { name: 'web shop', scopes: ['tokens:read', 'tokens:write'] },
      status: 201,
    },
  ],
});

export const getKey = operation({
  id: 'getKey',
  method: 'get',
  path: `${KEYS_PATH}/{keyId}`,
  tag: 'Keys',
  summary: 'A key, without its secret',
  access: mayRead,
  answers: { 200: { description: 'As it is now.', schema: key } },
  problems: ['organization_not_found', 'key_not_found'],
  examples: [{ title: 'One', params: ONE, status: 200 }],
});

export const rotateKey = operation({
  id: 'rotateKey',
  method: 'post',
  path: `${KEYS_PATH}/{keyId}/rotate`,
  tag: 'Keys',
  summary: 'Give a key a successor, and let it work on for a while',
  description:
    'The successor has the same name, scopes, sub-limits and end, and a secret of its own. The old key works until the overlap is over; rotating it again makes another successor and never lengthens that.',
  access: mayWrite,
  body: { schema: rotationRequest },
  answers: { 201: { description: 'The successor.', schema: rotatedKey, headers: ['Location'] } },
  problems: ['key_not_found', 'key_already_ended', 'scope_missing'],
  examples: [{ title: 'An hour for both', params: ONE, body: { overlapSeconds: 3600 }, status: 201 }],
});

export const revokeKey = operation({
  id: 'revokeKey',
  method: 'delete',
  path: `${KEYS_PATH}/{keyId}`,
  tag: 'Keys',
  summary: 'End a key at once',
  description: 'No request that begins after the answer is let in with it. A repeat answers the same.',
  access: mayWrite,
  answers: { 200: { description: 'Revoked.', schema: key } },
  problems: ['key_not_found'],
  examples: [{ title: 'One', params: ONE, status: 200 }],
});
