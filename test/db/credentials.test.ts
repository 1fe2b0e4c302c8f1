import type { Pool } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createApiKey } from '../../db/apiKeys.ts';
import { type Credentials, createCredentials } from '../../db/credentials.ts';
import { DatabaseFault } from '../../db/faults.ts';
import { createKeyUse } from '../../db/keyUse.ts';
import { createPool } from '../../db/pool.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';

let database: TestDatabase;
let organization: TestOrganization;
let credentials: Credentials;
let statements: [name: string, rows: number][];
let noted: string[];
beforeAll(async () => {
  database = await freshDatabase();
  organization = await createOrganization(database.superuser);
});
afterAll(() => database.drop());
beforeEach(() => {
  statements = [];
  noted = [];
  credentials = createCredentials(observed(database.api), { note: (id) => void noted.push(id) });
});

/** The pool, with what is asked of it written down. */
function observed(pool: Pool): Pool {
  const query = async (statement: { name: string; text: string; values: [unknown[]] }) => {
    statements.push([statement.name, statement.values[0].length]);
    return pool.query(statement);
  };
  return { query } as unknown as Pool;
}

const times = <T>(count: number, make: (n: number) => T): T[] => Array.from({ length: count }, (_, n) => make(n));

describe('who callers are', () => {
  it('a lone question goes at once; those that come meanwhile are one statement, equal ones one row of it', async () => {
    const keys = await Promise.all(
      times(5, (n) => createApiKey(database.superuser, { ...organization, name: `k${n}`, scopes: ['jobs:read'] })),
    );
    const first = credentials.keyOf(organization.secret);
    expect(statements).toEqual([['authenticate_keys', 1]]);
    const others = times(50, (n) => credentials.keyOf(keys[n % 5]!.secret));
    const unknown = credentials.keyOf('tg_live_unknown');
    expect(await first).toMatchObject({ organizationId: organization.organizationId });
    // Each has the answer to his own question.
    expect((await Promise.all(others)).map((key) => key?.id)).toEqual(times(50, (n) => keys[n % 5]!.id));
    expect(await unknown).toBeNull();
    expect(statements).toEqual([
      ['authenticate_keys', 1],
      ['authenticate_keys', 6],
    ]);
    expect(new Set(noted).size).toBe(6);
  });

  it('an answer is never older than its question: whoever was revoked before he asked is not let in', async () => {
    const key = await createApiKey(database.superuser, { ...organization, name: 'x', scopes: ['jobs:read'] });
    const read = Promise.withResolvers<void>();
    const answer = Promise.withResolvers<void>();
    // The first answer is read before the revocation and arrives after it.
    const query = async (statement: { text: string; values: unknown[] }) => {
      const rows = await database.api.query(statement);
      read.resolve();
      await answer.promise;
      return rows;
    };
    credentials = createCredentials({ query } as unknown as Pool, { note: () => {} });
    const before = credentials.keyOf(key.secret);
    await read.promise;
    await database.superuser.query('update tollgate.api_keys set revoked_at = clock_timestamp() where id = $1', [
      key.id,
    ]);
    const after = credentials.keyOf(key.secret);
    answer.resolve();
    expect(await before).not.toBeNull();
    expect(await after).toBeNull();
  });

  it('users are told by their profiles, and at once what they have become', async () => {
    await database.superuser.query(
      `insert into user_profiles (id, organization_id, role) values ('ann', $1, 'admin'), ('bob', $1, 'member')`,
      [organization.organizationId],
    );
    const { organizationId } = organization;
    expect(await Promise.all(['ann', 'bob', 'nobody'].map(credentials.membershipOf))).toEqual([
      { organizationId, role: 'admin' },
      { organizationId, role: 'member' },
      null,
    ]);
    await database.superuser.query(`update user_profiles set role = 'member' where id = 'ann'`);
    expect(await credentials.membershipOf('ann')).toEqual({ organizationId, role: 'member' });
  });

  it('a fault is told to everybody in the statement, and the next one asks anew', async () => {
    let isAway = true;
    const query = (statement: { values: unknown[] }) =>
      isAway
        ? Promise.reject(Object.assign(new Error('gone'), { syscall: 'read' }))
        : database.api.query(statement as never);
    credentials = createCredentials({ query } as unknown as Pool, { note: () => {} });
    const asked = await Promise.allSettled(times(5, (n) => credentials.keyOf(`tg_live_${n}`)));
    expect(asked.map((answer) => answer.status === 'rejected' && answer.reason instanceof DatabaseFault)).toEqual(
      times(5, () => true),
    );
    isAway = false;
    expect(await credentials.keyOf(organization.secret)).not.toBeNull();
  });
});

describe('when keys were used', () => {
  const lastUsed = async (id: string): Promise<Date | null> =>
    (await database.superuser.query('select last_used_at from tollgate.api_keys where id = $1', [id])).rows[0]
      .last_used_at;
  const newKey = () => createApiKey(database.superuser, { ...organization, name: 'u', scopes: ['jobs:read'] });

  it('is written for all in one statement after a while, with nobody asking', async () => {
    const keys = [await newKey(), await newKey()];
    let writes = 0;
    const query = (...words: [string, unknown[]]) => {
      writes += 1;
      return database.api.query(...words);
    };
    const use = createKeyUse({ query } as unknown as Pool, {
      writeEveryMs: 50,
      onError: (error) => expect.unreachable(String(error)),
    });
    for (const { id } of [...keys, ...keys]) use.note(id);
    use.note('unknown');
    for (const { id } of keys) await expect.poll(() => lastUsed(id), { interval: 10 }).not.toBeNull();
    expect(writes).toBe(1);
    await use.flush();
    expect(writes).toBe(1);
  });

  it('is kept for the next time when the database is away', async () => {
    const { id } = await newKey();
    const nowhere = createPool({ url: 'postgres://tollgate_api@127.0.0.1:1/none', applicationName: 'test' });
    const pools = [nowhere, database.api];
    const use = createKeyUse({ query: (...words: [string]) => pools.shift()!.query(...words) } as unknown as Pool, {
      onError: (error) => expect.unreachable(String(error)),
    });
    use.note(id);
    await expect(use.flush()).rejects.toThrow(DatabaseFault);
    expect(await lastUsed(id)).toBeNull();
    await use.flush();
    expect(await lastUsed(id)).not.toBeNull();
    await nowhere.end();
  });
});
