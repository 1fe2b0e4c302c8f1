// What the worker's bundle offers to Temporal, by the names that histories know.
export { applyRetention } from './applyRetention.ts';
export { runJob } from './runJob.ts';
export { sealLedger } from './sealLedger.ts';
export { settleOrphanedJobs } from './settleOrphanedJobs.ts';
