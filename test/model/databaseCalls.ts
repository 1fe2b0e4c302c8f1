import { createHash } from 'node:crypto';
import pg, { type Pool } from 'pg';
import type { Coalescer } from '../../db/coalescer.ts';
import { DatabaseFault } from '../../db/faults.ts';
import {
  captureHolds,
  extendHolds,
  growHolds,
  type HoldPlacement,
  holdTokens,
  refundCharge,
  releaseHolds,
} from '../../db/holds.ts';
import { admitJob } from '../../db/jobs.ts';
import { createPool } from '../../db/pool.ts';
import { elapse } from '../support/elapse.ts';
import { addGrant } from '../support/grant.ts';
import type { TestOrganization } from '../support/organization.ts';
import type { Answer, Command } from './ledger.ts';

export interface LedgerDatabase {
  superuser: Pool;
  api: Pool;
  apiUrl: string;
}

/** All rows of one verb; those about holds in one statement, as db/holds.ts sends them. */
export async function send(
  { superuser, api }: Pick<LedgerDatabase, 'superuser' | 'api'>,
  { organizationId, principal }: TestOrganization,
  rows: readonly Command[],
): Promise<Answer[]> {
  const requests = <V extends Command['verb']>(verb: V) =>
    rows
      .filter((row): row is Extract<Command, { verb: V }> => row.verb === verb)
      .map((row) => ({ ...row, organizationId, principal: principalOf(row, principal) }));
  const [first] = rows;
  switch (first?.verb) {
    case 'hold':
      if (first.isOfJob) return [await admit(api, { organizationId, principal }, first)];
      return (await holdTokens(api, requests('hold'))).map(placed);
    case 'capture':
      return captureHolds(api, requests('capture'));
    case 'release':
      return releaseHolds(api, requests('release'));
    case 'extend':
      return (await extendHolds(api, requests('extend'))).map(({ outcome }) => ({ outcome }));
    case 'grow':
      return growHolds(api, requests('grow'));
    case 'refund':
      return [await giveBack(api, organizationId, { ...first, principal: principalOf(first, principal) })];
    case 'adjust':
      return [await adjust(superuser, organizationId, first)];
    case 'grant': {
      const { tokenType, amount, priority, isPaid, lifetimeMs } = first;
      const expiresIn = lifetimeMs === null ? null : `${lifetimeMs} milliseconds`;
      await addGrant(superuser, organizationId, { tokenType, amount, priority, isPaid, expiresIn });
      return [{ outcome: 'granted' }];
    }
    case 'elapse':
      await elapse(superuser, organizationId, `${first.durationMs} milliseconds`);
      return [{ outcome: 'elapsed' }];
    case 'look': {
      const { rows: seen } = await superuser.query(
        'select t.balance as available from public.ai_tokens t where t.organization_id = $1 and t.token_type = $2',
        [organizationId, first.tokenType],
      );
      return [{ available: seen[0].available }];
    }
    case 'inspect':
      return [await inspect(superuser, organizationId, first)];
    default:
      throw new Error('a call has rows');
  }
}

/** The verbs that a process gathers, row by row. */
export function isGathered(row: Command): row is Extract<Command, { verb: keyof Coalescer }> {
  return ['hold', 'capture', 'release', 'extend', 'grow'].includes(row.verb);
}

/** One row as a process sends it: together with what others ask meanwhile. */
export async function sendThrough(
  coalescer: Coalescer,
  { organizationId, principal }: TestOrganization,
  row: Extract<Command, { verb: keyof Coalescer }>,
): Promise<Answer> {
  const whose = { organizationId, principal: principalOf(row, principal) };
  switch (row.verb) {
    case 'hold':
      return placed(await coalescer.hold({ ...row, ...whose }));
    case 'capture':
      return coalescer.capture({ ...row, ...whose });
    case 'release':
      return coalescer.release({ ...row, ...whose });
    case 'extend':
      return { outcome: (await coalescer.extend({ ...row, ...whose })).outcome };
    case 'grow':
      return coalescer.grow({ ...row, ...whose });
  }
}

const principalOf = (row: Command, member: string): string =>
  'isStranger' in row && row.isStranger ? 'user:stranger' : member;

function placed({ outcome, isRepeat, tokenType, available }: HoldPlacement): Answer {
  return { outcome, isRepeat, tokenType, available };
}

async function giveBack(
  api: Pool,
  organizationId: string,
  { chargeId, amount, key, principal }: Extract<Command, { verb: 'refund' }> & { principal: string },
): Promise<Answer> {
  const requestHash = createHash('sha256').update(`${chargeId} ${amount}`).digest();
  const { outcome, isRepeat, refunded, refundedInAll, charged, available } = await refundCharge(api, {
    organizationId,
    principal,
    chargeId,
    amount,
    reason: 'it was of no use',
    idempotency: { key, requestHash },
  });
  // What is said beside this one refusal is about the hold, if there is one.
  const said = outcome === 'charge_unknown' ? null : { refunded, refundedInAll, charged, available };
  return { outcome, isRepeat, ...(said ?? { refunded: null, refundedInAll: null, charged: null, available: null }) };
}

/** The same over a connection that the server ends meanwhile: null where that was before the answer came. */
export async function sendAndCut(
  ground: LedgerDatabase,
  organization: TestOrganization,
  rows: readonly Command[],
): Promise<Answer[] | null> {
  const own = createPool({ url: ground.apiUrl, applicationName: 'tollgate-cut', maxConnections: 1 });
  try {
    const {
      rows: [server],
    } = await own.query('select pg_catalog.pg_backend_pid() as pid');
    const answers = send({ superuser: ground.superuser, api: own }, organization, rows).catch((error: unknown) => {
      if (error instanceof DatabaseFault) return null;
      throw error;
    });
    // Waits for the server's process to be gone: what it did is then done, and time may pass.
    await ground.superuser.query('select pg_catalog.pg_terminate_backend($1, 10000)', [server.pid]);
    return await answers;
  } finally {
    await own.end();
  }
}

async function admit(
  api: Pool,
  whose: TestOrganization | { organizationId: string; principal: string },
  row: Extract<Command, { verb: 'hold' }>,
): Promise<Answer> {
  const admission = await admitJob(api, {
    ...whose,
    jobId: row.holdId,
    feature: row.feature,
    input: {},
    idempotencyKey: `key-${row.holdId}`,
    requestHash: Buffer.alloc(32),
    holdLifetimeMs: row.lifetimeMs,
    timeBudgetMs: 60_000,
  });
  if (admission.outcome !== 'admitted') throw new Error(`the job was ${admission.outcome}`);
  return { outcome: 'held', isRepeat: false, tokenType: null, available: null };
}

async function adjust(
  superuser: Pool,
  organizationId: string,
  { tokenType, change }: Extract<Command, { verb: 'adjust' }>,
): Promise<Answer> {
  try {
    await superuser.query(
      'update public.ai_tokens set balance = balance + $3 where organization_id = $1 and token_type = $2',
      [organizationId, tokenType, change],
    );
    return { outcome: 'adjusted' };
  } catch (error) {
    if (error instanceof pg.DatabaseError && error.code === '23514') return { outcome: 'adjustment_refused' };
    throw error;
  }
}

async function inspect(
  superuser: Pool,
  organizationId: string,
  { tokenType }: Extract<Command, { verb: 'inspect' }>,
): Promise<Answer> {
  const client = await superuser.connect();
  try {
    await client.query('begin');
    await client.query('select tollgate.lock_balances(array[$1], array[$2])', [organizationId, tokenType]);
    const { rows } = await client.query(
      `select b.available, b.held,
              array(select g.remaining from tollgate.grants g
                     where g.organization_id = b.organization_id and g.token_type = b.token_type order by g.id) as grants
         from tollgate.balances b
        where b.organization_id = $1 and b.token_type = $2`,
      [organizationId, tokenType],
    );
    await client.query('commit');
    const [{ available, held, grants }] = rows;
    return { available, held, grants: grants.map(Number) };
  } catch (error) {
    await client.query('rollback');
    throw error;
  } finally {
    client.release();
  }
}
