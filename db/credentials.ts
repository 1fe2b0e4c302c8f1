import type { Pool } from 'pg';
import type { KeyScope } from '../domain/keyScopes.ts';
import { call, DatabaseFault } from './faults.ts';
import type { KeyUse } from './keyUse.ts';
import { type Call, createLane } from './lane.ts';
import { secretHash } from './secrets.ts';

/** Who an API key is: its own id, the organization it belongs to, and what it may do. */
export interface ApiKey {
  id: string;
  organizationId: string;
  scopes: KeyScope[];
}

/** The organization that a signed-in user belongs to by his profile, and as what. */
export interface Membership {
  organizationId: string;
  role: 'member' | 'admin';
}

/**
 * Who the callers of a process are. Questions that come while a statement is in flight go as one, equal ones as one row of it;
 * a lone question goes at once. No answer is kept, and none is older than its question: the statement began after it. So
 * who was revoked before he asked is never let in.
 */
export interface Credentials {
  /** Null for a key that is unknown, revoked or over; the answer does not tell which. */
  keyOf(secret: string): Promise<ApiKey | null>;
  /** Null for somebody without a profile. */
  membershipOf(userId: string): Promise<Membership | null>;
}

const ROWS_PER_STATEMENT = 256;
const MOST_WAITING = 10_000;

export function createCredentials(pool: Pool, keyUse: Pick<KeyUse, 'note'>): Credentials {
  const askKey = batched((hashes: readonly string[]) =>
    authenticateKeys(
      pool,
      hashes.map((hash) => Buffer.from(hash, 'base64')),
    ),
  );
  const askMembership = batched((userIds: readonly string[]) => membershipsOf(pool, userIds));
  return {
    async keyOf(secret) {
      const key = await askKey(secretHash(secret).toString('base64'));
      if (key !== null) keyUse.note(key.id);
      return key;
    },
    membershipOf: askMembership,
  };
}

/** Answers in the order of the hashes; null for a key that is unknown, revoked or over. */
export async function authenticateKeys(pool: Pool, hashes: readonly Buffer[]): Promise<(ApiKey | null)[]> {
  const { rows } = await call(() =>
    pool.query({
      name: 'authenticate_keys',
      text: 'select k.ordinal, k.id, k.organization_id as "organizationId", k.scopes from tollgate.authenticate_keys($1) k',
      values: [hashes],
    }),
  );
  return inOrder(hashes.length, rows, ({ id, organizationId, scopes }) => ({ id, organizationId, scopes }));
}

async function membershipsOf(pool: Pool, userIds: readonly string[]): Promise<(Membership | null)[]> {
  const { rows } = await call(() =>
    pool.query({
      name: 'memberships_of',
      text: 'select m.ordinal, m.organization_id as "organizationId", m.role from tollgate.memberships_of($1) m',
      values: [userIds],
    }),
  );
  return inOrder(userIds.length, rows, ({ organizationId, role }) => ({ organizationId, role }));
}

function inOrder<Row extends { ordinal: number }, T>(count: number, rows: Row[], read: (row: Row) => T): (T | null)[] {
  const answers: (T | null)[] = Array(count).fill(null);
  for (const row of rows) answers[row.ordinal - 1] = read(row);
  return answers;
}

/** One statement in flight. A fault is everybody's in it, told at once: whoever repeats his request asks again. */
function batched<T>(ask: (questions: readonly string[]) => Promise<T[]>): (question: string) => Promise<T> {
  const lane = createLane<'ask'>({
    maxBatch: ROWS_PER_STATEMENT,
    send: async (_, calls: Call<'ask'>[]) => {
      try {
        const answers = await ask(calls.map(({ row }) => row as string));
        for (const [n, { waiters }] of calls.entries()) for (const { resolve } of waiters) resolve(answers[n]);
      } catch (error) {
        for (const { waiters } of calls) for (const { reject } of waiters) reject(error);
      }
    },
  });
  return (question) =>
    new Promise((resolve, reject) => {
      if (lane.waiting() >= MOST_WAITING) {
        reject(new DatabaseFault(new Error(`${MOST_WAITING} requests wait to be told who they are.`)));
        return;
      }
      const waiters = [{ resolve: resolve as (answer: unknown) => void, reject }];
      lane.add({ verb: 'ask', row: question, orderKey: null, shareKey: question, waiters });
    });
}
