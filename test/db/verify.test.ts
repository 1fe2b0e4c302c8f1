import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { admitJob, beginJob, commitJob, refundJob, storeResult, withdrawJob } from '../../db/jobs.ts';
import { CHECKS, countVerified, ROWS_PER_CHECK, runChecks, verify } from '../../db/verify.ts';
import { CHAIN_CHECKS } from '../../db/verifyChain.ts';
import { admissionOf } from '../support/admission.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { elapse } from '../support/elapse.ts';
import { addGrant } from '../support/grant.ts';
import { holderOf } from '../support/holder.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
  await liveThroughEverything(await createOrganization(database.superuser, 'pro', 'org-a'));
  await liveThroughEverything(await createOrganization(database.superuser, 'pro', 'org-b'));
});
afterAll(() => database.drop());

/** Every kind of row that the checks read, in each of its states: what they must find sound. */
async function liveThroughEverything(organization: TestOrganization): Promise<void> {
  const { organizationId } = organization;
  const { superuser, api, worker } = database;
  const holder = holderOf(api, organization);
  const job = async (jobId: string, ...steps: ((jobId: string) => Promise<unknown>)[]) => {
    await admitJob(api, admissionOf(organization, jobId));
    for (const step of steps) await step(jobId);
  };
  const begin = (jobId: string) => beginJob(worker, organizationId, jobId);
  const store = (jobId: string) => storeResult(worker, organizationId, jobId, { text: 'done' }, {});
  const commit = (jobId: string) => commitJob(worker, organizationId, jobId);

  await job('late', begin, store);
  await job('refused');
  await elapse(superuser, organizationId, '32 days');
  await holder.hold('all', 50);
  await commit('late');
  await begin('refused');
  await holder.release('all');

  await addGrant(superuser, organizationId, { source: 'purchase', isPaid: true, amount: 40, priority: 50 });
  await addGrant(superuser, organizationId, { amount: 3, priority: 10, expiresIn: '1 hour' });
  await superuser.query(`update ai_tokens set balance = balance + 9 where organization_id = $1`, [organizationId]);
  await superuser.query(`update ai_tokens set balance = balance - 4 where organization_id = $1`, [organizationId]);
  await holder.hold('lapsed', 2);
  await elapse(superuser, organizationId, '2 hours');
  await holder.hold('captured', 4);
  await holder.capture('captured');
  await holder.hold('partly', 42);
  await holder.capture('partly', 41);
  await holder.hold('released', 3);
  await holder.release('released');
  await holder.hold('open', 3);
  await holder.hold('parts', 6);
  await holder.grow('parts', 'more', 3);
  await holder.capture('parts', 2, { key: 'first', isLast: false });
  await holder.capture('parts', 4);
  await holder.refund('parts.1', 1);
  await holder.refund('parts.2', 4);
  const owner = new pg.Client({ connectionString: database.ownerUrl });
  await owner.connect();
  await owner.query(`select tollgate.set_sub_limit($1, 'lead_generation', 'feature', '*', 'day', 1000)`, [
    organizationId,
  ]);
  const made = await owner.query(
    `select a.adjustment from tollgate.adjust_balance($1, 'lead_generation', 7, 'ann', 'a test', 'adjust') a`,
    [organizationId],
  );
  await owner.query(`select * from tollgate.reverse_adjustment($1, $2, 'ann', 'no test')`, [
    organizationId,
    made.rows[0].adjustment,
  ]);
  await owner.end();
  await holder.hold('counted', 2);
  // One that is low, and one that is not.
  for (const [type, threshold] of Object.entries({ lead_generation: 1_000_000, forecast: 1 }))
    await superuser.query('select tollgate.set_low_balance($1, $2, $3)', [organizationId, type, threshold]);
  await superuser.query(`update organizations set plan = 'enterprise' where id = $1`, [organizationId]);

  await job('admitted');
  await job('running', begin);
  await job('delivered', begin, store);
  await job('charged', begin, store, commit);
  await job('refunded', begin, (jobId) => refundJob(worker, organizationId, jobId, 'operation_failed'));
  await job('withdrawn', (jobId) => withdrawJob(api, organizationId, jobId, 'cancelled'));
}

it('finds nothing in a sound ledger, and says how much it looked at', async () => {
  expect(await verify(database.auditor)).toEqual([]);
  const counts = await countVerified(database.auditor);
  expect(counts).toMatchObject({ organizations: 2, balances: 10, jobs: 16 });
  expect(counts.entries).toBeGreaterThan(60);
  expect(counts.holds).toBeGreaterThan(20);
});

it('finds every state of jobs and holds, and every kind of entry and grant, in what it called sound', async () => {
  for (const [text, expected] of [
    [
      'select array_agg(distinct state order by state) as all from tollgate.jobs',
      'admitted charged delivered refunded refused running withdrawn',
    ],
    ['select array_agg(distinct state order by state) as all from tollgate.holds', 'captured held lapsed released'],
    [
      'select array_agg(distinct kind order by kind) as all from tollgate.ledger_entries',
      'adjustment capture debt debt_paid expire grant hold lapse refund release',
    ],
    [
      'select array_agg(distinct source order by source) as all from tollgate.grants',
      'adjustment allowance promotion purchase upgrade',
    ],
  ] as const) {
    const { rows } = await database.superuser.query(text);
    expect(rows[0].all.join(' ')).toBe(expected);
  }
});

const BALANCE = `organization_id = 'org-a' and token_type = 'lead_generation'`;
const BALANCE_NOT_LOW = `organization_id = 'org-a' and token_type = 'forecast'`;
const HOLD = (id: string) => `organization_id = 'org-a' and id = '${id}'`;
const post = (...movements: string[]) => `
  select set_config('tollgate.organizations', 'org-a', true);
  select tollgate.post_movements(array[${movements
    .map((movement) => `row('org-a', 'lead_generation', ${movement}, 'planted', now(), null, 0)`)
    .join(', ')}]::tollgate.movement[])`;

/** Each corruption, and exactly the checks that must find it. */
const plants: { corruption: string; sql: string; finds: string[] }[] = [
  {
    corruption: 'the auditor sees no organization',
    sql: 'drop policy auditor_reads_organizations on organizations',
    finds: ['sees no organization'],
  },
  {
    corruption: 'a token out of nowhere in a balance',
    sql: `update tollgate.balances set available = available + 1 where ${BALANCE}`,
    finds: ['I1 ledger', 'I1 grants', 'I6 fold'],
  },
  {
    corruption: 'a token more on hold than there are holds',
    sql: `update tollgate.balances set held = held + 1 where ${BALANCE}`,
    finds: ['I1 ledger', 'I2 held', 'I6 fold'],
  },
  {
    corruption: 'a grant booked under another source',
    sql: `update tollgate.grants set source = 'adjustment' where organization_id = 'org-a' and source = 'purchase'`,
    finds: ['I1 grants'],
  },
  {
    corruption: 'a grant that nobody booked',
    sql: `insert into tollgate.grants (organization_id, token_type, source, amount, remaining) values ('org-a', 'lead_generation', 'reward', 5, 0)`,
    finds: ['I1 grants', 'I6 grants'],
  },
  {
    corruption: 'a debt that nobody consumed',
    sql: `insert into tollgate.debts (organization_id, token_type, amount, open_amount, created_at) values ('org-a', 'lead_generation', 5, 0, now())`,
    finds: ['I1 consumed', 'I1 usage log'],
  },
  {
    corruption: 'a token too much in the usage log',
    sql: `update ai_token_usage_log set tokens_deducted = tokens_deducted + 1 where organization_id = 'org-a' and charge_id = 'partly.1'`,
    finds: ['I1 usage log'],
  },
  {
    corruption: 'a charge that the usage log lost',
    sql: `delete from ai_token_usage_log where organization_id = 'org-a' and charge_id = 'charged.1'`,
    finds: ['I1 usage log'],
  },
  {
    corruption: 'a charge that the usage log has twice',
    sql: `insert into ai_token_usage_log (organization_id, feature_used, tokens_deducted, token_type, charge_id, principal)
          select organization_id, feature_used, tokens_deducted, token_type, charge_id, principal from ai_token_usage_log
           where organization_id = 'org-a' and charge_id = 'captured.1'`,
    finds: ['I1 usage log'],
  },
  {
    corruption: 'a usage line that belongs to no charge',
    sql: `insert into ai_token_usage_log (organization_id, feature_used, tokens_deducted, token_type, charge_id, principal)
          values ('org-a', 'generate_leads', 1, 'lead_generation', 'ghost.1', 'key:x')`,
    finds: ['I1 usage log'],
  },
  {
    corruption: 'a hold that was released without an entry',
    sql: `update tollgate.holds set state = 'released', ended_at = now() where ${HOLD('open')}`,
    finds: ['I2 held', 'I2 open holds', 'I4 one end', 'I6 grants'],
  },
  {
    corruption: 'an open hold that the balance does not count',
    sql: `update tollgate.balances set open_holds = open_holds - 1 where ${BALANCE}`,
    finds: ['I2 open holds'],
  },
  {
    corruption: 'a balance that forgot the suspension',
    sql: `insert into tollgate.suspensions (organization_id, since, reason, actor) values ('org-a', now(), 'planted', 'operator:planted');
          update tollgate.balances set is_suspended = true where organization_id = 'org-a' and token_type <> 'forecast'`,
    finds: ['admission'],
  },
  {
    corruption: 'a balance with a cap of its own',
    sql: `insert into tollgate.organization_rules as r (organization_id, most_open_holds) values ('org-a', 7)
          on conflict (organization_id) do update set most_open_holds = 7`,
    finds: ['admission'],
  },
  {
    corruption: 'a refund that the usage log lost',
    sql: `delete from ai_token_usage_log where organization_id = 'org-a' and charge_id = 'parts.2' and tokens_deducted < 0`,
    finds: ['I1 usage log'],
  },
  {
    corruption: 'a refund of more than its refunds',
    sql: `update tollgate.refunds set amount = amount + 1 where organization_id = 'org-a' and charge_number = 1`,
    finds: ['I1 refunds'],
  },
  {
    corruption: 'a refunded charge that was smaller',
    sql: `update tollgate.refunded_charges set charged = charged - 1 where organization_id = 'org-a' and charge_number = 1`,
    finds: ['I1 refunds'],
  },
  {
    corruption: 'an adjustment that the ledger does not have',
    sql: `update tollgate.adjustments set amount = amount + 1 where organization_id = 'org-a' and reverses is not null`,
    finds: ['I1 adjustments'],
  },
  {
    corruption: 'a limit that counted too little',
    sql: `update tollgate.limit_counters set used = used - 1 where organization_id = 'org-a'`,
    finds: ['I2 limits'],
  },
  {
    corruption: 'a growth without its step',
    sql: `delete from tollgate.hold_steps where organization_id = 'org-a' and verb = 'grow'`,
    finds: ['I4 one end'],
  },
  {
    corruption: 'a balance below zero',
    sql: `alter table tollgate.ledger_blocks drop constraint ledger_blocks_move_something;
          update tollgate.ledger_blocks set available_before = -60 where ${BALANCE} and first_entry = 3`,
    finds: ['I3 negative', 'I6 running balances'],
  },
  {
    corruption: 'a debt that was forgiven by hand',
    sql: `update tollgate.debts set open_amount = open_amount + 1 where organization_id = 'org-a'`,
    finds: ['I3 debts'],
  },
  {
    corruption: 'an owed amount without a debt',
    sql: `update tollgate.balances set owed = owed + 1 where ${BALANCE}`,
    finds: ['I1 ledger', 'I3 debts', 'I6 fold'],
  },
  {
    corruption: 'a hold that ended twice',
    sql: post(
      `'hold', 'available', 'held', 3, 'released', null`,
      `'release', 'held', 'available', 3, 'released', null`,
    ),
    finds: ['I4 one end'],
  },
  {
    corruption: 'a capture of what had lapsed',
    sql: `update tollgate.holds set state = 'captured', captured = amount where ${HOLD('lapsed')}`,
    finds: ['I1 consumed', 'I1 usage log', 'I4 one end', 'I6 grants'],
  },
  {
    corruption: 'entries of a hold that is not there',
    sql: post(`'hold', 'available', 'held', 3, 'ghost', null`, `'release', 'held', 'available', 3, 'ghost', null`),
    finds: ['I4 one end'],
  },
  {
    corruption: 'a hold whose parts do not add up',
    sql: `update tollgate.holds set grant_amounts[1] = grant_amounts[1] + 1 where ${HOLD('released')}`,
    finds: ['I4 parts'],
  },
  {
    corruption: 'a hold that took from a grant of another balance',
    sql: `update tollgate.holds set grant_ids[1] = (select min(id) from tollgate.grants where organization_id = 'org-a' and token_type = 'forecast') where ${HOLD('released')}`,
    finds: ['I4 parts'],
  },
  {
    corruption: 'a number that the balance left out',
    sql: `update tollgate.balances set last_entry = last_entry + 1 where ${BALANCE}`,
    finds: ['I6 numbering'],
  },
  {
    corruption: 'a gap in the numbers of the ledger',
    sql: `update tollgate.ledger_blocks b set first_entry = b.first_entry + 1, last_entry = b.last_entry + 1
           where ${BALANCE} and b.last_entry = (select last_entry from tollgate.balances where ${BALANCE});
          update tollgate.balances set last_entry = last_entry + 1 where ${BALANCE}`,
    finds: ['I6 numbering'],
  },
  {
    corruption: 'a balance that is gone while its ledger is there',
    sql: `delete from tollgate.balances where organization_id = 'org-a' and token_type = 'forecast'`,
    finds: ['I6 numbering'],
  },
  {
    corruption: 'an entry that was rewritten',
    sql: `update tollgate.ledger_blocks set available_before = available_before + 1 where ${BALANCE} and first_entry = 3`,
    finds: ['I6 running balances'],
  },
  {
    corruption: 'a ledger that does not begin with nothing',
    sql: `update tollgate.ledger_blocks set owed_before = owed_before + 1 where organization_id = 'org-a' and token_type = 'forecast';
          update tollgate.balances set owed = owed + 1 where organization_id = 'org-a' and token_type = 'forecast'`,
    finds: ['I1 ledger', 'I3 debts', 'I6 running balances'],
  },
  {
    corruption: 'tokens moved from one grant to another',
    sql: `update tollgate.grants set remaining = remaining + case source when 'purchase' then 1 else -1 end
           where ${BALANCE} and source in ('purchase', 'upgrade')`,
    finds: ['I6 grants'],
  },
  {
    corruption: 'a second allowance for the period',
    sql: `drop index tollgate.grants_one_allowance_per_period;
          select set_config('tollgate.organizations', 'org-a', true);
          select tollgate.add_grant(organization_id, token_type, 'allowance', 50, 100, false, period_start, refresh_date, 'planted', now())
            from tollgate.balances where ${BALANCE}`,
    finds: ['I7 one allowance', 'I7 nothing minted'],
  },
  {
    corruption: 'a period that began before the last one was over',
    sql: `update tollgate.grants set expires_at = expires_at + interval '1 second'
           where ${BALANCE} and source = 'allowance' and id = (select min(id) from tollgate.grants where ${BALANCE})`,
    finds: ['I7 one allowance'],
  },
  {
    corruption: 'an upgrade that nobody made',
    sql: `select set_config('tollgate.organizations', 'org-a', true);
          select tollgate.add_grant(organization_id, token_type, 'upgrade', 5, 100, false, period_start, refresh_date, 'planted', now())
            from tollgate.balances where ${BALANCE}`,
    finds: ['I7 nothing minted'],
  },
  {
    corruption: 'a hold that still counts after its end',
    sql: `update tollgate.holds set expires_at = (select settled_through from tollgate.balances where ${BALANCE}) - interval '1 second' where ${HOLD('open')}`,
    finds: ['I8 time'],
  },
  {
    corruption: 'a grant that still counts after its end',
    sql: `update tollgate.grants set expires_at = now() - interval '1 day' where ${BALANCE} and source = 'purchase';
          update tollgate.grants set remaining = remaining + case source when 'purchase' then 1 else -1 end
           where ${BALANCE} and source in ('purchase', 'upgrade')`,
    finds: ['I6 grants', 'I8 time'],
  },
  {
    corruption: 'a balance that will look too late',
    sql: `update tollgate.balances set next_change_at = refresh_date + interval '1 day' where organization_id = 'org-a' and token_type = 'forecast'`,
    finds: ['I8 time'],
  },
  {
    corruption: 'a balance below its threshold that nobody was told of',
    sql: `update tollgate.balances set low_threshold = available + 1 where ${BALANCE_NOT_LOW}`,
    finds: ['low balance'],
  },
  {
    corruption: 'a balance that counts as low for ever',
    sql: `update tollgate.balances set is_low = true where ${BALANCE_NOT_LOW}`,
    finds: ['low balance'],
  },
  {
    corruption: 'a job that was charged without its tokens',
    sql: `update tollgate.jobs set state = 'charged', ended_at = now() where ${HOLD('delivered')}`,
    finds: ['I10 charged'],
  },
  {
    corruption: 'a job that was charged another price than its quote',
    sql: `update tollgate.jobs set tokens = tokens + 1 where ${HOLD('charged')}`,
    finds: ['I10 charged'],
  },
  {
    corruption: 'a job whose debt is not among the debts',
    sql: `update tollgate.jobs set debt = debt - 1, tokens = tokens - 1 where ${HOLD('late')}`,
    finds: ['I10 charged'],
  },
  {
    corruption: 'a refunded job that still holds tokens',
    sql: `update tollgate.jobs set state = 'refunded', end_code = 'cancelled', ended_at = now() where ${HOLD('running')}`,
    finds: ['I10 not charged'],
  },
  {
    corruption: 'a refunded job that was charged',
    sql: `update tollgate.jobs set state = 'refunded', end_code = 'cancelled', result = null where ${HOLD('charged')}`,
    finds: ['I10 not charged'],
  },
  {
    corruption: 'a running job that was charged before its end',
    sql: `update tollgate.jobs set state = 'running', result = null, ended_at = null where ${HOLD('charged')}`,
    finds: ['I10 unended'],
  },
  {
    corruption: 'a running job whose hold was released',
    sql: `update tollgate.jobs set state = 'running', end_code = null, ended_at = null where ${HOLD('refunded')}`,
    finds: ['I10 unended'],
  },
  {
    corruption: 'a job that is gone while its hold is there',
    sql: `delete from tollgate.jobs where ${HOLD('refunded')}`,
    finds: ['I10 known job'],
  },
  {
    corruption: 'an idempotency record of no job',
    sql: `update tollgate.idempotency_records set job_id = 'ghost' where organization_id = 'org-a' and job_id = 'running'`,
    finds: ['I10 known job'],
  },
  {
    corruption: 'a job that nobody ended in time',
    sql: `update tollgate.jobs set began_at = now() - time_budget - interval '601 seconds' where ${HOLD('delivered')}`,
    finds: ['stuck'],
  },
  {
    corruption: 'a job that never began and nobody withdrew',
    sql: `update tollgate.jobs set created_at = now() - time_budget - interval '601 seconds' where ${HOLD('admitted')}`,
    finds: ['stuck'],
  },
];

describe('finds', () => {
  it.each(plants)('$corruption', async ({ sql, finds }) => {
    const client = new pg.Client({ connectionString: database.superuserUrl });
    await client.connect();
    try {
      await client.query("begin; set local session_replication_role = 'replica'");
      await client.query(sql);
      await client.query('set local role tollgate_auditor');
      const findings = await runChecks(client);
      expect(findings.map(({ check }) => check)).toEqual(finds);
      for (const { rows } of findings) {
        if ('organization_id' in rows[0]!) expect(rows.every((row) => row.organization_id === 'org-a')).toBe(true);
      }
    } finally {
      // Nothing was ever committed: the next corruption starts from a sound ledger.
      await client.end();
    }
  });

  it('every check has a corruption that it finds', () => {
    // Those of the chain have theirs in verifyChain.test.ts.
    const proven = new Set([
      ...plants.flatMap(({ finds }) => finds),
      ...CHAIN_CHECKS.map(({ name }) => name as string),
    ]);
    expect(CHECKS.map(({ name }) => name).filter((name) => !proven.has(name))).toEqual([]);
  });

  it(`no more than ${ROWS_PER_CHECK} rows of one kind`, async () => {
    const client = new pg.Client({ connectionString: database.superuserUrl });
    await client.connect();
    try {
      await client.query(
        "begin; set local session_replication_role = 'replica'; update tollgate.ledger_blocks set available_before = available_before + first_entry",
      );
      const findings = await runChecks(client);
      expect(findings.find(({ check }) => check === 'I6 running balances')!.rows).toHaveLength(ROWS_PER_CHECK);
    } finally {
      await client.end();
    }
  });
});
