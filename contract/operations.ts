import { adjustBalance, listAdjustments, reverseAdjustment } from './adjustments.ts';
import { listAuditLog, listOrganizationAuditLog } from './auditLog.ts';
import { getBalances } from './balances.ts';
import { setCaps } from './caps.ts';
import { refundCharge } from './charges.ts';
import { getDocs, getDocsFile, getOpenApi } from './docs.ts';
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
import { createKey, getKey, listKeys, revokeKey, rotateKey } from './keys.ts';
import { exportLedger, listLedger, listLedgerHeads } from './ledger.ts';
import { liftLimit, listLimits, setLimit } from './limits.ts';
import { listMembers, removeMember, setMember } from './members.ts';
import type { Operation } from './operation.ts';
import { createOrganization, getOrganization, listOrganizations, renameOrganization } from './organizations.ts';
import { quoteHolds } from './quotes.ts';
import { getRetention, setRetention } from './retention.ts';
import { changeSettings, getSettings } from './settings.ts';
import { getStatements } from './statements.ts';
import { resumeOrganization, suspendOrganization } from './suspensions.ts';
import { checkBalance, getTokenStats } from './tokens.ts';
import { exportUsage, getUsage, getUsageSources, listUsage } from './usage.ts';

/** Everything that can be asked for over HTTP, in the order of the reference. Who may do what is said by each one's `access`. */
export const OPERATIONS: readonly Operation[] = [
  ...[checkBalance, getTokenStats],
  ...[startJob, getJob, listJobs, cancelJob],
  ...[placeHold, listHolds, getHold, captureHold, releaseHold, extendHold, growHold],
  ...[captureHolds, releaseHolds, extendHolds, growHolds, quoteHolds, refundCharge],
  ...[getBalances, listLedger, listLedgerHeads, exportLedger, getStatements],
  ...[listKeys, createKey, getKey, rotateKey, revokeKey],
  ...[listLimits, setLimit, liftLimit, getSettings, changeSettings],
  ...[createOrganization, listOrganizations, getOrganization, renameOrganization],
  ...[listMembers, setMember, removeMember, adjustBalance, reverseAdjustment, listAdjustments],
  ...[listAuditLog, listOrganizationAuditLog],
  ...[suspendOrganization, resumeOrganization, setCaps],
  ...[getUsage, listUsage, exportUsage, getUsageSources],
  ...[getRetention, setRetention],
  ...[getLiveness, getReadiness, getOpenApi, getDocs, getDocsFile],
];
