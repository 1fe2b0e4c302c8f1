import type { BalanceList, getBalances, PastBalanceList } from '../contract/balances.ts';
import type { refundCharge } from '../contract/charges.ts';
import type { getLiveness, getReadiness } from '../contract/health.ts';
import type {
  captureHold,
  captureHolds,
  extendHold,
  extendHolds,
  getHold,
  growHold,
  growHolds,
  listHolds,
  placeHold,
  releaseHold,
  releaseHolds,
} from '../contract/holds.ts';
import type { AdmittedJob, cancelJob, getJob, listJobs, startJob } from '../contract/jobs.ts';
import type { exportLedger, listLedger, listLedgerHeads } from '../contract/ledger.ts';
import type { quoteHolds } from '../contract/quotes.ts';
import type { getStatements } from '../contract/statements.ts';
import type { checkBalance, getTokenStats, TokenCheck, TokenDeduction, TokenRequest } from '../contract/tokens.ts';
import type { Feature } from '../domain/catalog.ts';
import type { FeatureInput } from '../domain/features/definitions.ts';
import { askingOver } from './asking.ts';
import { type CallOptions, connect, type TollgateConfiguration } from './connection.ts';
import { createHeldWork } from './heldWork.ts';
import { createJobRuns } from './jobRun.ts';
import { createOutage, type OutageOptions } from './outage.ts';

export type TollgateOptions = TollgateConfiguration & OutageOptions;
export type Tollgate = ReturnType<typeof createTollgate>;

/**
 * A client of one Tollgate as one caller: a function for everything that can be asked for over HTTP, and what is made of several
 * requests: `jobs.run`, `withTokens`.
 *
 * Each call is repeated as far as that is safe, within its deadline, and throws TollgateError with a stable `code`. The last
 * argument of each is its options: `{ idempotencyKey, signal, deadlineMs, reason }`.
 */
export function createTollgate(options: TollgateOptions) {
  const connection = connect(options);
  const { ask, askRows, list } = askingOver(connection);
  const outage = createOutage(connection, options);
  return {
    tokens: {
      checkBalance: ask<typeof checkBalance>('post /api/v1/tokens/check-balance body key') as CheckBalance,
      stats: ask<typeof getTokenStats>('get /api/v1/tokens/stats query'),
    },
    jobs: {
      start: ask<typeof startJob>('post /api/v1/jobs body key') as StartJob,
      get: ask<typeof getJob>('get /api/v1/jobs/{jobId} query'),
      list: list<typeof listJobs, 'jobs'>('get /api/v1/jobs query', 'jobs'),
      cancel: ask<typeof cancelJob>('post /api/v1/jobs/{jobId}/cancel repeatable'),
      ...createJobRuns(connection, options.timeoutMs),
    },
    holds: {
      place: ask<typeof placeHold>('post /api/v1/holds body key'),
      list: list<typeof listHolds, 'holds'>('get /api/v1/holds query', 'holds'),
      get: ask<typeof getHold>('get /api/v1/holds/{holdId}'),
      capture: ask<typeof captureHold>('post /api/v1/holds/{holdId}/capture body key'),
      release: ask<typeof releaseHold>('post /api/v1/holds/{holdId}/release repeatable'),
      extend: ask<typeof extendHold>('post /api/v1/holds/{holdId}/extend body repeatable'),
      grow: ask<typeof growHold>('post /api/v1/holds/{holdId}/grow body key'),
      placeMany: askRows<typeof placeHold>('post /api/v1/holds keyed'),
      captureMany: askRows<typeof captureHolds>('post /api/v1/holds/capture rows'),
      releaseMany: askRows<typeof releaseHolds>('post /api/v1/holds/release rows'),
      extendMany: askRows<typeof extendHolds>('post /api/v1/holds/extend rows'),
      growMany: askRows<typeof growHolds>('post /api/v1/holds/grow keyed'),
    },
    charges: {
      refund: ask<typeof refundCharge>('post /api/v1/charges/{chargeId}/refund body key'),
    },
    quotes: {
      get: ask<typeof quoteHolds>('post /api/v1/quotes body repeatable'),
      getMany: askRows<typeof quoteHolds>('post /api/v1/quotes rows'),
    },
    balances: {
      get: ask<typeof getBalances>('get /api/v1/balances query') as GetBalances,
    },
    ledger: {
      list: list<typeof listLedger, 'entries'>('get /api/v1/ledger query', 'entries'),
      heads: ask<typeof listLedgerHeads>('get /api/v1/ledger/heads query'),
      export: ask<typeof exportLedger>('get /api/v1/ledger/export query download'),
    },
    statements: {
      get: ask<typeof getStatements>('get /api/v1/statements query'),
    },
    health: {
      alive: ask<typeof getLiveness>('get /healthz'),
      ready: ask<typeof getReadiness>('get /readyz 503'),
    },
    withTokens: createHeldWork(connection, outage),
    /** What an outage left to be charged. */
    outage: outage.view,
  };
}

/** Where what is answered depends on what is asked, more than the table of operations can say. */
interface CheckBalance {
  (request: TokenRequest & { action: 'check' }, options?: CallOptions): Promise<TokenCheck>;
  (request: TokenRequest & { action: 'deduct' }, options?: CallOptions): Promise<TokenDeduction>;
}
type StartJob = <Of extends Feature>(
  request: { feature: Of; input: FeatureInput<Of> },
  options?: CallOptions,
) => Promise<AdmittedJob>;
interface GetBalances {
  (query?: { at?: undefined }, options?: CallOptions): Promise<BalanceList>;
  (query: { at: string }, options?: CallOptions): Promise<PastBalanceList>;
}
