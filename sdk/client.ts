import type { adjustBalance, listAdjustments, reverseAdjustment } from '../contract/adjustments.ts';
import type { listAuditLog, listOrganizationAuditLog } from '../contract/auditLog.ts';
import type { BalanceList, getBalances, PastBalanceList } from '../contract/balances.ts';
import type { setCaps } from '../contract/caps.ts';
import type { refundCharge } from '../contract/charges.ts';
import type { getDocs, getDocsFile, getOpenApi } from '../contract/docs.ts';
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
import type { createKey, getKey, listKeys, revokeKey, rotateKey } from '../contract/keys.ts';
import type { exportLedger, listLedger, listLedgerHeads } from '../contract/ledger.ts';
import type { liftLimit, listLimits, setLimit } from '../contract/limits.ts';
import type { listMembers, removeMember, setMember } from '../contract/members.ts';
import type { AnswerOf, QueryOf } from '../contract/operationShapes.ts';
import type {
  createOrganization,
  getOrganization,
  listOrganizations,
  renameOrganization,
} from '../contract/organizations.ts';
import type { quoteHolds } from '../contract/quotes.ts';
import type { getRetention, setRetention } from '../contract/retention.ts';
import type { changeSettings, getSettings } from '../contract/settings.ts';
import type { getStatements } from '../contract/statements.ts';
import type { resumeOrganization, suspendOrganization } from '../contract/suspensions.ts';
import type { checkBalance, getTokenStats, TokenCheck, TokenDeduction, TokenRequest } from '../contract/tokens.ts';
import type { exportUsage, getUsage, getUsageSources, listUsage } from '../contract/usage.ts';
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
  const { ask, askRows, list, download } = askingOver(connection);
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
      export: download<typeof exportLedger>('get /api/v1/ledger/export query'),
    },
    statements: {
      get: ask<typeof getStatements>('get /api/v1/statements query'),
    },
    usage: {
      series: ask<typeof getUsage>('get /api/v1/usage query') as GetUsageSeries,
      /** The series as `format: 'csv'`. */
      seriesFile: download<typeof getUsage>('get /api/v1/usage query'),
      log: list<typeof listUsage, 'lines'>('get /api/v1/usage/log query', 'lines'),
      logFile: download<typeof exportUsage>('get /api/v1/usage/log/export query'),
      sources: ask<typeof getUsageSources>('get /api/v1/usage/{usageId}/sources'),
    },
    organizations: {
      create: ask<typeof createOrganization>('post /api/v1/organizations body key'),
      list: list<typeof listOrganizations, 'organizations'>('get /api/v1/organizations query', 'organizations'),
      get: ask<typeof getOrganization>('get /api/v1/organizations/{organizationId}'),
      rename: ask<typeof renameOrganization>('patch /api/v1/organizations/{organizationId} body'),
      suspend: ask<typeof suspendOrganization>('post /api/v1/organizations/{organizationId}/suspend repeatable'),
      resume: ask<typeof resumeOrganization>('post /api/v1/organizations/{organizationId}/resume repeatable'),
      setCaps: ask<typeof setCaps>('put /api/v1/organizations/{organizationId}/caps body'),
      settings: ask<typeof getSettings>('get /api/v1/organizations/{organizationId}/settings'),
      changeSettings: ask<typeof changeSettings>('patch /api/v1/organizations/{organizationId}/settings body'),
      retention: ask<typeof getRetention>('get /api/v1/organizations/{organizationId}/retention'),
      setRetention: ask<typeof setRetention>('put /api/v1/organizations/{organizationId}/retention body'),
    },
    members: {
      list: list<typeof listMembers, 'members'>('get /api/v1/organizations/{organizationId}/members query', 'members'),
      set: ask<typeof setMember>('put /api/v1/organizations/{organizationId}/members/{userId} body'),
      remove: ask<typeof removeMember>('delete /api/v1/organizations/{organizationId}/members/{userId} 204'),
    },
    keys: {
      list: list<typeof listKeys, 'keys'>('get /api/v1/organizations/{organizationId}/keys query', 'keys'),
      // Neither takes a key, and a secret is shown once: a lost answer is the caller's to look into.
      create: ask<typeof createKey>('post /api/v1/organizations/{organizationId}/keys body'),
      rotate: ask<typeof rotateKey>('post /api/v1/organizations/{organizationId}/keys/{keyId}/rotate body'),
      get: ask<typeof getKey>('get /api/v1/organizations/{organizationId}/keys/{keyId}'),
      revoke: ask<typeof revokeKey>('delete /api/v1/organizations/{organizationId}/keys/{keyId}'),
    },
    limits: {
      list: ask<typeof listLimits>('get /api/v1/organizations/{organizationId}/limits'),
      set: ask<typeof setLimit>('put /api/v1/organizations/{organizationId}/limits body'),
      lift: ask<typeof liftLimit>('delete /api/v1/organizations/{organizationId}/limits query 204'),
    },
    adjustments: {
      make: ask<typeof adjustBalance>('post /api/v1/organizations/{organizationId}/adjustments body key'),
      reverse: ask<typeof reverseAdjustment>(
        'post /api/v1/organizations/{organizationId}/adjustments/{adjustmentId}/reverse repeatable',
      ),
      list: list<typeof listAdjustments, 'adjustments'>(
        'get /api/v1/organizations/{organizationId}/adjustments query',
        'adjustments',
      ),
    },
    audit: {
      all: list<typeof listAuditLog, 'entries'>('get /api/v1/audit query', 'entries'),
      list: list<typeof listOrganizationAuditLog, 'entries'>(
        'get /api/v1/organizations/{organizationId}/audit query',
        'entries',
      ),
    },
    health: {
      alive: ask<typeof getLiveness>('get /healthz'),
      ready: ask<typeof getReadiness>('get /readyz 503'),
    },
    reference: {
      openApi: ask<typeof getOpenApi>('get /openapi.json'),
      page: download<typeof getDocs>('get /docs'),
      file: download<typeof getDocsFile>('get /docs/{file}'),
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
type GetUsageSeries = (
  query: Omit<QueryOf<typeof getUsage>, 'format'>,
  options?: CallOptions,
) => Promise<AnswerOf<typeof getUsage>>;
