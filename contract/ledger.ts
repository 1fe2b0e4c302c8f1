import { z } from 'zod';
import { TOKEN_TYPES } from '../domain/catalog.ts';
import { operation } from './operation.ts';
import { pageQuery } from './page.ts';

export const LEDGER_PATH = '/api/v1/ledger';

const tokenAmount = z.int().nonnegative();
const instant = z.iso.datetime({ offset: false });

/**
 * One entry: `amount` went `from` an account `to` another, and this is what the balance was after it. Numbered from 1
 * without gaps per organization and token type. Instants have microseconds. `sealNumber`: the seal that covers it; null:
 * not sealed yet.
 */
export const ledgerEntry = z
  .strictObject({
    organizationId: z.string(),
    tokenType: z.string(),
    entryNumber: z.int().positive(),
    kind: z.string(),
    from: z.string(),
    to: z.string(),
    amount: z.int().positive(),
    availableAfter: tokenAmount,
    heldAfter: tokenAmount,
    owedAfter: tokenAmount,
    holdId: z.nullable(z.string()),
    grantId: z.nullable(z.int()),
    actor: z.string(),
    effectiveAt: instant,
    createdAt: instant,
    sealNumber: z.nullable(z.int()),
  })
  .meta({ id: 'LedgerEntry' });
export type LedgerEntry = z.infer<typeof ledgerEntry>;

/** `nextCursor` is null on the last page. */
export const ledgerPage = z
  .strictObject({ entries: z.array(ledgerEntry), nextCursor: z.nullable(z.string()) })
  .meta({ id: 'LedgerPage' });
export type LedgerPage = z.infer<typeof ledgerPage>;

/** A cursor belongs to the list that gave it: the same organization, `tokenType` and `order`. */
export const ledgerQuery = z.strictObject({
  tokenType: z.enum(TOKEN_TYPES),
  ...pageQuery({ most: 1_000, usual: 100 }),
  order: z.enum(['newest', 'oldest']).default('newest'),
});

/**
 * How far a ledger is sealed: the hash of the last seal, over every entry up to `lastEntry`. The signature is Ed25519 over
 * the text of docs/guides/LEDGER.md, in base64; `publicKey` is a PEM. Where no key is configured: isSigned false, and nulls.
 */
export const ledgerHead = z
  .strictObject({
    organizationId: z.string(),
    tokenType: z.string(),
    sealNumber: tokenAmount,
    lastEntry: tokenAmount,
    hash: z.string().regex(/^[0-9a-f]{64}$/),
    isSigned: z.boolean(),
    signature: z.nullable(z.string()),
    publicKey: z.nullable(z.string()),
  })
  .meta({ id: 'LedgerHead' });
export type LedgerHead = z.infer<typeof ledgerHead>;

export const ledgerHeadList = z.strictObject({ heads: z.array(ledgerHead) }).meta({ id: 'LedgerHeadList' });
export type LedgerHeadList = z.infer<typeof ledgerHeadList>;

export const ledgerHeadQuery = z.strictObject({ tokenType: z.enum(TOKEN_TYPES).optional() });

export const EXPORT_FORMATS = ['jsonl', 'csv'] as const;
export type ExportFormat = (typeof EXPORT_FORMATS)[number];

/** The whole ledger, oldest first: of one token type, or of all, one after the other. */
export const ledgerExportQuery = z.strictObject({
  tokenType: z.enum(TOKEN_TYPES).optional(),
  format: z.enum(EXPORT_FORMATS),
});

const read = { role: 'member', scopes: ['tokens:read'], operators: false } as const;

export const listLedger = operation({
  id: 'listLedger',
  method: 'get',
  path: LEDGER_PATH,
  tag: 'Ledger',
  summary: 'Entries of one token type',
  access: read,
  query: ledgerQuery,
  answers: { 200: { description: 'A page of entries.', schema: ledgerPage } },
  problems: [],
  examples: [{ title: 'The newest ten', query: { tokenType: 'goal_generation', limit: '10' }, status: 200 }],
});

export const listLedgerHeads = operation({
  id: 'listLedgerHeads',
  method: 'get',
  path: `${LEDGER_PATH}/heads`,
  tag: 'Ledger',
  summary: 'How far the ledger is sealed, signed',
  access: read,
  query: ledgerHeadQuery,
  answers: { 200: { description: 'A head for each token type.', schema: ledgerHeadList } },
  problems: [],
  examples: [{ title: 'All token types', status: 200 }],
});

export const exportLedger = operation({
  id: 'exportLedger',
  method: 'get',
  path: `${LEDGER_PATH}/export`,
  tag: 'Ledger',
  summary: 'The whole ledger as a file, with its sealed heads',
  access: read,
  query: ledgerExportQuery,
  answers: { 200: { description: 'Streamed, oldest entry first.', mediaTypes: ['application/jsonl', 'text/csv'] } },
  problems: [],
  examples: [
    { title: 'As JSON Lines', query: { format: 'jsonl' }, status: 200 },
    { title: 'One token type as CSV', query: { format: 'csv', tokenType: 'general' }, status: 200 },
  ],
});
