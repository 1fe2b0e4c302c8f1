import { z } from 'zod';
import { FEATURES, TOKEN_TYPES } from '../domain/catalog.ts';
import { operation } from './operation.ts';

export const LIMITS_PATH = '/api/v1/organizations/{organizationId}/limits';

const instant = z.iso.datetime({ offset: false });
const tokenAmount = z.int().nonnegative();

/** What is limited: '*' is each of them by itself. A user is user:ID and a key key:ID, as in the ledger. */
const SUBJECTS = {
  user: /^(?:\*|user:[A-Za-z0-9_-]{1,64})$/,
  key: /^(?:\*|key:[A-Za-z0-9_-]{1,64})$/,
  feature: new RegExp(`^(?:\\*|${FEATURES.join('|')})$`),
} as const;

/** Which limit: there is one for each token type, scope, subject and length. */
const whichLimit = {
  tokenType: z.enum(TOKEN_TYPES),
  scope: z.enum(['user', 'key', 'feature']),
  subject: z.string().max(100),
  every: z.enum(['day', 'period']),
};
const fits = ({ scope, subject }: { scope: keyof typeof SUBJECTS; subject: string }) => SUBJECTS[scope].test(subject);
const misfit = { path: ['subject'], message: 'must be *, or user:ID, key:ID or a feature, as the scope says' };

export const limitRequest = z.strictObject({ ...whichLimit, tokens: tokenAmount }).refine(fits, misfit);
export type LimitRequest = z.infer<typeof limitRequest>;
export const limitQuery = z.strictObject(whichLimit);
export const wholeLimitQuery = limitQuery.refine(fits, misfit);

/**
 * What each subject may use of a token type in a day of the organization's zone, or in a period. `used`: what is held and charged
 * since `windowStartsAt`, less what came back, by subject; the hundred who used most.
 */
export const limit = z
  .strictObject({
    ...whichLimit,
    tokens: tokenAmount,
    windowStartsAt: instant,
    used: z.array(z.strictObject({ subject: z.string(), tokens: tokenAmount })),
  })
  .meta({ id: 'Limit' });
export type Limit = z.infer<typeof limit>;
export const limitList = z.strictObject({ limits: z.array(limit) }).meta({ id: 'LimitList' });
export type LimitList = z.infer<typeof limitList>;

const ORGANIZATION = { organizationId: 'acme' };
const EACH_USER = { tokenType: 'goal_generation', scope: 'user', subject: '*', every: 'day' } as const;
const mayWrite = { role: 'admin', scopes: ['organization:write'], operators: true } as const;

export const listLimits = operation({
  id: 'listLimits',
  method: 'get',
  path: LIMITS_PATH,
  tag: 'Limits',
  summary: 'What users, keys and features may use, and what they have used',
  access: { role: 'admin', scopes: ['organization:read'], operators: true },
  answers: { 200: { description: 'All of them.', schema: limitList } },
  problems: ['organization_not_found'],
  examples: [{ title: 'All', params: ORGANIZATION, status: 200 }],
});

export const setLimit = operation({
  id: 'setLimit',
  method: 'put',
  path: LIMITS_PATH,
  tag: 'Limits',
  summary: 'Limit what a user, a key or a feature may use in a day or a period',
  description: 'A new limit counts from now on; another number for one that is there keeps what it has counted.',
  access: mayWrite,
  body: { schema: limitRequest },
  answers: { 200: { description: 'Set.', schema: limit } },
  problems: ['organization_not_found', 'too_many_limits'],
  examples: [
    { title: '30 a day for each user', params: ORGANIZATION, body: { ...EACH_USER, tokens: 30 }, status: 200 },
  ],
});

export const liftLimit = operation({
  id: 'liftLimit',
  method: 'delete',
  path: LIMITS_PATH,
  tag: 'Limits',
  summary: 'Lift a limit',
  access: mayWrite,
  query: limitQuery,
  answers: { 204: { description: 'Lifted.' } },
  problems: ['organization_not_found', 'limit_not_found'],
  examples: [{ title: 'The one for each user', params: ORGANIZATION, query: EACH_USER, status: 204 }],
});
