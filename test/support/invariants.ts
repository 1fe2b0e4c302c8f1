import type { Pool } from 'pg';
import { verify } from '../../db/verify.ts';

/** Fails with the offending rows when a promise of DESIGN.md, section 2, is broken anywhere in the database. */
export async function expectInvariants(superuser: Pool): Promise<void> {
  const findings = await verify(superuser);
  if (findings.length === 0) return;
  const lines = findings.flatMap(({ check, sentence, rows }) => [
    `${check}: ${sentence}`,
    ...rows.map((row) => `    ${JSON.stringify(row)}`),
  ]);
  throw new Error(`The invariants do not hold.\n${lines.join('\n')}`);
}
