import { z } from 'zod';
import { TOKEN_TYPES } from '../domain/catalog.ts';
import { operation } from './operation.ts';

export const STATEMENTS_PATH = '/api/v1/statements';

/** A calendar month in the organization's own time zone; of one token type, or of all. */
export const statementQuery = z.strictObject({
  month: z.string().regex(/^[1-9]\d{3}-(0[1-9]|1[0-2])$/, 'must be a month, for example 2026-01'),
  tokenType: z.enum(TOKEN_TYPES).optional(),
});

const tokenAmount = z.int().nonnegative();

/**
 * What a month did to one token type, in whole tokens: opening + granted + bought - used + refunded - expired + adjusted =
 * closing, and a month's closing is the next one's opening. Opening and closing are available + held - owed, so they can
 * be negative; tokens on hold count until they are used.
 */
export const statement = z
  .strictObject({
    tokenType: z.string(),
    opening: z.int(),
    granted: tokenAmount,
    bought: tokenAmount,
    used: tokenAmount,
    refunded: tokenAmount,
    expired: tokenAmount,
    /** Up less down. */
    adjusted: z.int(),
    closing: z.int(),
    /** The part of `used` that the balance did not cover, and what of `granted` and `bought` paid such debts. */
    debtTakenUp: tokenAmount,
    debtPaid: tokenAmount,
    /** The entries of the ledger that it is made of; null: there were none. */
    firstEntry: z.nullable(z.int()),
    lastEntry: z.nullable(z.int()),
  })
  .meta({ id: 'Statement' });

const instant = z.iso.datetime({ offset: false });

/** `isOver`: the month has ended, and its statements will never read otherwise. */
export const statementList = z
  .strictObject({
    month: z.string(),
    timeZone: z.string(),
    startsAt: instant,
    endsAt: instant,
    isOver: z.boolean(),
    statements: z.array(statement),
  })
  .meta({ id: 'StatementList' });
export type StatementList = z.infer<typeof statementList>;

export const getStatements = operation({
  id: 'getStatements',
  method: 'get',
  path: STATEMENTS_PATH,
  tag: 'Ledger',
  summary: 'What a calendar month brought and took',
  description: 'opening + granted + bought - used + refunded - expired + adjusted = closing, always.',
  access: { role: 'member', scopes: ['tokens:read'], operators: false },
  query: statementQuery,
  answers: { 200: { description: 'A statement for each token type.', schema: statementList } },
  problems: [],
  examples: [{ title: 'One month', query: { month: '2026-01' }, status: 200 }],
});
