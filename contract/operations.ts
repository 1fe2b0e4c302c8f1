import { getBalances } from './balances.ts';
import { refundCharge } from './charges.ts';
import { getLiveness, getReadiness } from './health.ts';
import {
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
} from './holds.ts';
import { cancelJob, getJob, listJobs, startJob } from './jobs.ts';
import { exportLedger, listLedger, listLedgerHeads } from './ledger.ts';
import type { Operation } from './operation.ts';
import { quoteHolds } from './quotes.ts';
import { getRetention, setRetention } from './retention.ts';
import { getStatements } from './statements.ts';
import { checkBalance, getTokenStats } from './tokens.ts';
import { exportUsage, getUsage, getUsageSources, listUsage } from './usage.ts';

/** Everything that can be asked for over HTTP, in the order of the reference. Who may do what is said by each one's `access`. */
export const OPERATIONS: readonly Operation[] = [
  ...[checkBalance, getTokenStats],
  ...[startJob, getJob, listJobs, cancelJob],
  ...[placeHold, listHolds, getHold, captureHold, releaseHold, extendHold, growHold],
  ...[captureHolds, releaseHolds, extendHolds, growHolds, quoteHolds, refundCharge],
  ...[getBalances, listLedger, listLedgerHeads, exportLedger, getStatements],
  ...[getUsage, listUsage, exportUsage, getUsageSources],
  ...[getRetention, setRetention],
  ...[getLiveness, getReadiness],
];
