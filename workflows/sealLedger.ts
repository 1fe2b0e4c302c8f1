import { ApplicationFailure, proxyActivities, setCurrentDetails } from '@temporalio/workflow';
import type { LedgerSealing } from '../activities/ledgerSealing.ts';
import { SWEEP_STEP } from './activityOptions.ts';

const { sealUnsealedEntries } = proxyActivities<LedgerSealing>(SWEEP_STEP);

/** Seals the ledger's new entries, balance by balance, until nothing is left. Started by a Schedule. */
export async function sealLedger(): Promise<{ seals: number; entries: number }> {
  const { balances, seals, entries, gaps } = await sealUnsealedEntries();
  setCurrentDetails(`${entries} new entries of ${balances} balances were sealed, in ${seals} seals.`);
  // A run that shows as failed is what an operator looks for.
  if (gaps > 0) {
    throw ApplicationFailure.nonRetryable(
      `${gaps} balances have entries missing and were not sealed; npm run verify names them`,
      'LedgerHasGaps',
    );
  }
  return { seals, entries };
}
