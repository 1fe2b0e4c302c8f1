import { createHash } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sealLedger } from '../../db/seals.ts';
import { runChecks, verify } from '../../db/verify.ts';
import { CHAIN_CHECKS } from '../../db/verifyChain.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { addGrant } from '../support/grant.ts';
import { holderOf } from '../support/holder.ts';
import { ledgerAsTable } from '../support/ledgerAsTable.ts';
import { createOrganization } from '../support/organization.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
  for (const id of ['org-a', 'org-b']) {
    const organization = await createOrganization(database.superuser, 'pro', id);
    const holder = holderOf(database.api, organization);
    // Three seals of lead_generation: 3 entries, 2, 2.
    await addGrant(database.superuser, id, { source: 'purchase', amount: 40 });
    await holder.hold('h-1', 2);
    await sealAll();
    await holder.capture('h-1');
    await holder.hold('h-2', 4);
    await sealAll();
    await holder.release('h-2');
    await holder.hold('h-3', 1);
    await sealAll();
  }
});
afterAll(() => database.drop());

const sealAll = () => sealLedger(database.worker, { after: null, balances: 100 });

it('finds nothing in a sound chain', async () => {
  expect(await verify(database.auditor)).toEqual([]);
  const { rows } = await database.auditor.query(
    `select seal_number, first_entry, last_entry from tollgate.ledger_seals
      where organization_id = 'org-a' and token_type = 'lead_generation' order by first_entry`,
  );
  expect(rows).toEqual([
    { seal_number: 1, first_entry: 1, last_entry: 3 },
    { seal_number: 2, first_entry: 4, last_entry: 5 },
    { seal_number: 3, first_entry: 6, last_entry: 7 },
  ]);
});

const BALANCE = `organization_id = 'org-a' and token_type = 'lead_generation'`;
const entry = (change: string, number: number) =>
  `update tollgate.ledger_entries set ${change} where ${BALANCE} and entry_number = ${number}`;
const rehash = (number: number) => `
  update tollgate.ledger_seals s
     set hash = (select h.hash from tollgate.hash_entries(s.previous_hash, s.organization_id, s.token_type, s.first_entry, s.last_entry) h)
   where ${BALANCE} and seal_number = ${number}`;

const OURS: string[] = CHAIN_CHECKS.map(({ name }) => name);

/** Each corruption, and exactly the checks of the chain that must find it. */
const plants: { corruption: string; sql: string; finds: string[] }[] = [
  { corruption: 'another amount', sql: entry('amount = amount + 1', 2), finds: ['I6 chain hashes'] },
  { corruption: 'another actor', sql: entry(`actor = 'key:somebody-else'`, 3), finds: ['I6 chain hashes'] },
  { corruption: 'another kind', sql: entry(`kind = 'lapse'`, 6), finds: ['I6 chain hashes'] },
  { corruption: 'another hold', sql: entry(`hold_id = 'h-2'`, 3), finds: ['I6 chain hashes'] },
  { corruption: 'another grant', sql: entry('grant_id = null', 2), finds: ['I6 chain hashes'] },
  { corruption: 'another balance after it', sql: entry('owed_after = 1', 5), finds: ['I6 chain hashes'] },
  {
    corruption: 'an effective time that is a microsecond off',
    sql: entry(`effective_at = effective_at + interval '1 microsecond'`, 4),
    finds: ['I6 chain hashes'],
  },
  {
    corruption: 'a time of booking that is a microsecond off',
    sql: entry(`created_at = created_at - interval '1 microsecond'`, 4),
    finds: ['I6 chain hashes'],
  },
  {
    corruption: 'an entry that took effect after the next one',
    sql: entry(`effective_at = effective_at + interval '1 hour'`, 4),
    finds: ['I6 order of time', 'I6 chain hashes'],
  },
  {
    corruption: 'an entry that is gone',
    sql: `delete from tollgate.ledger_entries where ${BALANCE} and entry_number = 4`,
    finds: ['I6 chain hashes'],
  },
  {
    corruption: 'two entries in each other’s place',
    sql: [entry('entry_number = 100', 4), entry('entry_number = 4', 5), entry('entry_number = 5', 100)].join(';'),
    finds: ['I6 order of time', 'I6 chain hashes'],
  },
  {
    corruption: 'entries of two balances in each other’s place',
    sql: `update tollgate.ledger_entries set organization_id = case organization_id when 'org-a' then 'org-x' else 'org-y' end
           where token_type = 'lead_generation' and entry_number = 2;
          update tollgate.ledger_entries set organization_id = case organization_id when 'org-x' then 'org-b' else 'org-a' end
           where organization_id in ('org-x', 'org-y')`,
    finds: ['I6 order of time', 'I6 chain hashes'],
  },
  {
    corruption: 'a changed entry whose own seal was hashed anew',
    sql: `${entry('amount = amount + 1', 5)}; ${rehash(2)}`,
    finds: ['I6 chain links'],
  },
  {
    corruption: 'a changed entry whose seal and the link to it were made anew, and the next hash was not',
    sql: `${entry('amount = amount + 1', 5)}; ${rehash(2)};
          update tollgate.ledger_seals s set previous_hash = (select b.hash from tollgate.ledger_seals b where b.organization_id = s.organization_id
             and b.token_type = s.token_type and b.seal_number = 2) where ${BALANCE} and seal_number = 3`,
    finds: ['I6 chain hashes'],
  },
  {
    corruption: 'a seal that is gone',
    sql: `delete from tollgate.ledger_seals where ${BALANCE} and seal_number = 2`,
    finds: ['I6 chain links'],
  },
  {
    corruption: 'a seal under another number',
    sql: `update tollgate.ledger_seals set seal_number = 4 where ${BALANCE} and seal_number = 3`,
    finds: ['I6 chain links'],
  },
  {
    corruption: 'a chain that begins on something',
    sql: `update tollgate.ledger_seals set previous_hash = hash where ${BALANCE} and seal_number = 1; ${rehash(1)}`,
    finds: ['I6 chain links'],
  },
  {
    corruption: 'the last entries cut off, and the balance with them',
    sql: `delete from tollgate.ledger_entries where ${BALANCE} and entry_number > 5;
          update tollgate.balances set last_entry = 5 where ${BALANCE}`,
    finds: ['I6 chain hashes', 'I6 chain end'],
  },
  {
    corruption: 'a balance that is gone with its ledger, but for the seals',
    sql: `delete from tollgate.ledger_entries where ${BALANCE}; delete from tollgate.balances where ${BALANCE}`,
    finds: ['I6 chain hashes', 'I6 chain end'],
  },
];

describe('finds', () => {
  it.each(plants)('$corruption', async ({ sql, finds }) => {
    const findings = await tampered(sql, (client) => runChecks(client));
    const names = findings.map(({ check }) => check).filter((name) => OURS.includes(name));
    expect(names).toEqual(finds);
  });

  it('every check of the chain has a corruption that it finds', () => {
    const proven = new Set(plants.flatMap(({ finds }) => finds));
    expect(OURS.filter((name) => !proven.has(name))).toEqual([]);
  });
});

it('a sealed head is what node computes from the columns alone, in any time zone, with any string setting', async () => {
  const { rows: entries } = await database.superuser.query(
    `select organization_id, token_type, entry_number, kind, from_account, to_account, amount, available_after, held_after, owed_after,
            hold_id, grant_id, actor,
            to_char(effective_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS US') as effective_at,
            to_char(created_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS US') as created_at
       from tollgate.ledger_entries where ${BALANCE} order by entry_number`,
  );
  const micros = (text: string) => `${BigInt(Date.parse(`${text.slice(0, 19)}Z`)) * 1000n + BigInt(text.slice(20))}`;
  const lines = entries.map((row) =>
    [
      ...Object.values(row)
        .slice(0, -2)
        .map((value) => value ?? '\\N'),
      micros(row.effective_at),
      micros(row.created_at),
    ].join('\t'),
  );
  let head = Buffer.alloc(32);
  for (const [from, to] of [
    [0, 3],
    [3, 5],
    [5, 7],
  ] as const) {
    const hash = createHash('sha256').update(head);
    for (const line of lines.slice(from, to)) hash.update(`${line}\n`);
    head = hash.digest();
  }
  const { rows } = await database.auditor.query(
    `select hash from tollgate.ledger_seals where ${BALANCE} order by first_entry desc limit 1`,
  );
  expect(rows[0].hash).toEqual(head);

  const settings = `set local time zone 'Asia/Kathmandu'; set local datestyle = 'German, DMY'; set local standard_conforming_strings = off;
    set local extra_float_digits = -5; set local intervalstyle = 'sql_standard'; set local lc_numeric = 'C'`;
  expect(await tampered(settings, (client) => runChecks(client))).toEqual([]);
});

it('an actor with tabs, line breaks and backslashes cannot pass for other columns', async () => {
  const hashOf = (actor: string, hold: string | null) =>
    tampered(
      `update tollgate.ledger_entries set actor = ${pg.escapeLiteral(actor)}, hold_id = ${hold === null ? 'null' : pg.escapeLiteral(hold)}
        where ${BALANCE} and entry_number = 1`,
      async (client) =>
        (
          await client.query(
            `select encode(hash, 'hex') as hash from tollgate.hash_entries('', 'org-a', 'lead_generation', 1, 1)`,
          )
        ).rows[0].hash,
    );
  const { rows } = await database.superuser.query(
    `select grant_id::text as grant from tollgate.ledger_entries where ${BALANCE} and entry_number = 1`,
  );
  const { grant } = rows[0];
  const hashes: string[] = [];
  for (const [actor, hold] of [
    ['a\tb', null],
    ['a\\tb', null],
    ['a\nb', null],
    ['a\\nb', null],
    ['a\rb', null],
    ['a', null],
    ['a', '\\N'],
    ['a', ''],
    // The grant's number stands between the two: unescaped, these were one line.
    ['a', `b\t${grant}`],
    [`${grant}\ta`, 'b'],
  ] as const) {
    hashes.push(await hashOf(actor, hold));
  }
  expect(new Set(hashes).size).toBe(hashes.length);
});

/** What is so after somebody with every right did this to the database, in a transaction that is never committed. */
async function tampered<T>(sql: string, look: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: database.superuserUrl });
  await client.connect();
  try {
    await client.query("begin; set local session_replication_role = 'replica'");
    await ledgerAsTable(client);
    await client.query(sql);
    await client.query('set local role tollgate_auditor');
    return await look(client);
  } finally {
    await client.end();
  }
}
