import { createHash, randomBytes } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import pg from 'pg';
import { afterEach, beforeEach, expect, inject, it } from 'vitest';
import { captureHolds, holdTokens } from '../../db/holds.ts';
import { createPool } from '../../db/pool.ts';
import { verify } from '../../db/verify.ts';
import { databaseUrls } from '../../dev/databaseUrls.ts';
import { migrate } from '../../migrations/migrate.ts';

const MIGRATIONS = new URL('../../migrations/', import.meta.url);

let name: string;
let urls: ReturnType<typeof databaseUrls>;
beforeEach(async () => {
  name = `upgrade_${process.pid}_${randomBytes(4).toString('hex')}`;
  await onServer(`create database ${name} owner tollgate_owner`);
  const url = new URL(inject('superuserUrl'));
  url.pathname = `/${name}`;
  urls = databaseUrls(url.href, inject('databasePasswords'));
  await becomeFirstVersion();
});
afterEach(() => onServer(`drop database if exists ${name} with (force)`));

async function onServer(text: string): Promise<void> {
  await as(inject('superuserUrl'), (client) => client.query(text));
}

async function as<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** The numbered tables of that version with what it left in them. Its functions need not be there: they are replaced anyway. */
async function becomeFirstVersion(): Promise<void> {
  const files = (await readdir(MIGRATIONS)).filter((file) => /^00[1-6]_.*[.]sql$/.test(file)).sort();
  expect(files).toHaveLength(6);
  await as(urls.owner, async (client) => {
    const book: [string, string][] = [];
    for (const file of files) {
      const text = await readFile(new URL(file, MIGRATIONS), 'utf8');
      await client.query(text);
      book.push([file, createHash('sha256').update(text).digest('hex')]);
    }
    await client.query(`create table tollgate.applied_files (name text primary key, checksum text not null, applied_at timestamptz not null default clock_timestamp());
      alter table tollgate.applied_files enable row level security; alter table tollgate.applied_files force row level security;
      create policy owner_keeps_book on tollgate.applied_files for all to current_user using (true) with check (true)`);
    for (const row of book) await client.query('insert into tollgate.applied_files values ($1, $2)', row);
  });
  const rows = await readFile(new URL('firstVersion.sql', import.meta.url), 'utf8');
  await as(urls.superuser, (client) => client.query(rows));
}

it('a database of the first version is brought up with all that is in it: same entries, same balances, every check holds', async () => {
  const before = await as(urls.superuser, async (client) => ({
    entries: (await client.query(ENTRIES)).rows,
    balances: (await client.query(BALANCES)).rows,
    usage: (await client.query('select id, tokens_deducted from ai_token_usage_log order by id')).rows,
  }));
  expect(before.entries.length).toBeGreaterThan(30);

  await migrate({ ownerUrl: urls.owner });

  const after = await as(urls.superuser, async (client) => ({
    entries: (await client.query(ENTRIES)).rows,
    balances: (await client.query(BALANCES)).rows,
    usage: (await client.query('select id, tokens_deducted from ai_token_usage_log order by id')).rows,
  }));
  expect(after).toEqual(before);
  const auditor = createPool({ url: urls.auditor, applicationName: 'tollgate-test', maxConnections: 1 });
  try {
    // Ten minutes after it was written down the job in the middle became one that nobody ended in time.
    expect((await verify(auditor)).filter(({ check }) => check !== 'stuck')).toEqual([]);
  } finally {
    await auditor.end();
  }
});

it('and goes on from there: its open holds are charged, its repeats are repeats', async () => {
  await migrate({ ownerUrl: urls.owner });
  await as(urls.superuser, (client) =>
    client.query(`begin; set local session_replication_role = 'replica';
      update tollgate.holds set expires_at = now() + interval '1 hour' where state = 'held';
      update tollgate.balances set refresh_date = now() + interval '2 hours', next_change_at = now() + interval '1 hour'; commit`),
  );
  const api = createPool({ url: urls.api, applicationName: 'tollgate-test', maxConnections: 1 });
  try {
    const row = { organizationId: 'a', principal: 'user:u-a', holdId: 'h2' };
    expect(await holdTokens(api, [{ ...row, feature: 'generate_leads', amount: 2, lifetimeMs: 1_000 }])).toMatchObject([
      { outcome: 'held', isRepeat: true },
    ]);
    expect(await captureHolds(api, [{ ...row, amount: 1 }])).toMatchObject([
      { outcome: 'captured', chargeId: 'h2.1', captured: 1, returned: 1 },
    ]);
    expect(await captureHolds(api, [{ ...row, holdId: 'h0', amount: null }])).toMatchObject([
      { outcome: 'captured', isRepeat: true, chargeId: 'h0.1' },
    ]);
  } finally {
    await api.end();
  }
});

const ENTRIES = `select organization_id, token_type, entry_number, kind, from_account, to_account, amount, available_after, held_after,
                        owed_after, hold_id, grant_id, actor, effective_at
                   from tollgate.ledger_entries order by 1, 2, 3`;
const BALANCES = `select organization_id, token_type, available, held, owed, used_in_period, allocated, granted_in_period, period_start,
                         refresh_date, settled_through, last_entry
                    from tollgate.balances order by 1, 2`;
