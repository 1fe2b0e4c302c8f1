import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { runFor } from './rounds.ts';
import { CHARGE, HOLD, HOLD_LIFETIME_MS, principalOf, type Side } from './side.ts';

const POOL_SIZES = [4, 8, 16, 32];
/** Callers that try a pool's size: enough to keep the largest busy, and soon done. */
const PICKERS = 64;

/**
 * The usual way: a transaction of named prepared statements for each call, on a pool. It writes what ours writes: hold and
 * what it took, balance, grants, numbered entries, usage log. It asks less: no membership, no plan, no policies, and it
 * knows the token type of a hold without looking, so that whatever is unequal is in its favour.
 */
export function openFoil(url: string, connections: number): Side {
  // No time-outs of ours: on a hot balance a caller of the usual way waits for its turn longer than we would let it.
  const pool = new pg.Pool({ connectionString: url, max: connections, application_name: 'tollgate-bench-foil' });
  return {
    async hold(organizationId, amount: number = HOLD.amount) {
      const holdId = randomUUID();
      await inTransaction(pool, async (client) => {
        const balance = await lockBalance(client, organizationId);
        if (balance.available < amount) throw new Error(`the foil has no ${amount} tokens of ${organizationId}`);
        const grants = await client.query({
          name: 'lock_grants',
          text: `select id, remaining from foil.grants where organization_id = $1 and token_type = $2 and remaining > 0
                  order by priority, expires_at nulls last, is_paid, id for update`,
          values: [organizationId, HOLD.tokenType],
        });
        const parts = take(grants.rows, amount);
        await moveBalance(client, organizationId, -amount, amount, 1);
        for (const part of parts) await drainGrant(client, part.grantId, part.amount);
        await client.query({
          name: 'insert_hold',
          text: `insert into foil.holds (organization_id, id, token_type, feature, amount, principal, expires_at)
                 values ($1, $2, $3, $4, $5, $6, now() + $7 * interval '1 millisecond')`,
          values: [
            organizationId,
            holdId,
            HOLD.tokenType,
            HOLD.feature,
            amount,
            principalOf(organizationId),
            HOLD_LIFETIME_MS,
          ],
        });
        for (const [position, part] of parts.entries()) {
          await client.query({
            name: 'insert_allocation',
            text: 'insert into foil.allocations (organization_id, hold_id, position, grant_id, amount) values ($1, $2, $3, $4, $5)',
            values: [organizationId, holdId, position, part.grantId, part.amount],
          });
        }
        await client.query({
          name: 'insert_entry',
          text: `insert into foil.entries (organization_id, token_type, entry_number, kind, from_account, to_account, amount,
                                           available_after, held_after, hold_id, actor)
                 values ($1, $2, $3, 'hold', 'available', 'held', $4, $5, $6, $7, $8)`,
          values: [
            ...[organizationId, HOLD.tokenType, balance.lastEntry + 1, amount],
            ...[balance.available - amount, balance.held + amount, holdId, principalOf(organizationId)],
          ],
        });
      });
      return holdId;
    },

    async capture(organizationId, holdId, charge = CHARGE) {
      await inTransaction(pool, async (client) => {
        const balance = await lockBalance(client, organizationId);
        const hold = await client.query({
          name: 'lock_hold',
          text: `select feature, amount from foil.holds where organization_id = $1 and id = $2 and state = 'held' for update`,
          values: [organizationId, holdId],
        });
        const { feature } = hold.rows[0];
        const amount = Number(hold.rows[0].amount);
        const allocations = await client.query({
          name: 'lock_allocated_grants',
          text: `select g.id, a.amount as remaining
                   from foil.allocations a join foil.grants g on g.id = a.grant_id
                  where a.organization_id = $1 and a.hold_id = $2
                  order by a.position desc for update of g`,
          values: [organizationId, holdId],
        });
        const back = amount - charge;
        await client.query({
          name: 'end_hold',
          text: `update foil.holds set state = 'captured', captured = $3, ended_at = now() where organization_id = $1 and id = $2`,
          values: [organizationId, holdId, charge],
        });
        await moveBalance(client, organizationId, back, -amount, 2);
        // Last taken, first returned.
        for (const part of take(allocations.rows, back)) await drainGrant(client, part.grantId, -part.amount);
        await client.query({
          name: 'insert_two_entries',
          text: `insert into foil.entries (organization_id, token_type, entry_number, kind, from_account, to_account, amount,
                                           available_after, held_after, hold_id, actor)
                 values ($1, $2, $3::bigint,     'capture', 'held', 'consumed',  $4::bigint, $5::bigint,      $6::bigint,      $7, $8),
                        ($1, $2, $3::bigint + 1, 'release', 'held', 'available', $9::bigint, $5::bigint + $9, $6::bigint - $9, $7, $8)`,
          values: [
            ...[organizationId, HOLD.tokenType, balance.lastEntry + 1, charge],
            ...[balance.available, balance.held - charge, holdId, principalOf(organizationId), back],
          ],
        });
        await client.query({
          name: 'insert_usage',
          text: `insert into foil.usage_log (organization_id, user_id, feature_used, tokens_deducted, metadata)
                 values ($1, $2, $3, $4, jsonb_build_object('holdId', $5::text))`,
          values: [organizationId, principalOf(organizationId).slice('user:'.length), feature, charge, holdId],
        });
      });
    },

    close: () => pool.end(),
  };
}

/** The foil with the pool that does this work best. Each size is tried twice, and judged by the better time. */
export async function openBestFoil(options: {
  url: string;
  forMs: number;
  work: (side: Side) => Promise<unknown>;
  say: (line: string) => void;
}): Promise<Side> {
  const { url, forMs, work, say } = options;
  const best = new Map<number, number>();
  for (const connections of [...POOL_SIZES, ...POOL_SIZES.toReversed()]) {
    const side = openFoil(url, connections);
    const { perSecond } = await runFor({ callers: PICKERS, forMs, work: () => work(side) });
    best.set(connections, Math.max(perSecond, best.get(connections) ?? 0));
    await side.close();
  }
  const [[connections]] = [...best].sort(([, a], [, b]) => b - a) as [[number, number]];
  const each = [...best].map(([size, perSecond]) => `${size}: ${Math.round(perSecond)}/s`).join(', ');
  say(`the foil's pool of ${connections} is its best (${each})`);
  return openFoil(url, connections);
}

async function inTransaction(pool: pg.Pool, work: (client: pg.PoolClient) => Promise<void>): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query('begin');
    await work(client);
    await client.query('commit');
    client.release();
  } catch (error) {
    client.release(true);
    throw error;
  }
}

async function lockBalance(client: pg.PoolClient, organizationId: string) {
  const { rows } = await client.query({
    name: 'lock_balance',
    text: 'select available, held, last_entry from foil.balances where organization_id = $1 and token_type = $2 for update',
    values: [organizationId, HOLD.tokenType],
  });
  const [row] = rows;
  return { available: Number(row.available), held: Number(row.held), lastEntry: Number(row.last_entry) };
}

function moveBalance(client: pg.PoolClient, organizationId: string, available: number, held: number, entries: number) {
  return client.query({
    name: 'move_balance',
    text: `update foil.balances set available = available + $3, held = held + $4, last_entry = last_entry + $5
            where organization_id = $1 and token_type = $2`,
    values: [organizationId, HOLD.tokenType, available, held, entries],
  });
}

function drainGrant(client: pg.PoolClient, grantId: string, amount: number) {
  return client.query({
    name: 'drain_grant',
    text: 'update foil.grants set remaining = remaining - $2 where id = $1',
    values: [grantId, amount],
  });
}

/** Parts of these rows, in their order, that make up the amount. */
function take(rows: readonly { id: string; remaining: string }[], amount: number) {
  const parts: { grantId: string; amount: number }[] = [];
  for (const { id, remaining } of rows) {
    if (amount === 0) break;
    const part = Math.min(amount, Number(remaining));
    parts.push({ grantId: id, amount: part });
    amount -= part;
  }
  if (amount > 0) throw new Error('the grants of the foil do not cover its balance');
  return parts;
}
