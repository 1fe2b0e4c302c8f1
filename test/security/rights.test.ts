import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { catalogueContent } from '../../db/catalogue.ts';
import { captureHolds, holdTokens, releaseHolds } from '../../db/holds.ts';
import { admitJob, beginJob, commitJob, recordAttempt, storeResult } from '../../db/jobs.ts';
import { createOperator } from '../../db/operators.ts';
import { claimDeliveries, registerSubscriber } from '../../db/outbox.ts';
import { createPool } from '../../db/pool.ts';
import { setRetention } from '../../db/retention.ts';
import { sealLedger } from '../../db/seals.ts';
import { readAs } from '../../db/tenant.ts';
import { databaseUrls } from '../../dev/databaseUrls.ts';
import { migrate } from '../../migrations/migrate.ts';
import { admissionOf } from '../support/admission.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { elapse } from '../support/elapse.ts';
import { holderOf } from '../support/holder.ts';
import { expectInvariants } from '../support/invariants.ts';
import { balanceOf, createOrganization, type TestOrganization } from '../support/organization.ts';

let database: TestDatabase;
let ours: TestOrganization;
let theirs: TestOrganization;
beforeAll(async () => {
  database = await freshDatabase();
  ours = await createOrganization(database.superuser, 'pro', 'ours');
  theirs = await createOrganization(database.superuser, 'pro', 'theirs');
  for (const organization of [ours, theirs]) await fillEveryTable(organization);
});
afterAll(async () => {
  await database.superuser.query('delete from tollgate.suspensions');
  await expectInvariants(database.superuser);
  await database.drop();
});

/** At least one row of each organization in every table that has rows of organizations. */
async function fillEveryTable(organization: TestOrganization): Promise<void> {
  const { organizationId } = organization;
  const { superuser, api, worker } = database;
  await superuser.query(
    `insert into user_profiles (id, organization_id, role) values ($1 || '-member', $1, 'member'), ($1 || '-admin', $1, 'admin')`,
    [organizationId],
  );
  const fallbacks = [{ plan: 'pro', feature: 'generate_insight', rank: 0, tokenType: 'forecast' }];
  await superuser.query('select tollgate.apply_catalogue($1, $2)', [
    'with a fallback',
    { ...catalogueContent(), fallbacks },
  ]);
  await admitJob(api, admissionOf(organization, 'job-1'));
  await beginJob(worker, organizationId, 'job-1');
  await recordAttempt(worker, organizationId, 'job-1', { attempt: 1, outcome: 'started' });
  await storeResult(worker, organizationId, 'job-1', {}, {});
  await elapse(superuser, organizationId, '2 days');
  // The late charge finds nothing: a debt.
  await superuser.query('update ai_tokens set balance = 0 where organization_id = $1', [organizationId]);
  await commitJob(worker, organizationId, 'job-1');
  await superuser.query('update ai_tokens set balance = 40 where organization_id = $1', [organizationId]);
  await holderOf(api, organization).hold('open', 5);
  await superuser.query(`select tollgate.set_capture_rule($1, 'cap')`, [organizationId]);
  await superuser.query(`select tollgate.set_sub_limit($1, 'lead_generation', 'feature', '*', 'day', 1000)`, [
    organizationId,
  ]);
  await holderOf(api, organization).hold('counted', 1);
  await holderOf(api, organization).capture('counted', 1, { key: 'part', isLast: false });
  await holderOf(api, organization).refund('counted.1', 1);
  await sealLedger(worker, { after: null, balances: 100 });
  await createOperator(superuser, { name: 'rights' });
  await superuser.query('insert into tollgate.test_organizations (organization_id) values ($1)', [organizationId]);
  await superuser.query(
    `insert into tollgate.organization_origins (organization_id, actor, key, request_hash, answer) values ($1, 'operator:ann', $1, '', '{}')`,
    [organizationId],
  );
  await superuser.query(
    `insert into tollgate.audit_log (organization_id, actor, act, reason) values ($1, 'operator:ann', 'suspendOrganization', 'a test')`,
    [organizationId],
  );
  // By hand: of an organization that is suspended these tests could show little.
  await superuser.query(
    `insert into tollgate.suspensions (organization_id, since, reason, actor) values ($1, now(), 'a test', 'operator:ann')`,
    [organizationId],
  );
  await setRetention(api, {
    organizationId,
    actor: `user:${organizationId}-admin`,
    retention: { promptDays: 30, resultDays: null, idempotencyDays: 90 },
    reason: null,
    requestId: 'rights',
  });
  // What was told of all this is on its way to somebody.
  await registerSubscriber(worker, 'rights', ['job_ended']);
  await claimDeliveries(worker, { subscriber: 'rights', lanes: 1, eventsPerLane: 1, leaseMs: 1 });
}

/** Everything in our two schemas that can be selected from. */
async function relations(kinds: string): Promise<string[]> {
  const { rows } = await database.superuser.query(
    `select c.oid::regclass::text as name from pg_class c
      where c.relnamespace in ('tollgate'::regnamespace, 'public'::regnamespace) and c.relkind = any (string_to_array($1, ' ')::"char"[])
      order by 1`,
    [kinds],
  );
  return rows.map(({ name }) => name);
}

const INSUFFICIENT_PRIVILEGE = '42501';

/** A view that nobody can write through, whatever his rights. */
const NOT_UPDATABLE = '55000';

/** How many rows a query finds, or 'refused' by rights. Anything else is thrown. */
async function rowsOrRefused(client: pg.ClientBase | pg.Pool, text: string): Promise<number | 'refused'> {
  try {
    return (await client.query(text)).rowCount ?? 0;
  } catch (error) {
    if ([INSUFFICIENT_PRIVILEGE, NOT_UPDATABLE].includes((error as pg.DatabaseError).code!)) return 'refused';
    throw error;
  }
}

/** Acts as a role inside a transaction that is rolled back, with the claims that PostgREST would set. */
async function as<T>(role: string, work: (client: pg.PoolClient) => Promise<T>, member?: string): Promise<T> {
  const client = await database.superuser.connect();
  try {
    await client.query(`begin; set local role ${role}`);
    if (member)
      await client.query("select set_config('request.jwt.claims', $1, true)", [JSON.stringify({ sub: member })]);
    return await work(client);
  } finally {
    await client.query('rollback');
    client.release();
  }
}

/** Runs one statement so that its refusal leaves the transaction usable. */
async function attempt(client: pg.PoolClient, text: string): Promise<number | 'refused'> {
  await client.query('savepoint attempt');
  const result = await rowsOrRefused(client, text);
  await client.query('rollback to savepoint attempt');
  return result;
}

const CATALOGUE = [
  'tollgate.catalogue_allowances',
  'tollgate.catalogue_fallbacks',
  'tollgate.catalogue_features',
  'tollgate.catalogue_plans',
  'tollgate.catalogue_versions',
  'tollgate.current_allowances',
  'tollgate.current_fallbacks',
  'tollgate.current_features',
  'tollgate.current_plans',
];

describe('S3: every table', () => {
  it('has row-level security, enabled and forced', async () => {
    const { rows } = await database.superuser.query(
      `select c.oid::regclass::text as name from pg_class c
        where c.relnamespace in ('tollgate'::regnamespace, 'public'::regnamespace) and c.relkind in ('r', 'p')
          and not (c.relrowsecurity and c.relforcerowsecurity)`,
    );
    expect(rows).toEqual([]);
  });

  it('has a row in this file, so that seeing none means something', async () => {
    for (const name of await relations('r p v')) {
      expect(
        (await database.superuser.query(`select from ${name} limit 1`)).rowCount,
        `${name} needs a row in fillEveryTable`,
      ).toBe(1);
    }
  });

  it('every view runs with its reader’s rights', async () => {
    const { rows } = await database.superuser.query(
      `select c.oid::regclass::text as name from pg_class c
        where c.relnamespace in ('tollgate'::regnamespace, 'public'::regnamespace) and c.relkind = 'v'
          and not coalesce(c.reloptions @> array['security_invoker=true'], false)`,
    );
    expect(rows).toEqual([]);
  });

  /** What the two services may select at all: a new table is refused until it is named here. */
  const readable = [
    'ai_token_usage_log',
    'ai_tokens',
    'organizations',
    'tollgate.adjustments',
    'tollgate.audit_log',
    'tollgate.balances',
    'tollgate.billing_cycles',
    'tollgate.charges',
    'tollgate.debts',
    'tollgate.grants',
    'tollgate.hold_steps',
    'tollgate.holds',
    'tollgate.job_attempts',
    'tollgate.jobs',
    'tollgate.ledger_blocks',
    'tollgate.ledger_entries',
    'tollgate.limit_counters',
    'tollgate.organization_rules',
    'tollgate.refunded_charges',
    'tollgate.refunds',
    'tollgate.retention_settings',
    'tollgate.sub_limits',
    'tollgate.suspensions',
    'tollgate.usage_sources',
    'tollgate.ledger_seals',
    'tollgate.test_organizations',
    'user_profiles',
  ];

  it.each(['api', 'worker'] as const)(
    'shows %s no row without a tenant, and only the tenant’s with one',
    async (role) => {
      const pool = database[role];
      for (const name of await relations('r p v')) {
        const seen = await rowsOrRefused(pool, `select from ${name}`);
        if (CATALOGUE.includes(name)) expect(seen, name).toBeGreaterThan(0);
        else expect(seen, name).toBe(readable.includes(name) ? 0 : 'refused');
      }
      for (const name of readable) {
        const key = name === 'organizations' ? 'id' : 'organization_id';
        const tenants = await readAs(pool, ['ours'], (client) =>
          client.query(`select distinct ${key} as tenant from ${name}`),
        );
        expect(tenants.rows, name).toEqual([{ tenant: 'ours' }]);
      }
    },
  );

  it('shows its owner nothing: security is forced', async () => {
    const owner = createPool({ url: database.ownerUrl, applicationName: 'test', maxConnections: 1 });
    try {
      for (const name of await relations('r p')) {
        // The owner keeps the book of its own migrations.
        const expected = name === 'tollgate.applied_files' ? expect.any(Number) : 0;
        expect(await rowsOrRefused(owner, `select from ${name}`), name).toEqual(expected);
      }
      await owner.query(`update organizations set plan = 'enterprise'`);
      expect((await owner.query('select from ai_tokens')).rowCount).toBe(0);
    } finally {
      await owner.end();
    }
    expect((await database.superuser.query('select distinct plan from organizations')).rows).toEqual([{ plan: 'pro' }]);
  });

  it('shows a pooled connection nothing of the tenant before', async () => {
    const pool = createPool({ url: database.apiUrl, applicationName: 'test', maxConnections: 1 });
    try {
      expect(
        (await readAs(pool, ['ours'], (client) => client.query('select from tollgate.holds'))).rowCount,
      ).toBeGreaterThan(0);
      expect((await pool.query('select from tollgate.holds')).rowCount).toBe(0);
      await expect(readAs(pool, ['ours'], () => Promise.reject(new TypeError('broken off')))).rejects.toThrow(
        'broken off',
      );
      expect((await pool.query('select from tollgate.holds')).rowCount).toBe(0);
      await holdTokens(pool, [holderOf(pool, ours).request('again', 1)]);
      expect((await pool.query('select from tollgate.holds')).rowCount).toBe(0);
      await releaseHolds(pool, [{ ...ours, holdId: 'again' }]);
      expect((await pool.query('select from tollgate.balances')).rowCount).toBe(0);
      const { rows } = await readAs(pool, ['theirs'], (client) =>
        client.query('select distinct organization_id from tollgate.holds'),
      );
      expect(rows).toEqual([{ organization_id: 'theirs' }]);
    } finally {
      await pool.end();
    }
  });

  it('shows the auditor all, and lets it change nothing', async () => {
    for (const name of ['ai_tokens', 'organizations', 'tollgate.balances', 'tollgate.jobs', 'tollgate.outbox']) {
      const key = name === 'organizations' ? 'id' : 'organization_id';
      const { rows } = await database.auditor.query(`select distinct ${key} as tenant from ${name} order by 1`);
      expect(rows, name).toEqual([{ tenant: 'ours' }, { tenant: 'theirs' }]);
    }
    for (const name of await relations('r p v'))
      expect(await rowsOrRefused(database.auditor, `delete from ${name}`), name).toBe('refused');
  });

  it.each(['tollgate_api', 'tollgate_worker', 'tollgate_auditor', 'anon', 'authenticated'])(
    'cannot be written by %s',
    async (role) => {
      const views = await relations('v');
      await as(role, async (client) => {
        for (const name of await relations('r p v')) {
          for (const text of [`insert into ${name} default values`, `delete from ${name}`, `truncate ${name}`]) {
            if (text.startsWith('truncate') && views.includes(name)) continue;
            expect(await attempt(client, text), text).toBe('refused');
          }
        }
      });
    },
  );
});

describe('S3: a batch that mixes tenants', () => {
  it('is refused in its foreign rows alone, whoever’s key or id they name', async () => {
    const [own, foreign] = [holderOf(database.api, ours), holderOf(database.api, theirs)];
    const placements = await holdTokens(database.api, [
      own.request('m-1', 1),
      own.request('m-2', 1, { organizationId: 'theirs' }),
      foreign.request('m-3', 1),
      foreign.request('m-4', 1, { organizationId: 'ours' }),
      own.request('m-5', 1, { principal: 'user:theirs-member' }),
      own.request('m-6', 1, { principal: 'user:ours-member' }),
      own.request('m-7', 1, { principal: "user:ours-member' or true --" }),
      own.request('m-8', 1, { principal: 'key:' }),
    ]);
    expect(placements.map(({ outcome }) => outcome)).toEqual([
      ...['held', 'not_a_member', 'held', 'not_a_member', 'not_a_member', 'held', 'not_a_member', 'not_a_member'],
    ]);
    const capture = (holdId: string, organizationId: string, principal: string) => ({
      holdId,
      organizationId,
      principal,
      amount: null,
    });
    const endings = await captureHolds(database.api, [
      capture('m-3', 'theirs', ours.principal),
      capture('m-3', 'ours', ours.principal),
      capture('m-1', 'ours', ours.principal),
      capture('m-1', 'ours', theirs.principal),
    ]);
    expect(endings.map(({ outcome }) => outcome)).toEqual(['not_a_member', 'hold_unknown', 'captured', 'not_a_member']);
    expect(await balanceOf(database.superuser, 'theirs', 'lead_generation')).toMatchObject({ held: 6 });
  });

  it('a key that was revoked or is over speaks for nobody', async () => {
    for (const end of ['revoked_at', 'expires_at']) {
      const organization = await createOrganization(database.superuser, 'pro', `without-${end.slice(0, 7)}`);
      const holder = holderOf(database.api, organization);
      expect(await holder.hold('before', 1)).toMatchObject({ outcome: 'held' });
      await database.superuser.query(
        `update tollgate.api_keys set ${end} = clock_timestamp() where organization_id = $1`,
        [organization.organizationId],
      );
      expect(await holder.hold('after', 1)).toMatchObject({ outcome: 'not_a_member' });
      expect(await holder.capture('before')).toMatchObject({ outcome: 'not_a_member' });
      expect(await admitJob(database.api, admissionOf(organization, 'job'))).toMatchObject({ outcome: 'not_a_member' });
    }
  });
});

describe('S10: functions', () => {
  const PUBLIC_ROLES = [
    'anon',
    'authenticated',
    'service_role',
    'tollgate_api',
    'tollgate_worker',
    'tollgate_auditor',
    'tollgate_owner',
  ];

  /** Who may execute what. A function that is not here may be executed by the ledger alone. */
  const executors: Record<string, string[]> = {
    adjust_as_operator: ['tollgate_api'],
    admit_job: ['tollgate_api'],
    apply_catalogue: ['tollgate_owner'],
    apply_retention: ['tollgate_worker'],
    authenticate_key: ['tollgate_api'],
    authenticate_keys: ['tollgate_api'],
    change_settings: ['tollgate_api'],
    change_sub_limit: ['tollgate_api'],
    create_key: ['tollgate_api'],
    list_sub_limits: ['tollgate_api'],
    memberships_of: ['tollgate_api'],
    note_key_use: ['tollgate_api'],
    revoke_key: ['tollgate_api'],
    rotate_key: ['tollgate_api'],
    // With the caller's own rights and policies.
    settings_of: ['tollgate_api'],
    // Shows the keys of a tenant that was named, and of nobody else.
    tenant_keys: ['tollgate_api'],
    authenticate_operator: ['tollgate_api'],
    // Behind the view ai_tokens, for all who may read it; none of the first two can name it, having no usage of its schema.
    balance_at: ['authenticated', 'service_role', 'tollgate_api', 'tollgate_auditor', 'tollgate_worker'],
    // Both see the balances of a tenant that was named, and nothing else.
    balance_as_of: ['tollgate_api', 'tollgate_auditor'],
    begin_job: ['tollgate_worker'],
    capture_holds: ['tollgate_api'],
    check_tokens: ['tollgate_api'],
    claim_deliveries: ['tollgate_worker'],
    commit_job: ['tollgate_worker'],
    create_api_key: ['tollgate_owner'],
    create_operator: ['tollgate_owner'],
    create_organization: ['tollgate_api'],
    describe_organization: ['tollgate_api'],
    list_acts: ['tollgate_api'],
    list_organizations: ['tollgate_api'],
    record_act: ['tollgate_api'],
    remove_member: ['tollgate_api'],
    rename_organization: ['tollgate_api'],
    reverse_as_operator: ['tollgate_api'],
    set_member: ['tollgate_api'],
    revoke_operator: ['tollgate_owner'],
    mode_of: ['tollgate_api', 'tollgate_owner'],
    current_organizations: ['tollgate_api', 'tollgate_worker'],
    deduct_tokens: ['tollgate_api'],
    // With the caller's own rights and policies.
    entries_between: ['tollgate_api', 'tollgate_auditor', 'tollgate_worker'],
    hash_entries: ['tollgate_auditor'],
    delivery_lag: ['tollgate_worker'],
    find_orphaned_jobs: ['tollgate_worker'],
    hand_back_lane: ['tollgate_worker'],
    extend_holds: ['tollgate_api'],
    grow_holds: ['tollgate_api'],
    hold_tokens: ['tollgate_api'],
    // Both see the balances of a tenant that was named, and nothing else.
    list_holds: ['tollgate_api'],
    // With the caller's own rights and policies.
    list_usage: ['tollgate_api'],
    live_grants: ['tollgate_api'],
    quote_holds: ['tollgate_api'],
    refund_charge: ['tollgate_api'],
    adjust_balance: ['tollgate_owner'],
    reverse_adjustment: ['tollgate_owner'],
    // Operators' acts: these look up whether the caller is one.
    suspend_organization: ['tollgate_api'],
    resume_organization: ['tollgate_api'],
    set_caps: ['tollgate_api'],
    set_capture_rule: ['tollgate_owner'],
    set_retention: ['tollgate_api'],
    set_sub_limit: ['tollgate_owner'],
    job_to_run: ['tollgate_worker'],
    mark_delivered: ['tollgate_worker'],
    organization_of: ['tollgate_api'],
    record_attempt: ['tollgate_worker'],
    record_delivery_failure: ['tollgate_worker'],
    refund_job: ['tollgate_worker'],
    register_subscriber: ['tollgate_worker'],
    remove_delivered_events: ['tollgate_worker'],
    remove_subscriber: ['tollgate_owner'],
    release_holds: ['tollgate_api'],
    request_cancellation: ['tollgate_api'],
    seal_ledger: ['tollgate_worker'],
    settle_due: ['tollgate_api'],
    statement_range: ['tollgate_api', 'tollgate_auditor'],
    set_low_balance: ['tollgate_owner'],
    skip_delivery: ['tollgate_owner'],
    store_result: ['tollgate_worker'],
    token_stats: ['tollgate_api'],
    // Reads no row.
    usage_buckets: ['tollgate_api'],
    // With the caller's own rights and policies.
    usage_series: ['tollgate_api'],
    withdraw_job: ['tollgate_api', 'tollgate_worker'],
  };
  const INVOKERS = [
    'current_organizations',
    'entries_between',
    'hash_entries',
    'settings_of',
    'list_usage',
    'usage_series',
    'live_grants',
  ];
  /** Behind these stands a caller who is checked, or a trigger that rights guard. Every other function has its caller's rights. */
  const definers = [
    ...Object.keys(executors).filter((name) => !INVOKERS.includes(name)),
    'change_plan',
    'edit_balance',
    'provision_organization',
  ];

  /**
   * These look rows up by key, over and over in one statement. A plan that was made while the tables were small, before
   * their first analyze, would read them whole each time: 5,000 edits took 24 s, and take 3 s so.
   */
  const keyed = [
    ...[
      'admit_job',
      'balance_at',
      'begin_job',
      'change_plan',
      'check_tokens',
      'commit_job',
      'deduct_tokens',
      'edit_balance',
    ],
    ...['end_holds', 'lock_balances', 'place_holds', 'post_movements', 'provision_organization', 'refund_job'],
    ...['store_result', 'token_stats', 'withdraw_job'],
    ...['extend_holds', 'grow_holds', 'refund_charge', 'end_hold', 'take_more', 'count_in_limits'],
    ...['live_grants', 'return_slices', 'types_of_holds', 'place_lone_hold', 'end_lone_hold'],
    ...['list_holds', 'quote_holds'],
    ...['has_another_admin', 'may_administer', 'refusals_for', 'refusals_to_end', 'remove_member', 'set_member'],
    ...['list_holds', 'quote_holds', 'list_usage', 'usage_series', 'apply_retention', 'set_retention'],
    ...['may_administer', 'refusals_for'],
    ...['balance_as_of', 'entries_between', 'seal_ledger', 'settle_due', 'statement_range'],
    ...['notice_low', 'set_low_balance'],
    ...['authenticate_keys', 'memberships_of', 'create_key', 'rotate_key', 'revoke_key', 'note_key_use', 'tenant_keys'],
    ...['change_sub_limit', 'list_sub_limits', 'settings_of', 'change_settings'],
    ...['claim_deliveries', 'delivery_lag', 'hand_back_lane', 'mark_delivered', 'record_delivery_failure'],
    ...['remove_delivered_events', 'route_events', 'skip_delivery'],
  ];

  /** Read so often, and so short, that a plan for each call would cost more than the read. */
  const generic = [
    ...['check_tokens', 'refusals_for', 'refusals_to_end'],
    ...[
      'place_holds',
      'end_holds',
      'lock_balances',
      'live_grants',
      'post_movements',
      'return_slices',
      'types_of_holds',
    ],
    ...['place_lone_hold', 'end_lone_hold', 'list_holds'],
    ...['authenticate_keys', 'memberships_of'],
  ];

  /** Reads a page in the order of an index, and must not read everything to sort it. */
  const ordered = ['list_holds', 'list_usage', 'apply_retention'];

  interface FunctionRow {
    name: string;
    owner: string;
    is_definer: boolean;
    settings: string[] | null;
    is_public: boolean;
    executors: string[];
    call: string;
  }
  let functions: FunctionRow[];
  beforeAll(async () => {
    const { rows } = await database.superuser.query(
      `select p.proname as name, pg_get_userbyid(p.proowner) as owner, p.prosecdef as is_definer, p.proconfig as settings,
              exists (select from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a where a.grantee = 0) as is_public,
              (select coalesce(array_agg(r.name order by r.name), '{}') from unnest($1::text[]) as r (name)
                where has_function_privilege(r.name, p.oid, 'execute')) as executors,
              format('select tollgate.%I(%s)', p.proname,
                (select string_agg('null::' || format_type(t.type, null), ', ' order by t.position)
                   from unnest(p.proargtypes) with ordinality as t (type, position))) as call
         from pg_proc p where p.pronamespace = 'tollgate'::regnamespace order by 1`,
      [PUBLIC_ROLES],
    );
    functions = rows;
  });

  it('belong to the ledger, look names up nowhere but in full, and are closed to the public', () => {
    expect(functions.length).toBeGreaterThan(30);
    for (const { name, owner, settings, is_public } of functions) {
      expect({ name, owner, settings, is_public }).toEqual({
        name,
        owner: 'tollgate_ledger',
        settings: [
          // Not empty: that puts the session's own temporary schema first, and with it the caller's own type "text".
          'search_path=pg_catalog, pg_temp',
          ...(keyed.includes(name) ? ['enable_seqscan=off'] : []),
          ...(ordered.includes(name) ? ['enable_bitmapscan=off'] : []),
          ...(generic.includes(name) ? ['plan_cache_mode=force_generic_plan'] : []),
        ],
        is_public: false,
      });
    }
  });

  it('run with the ledger’s rights only where the table above says so', () => {
    expect(functions.filter(({ is_definer }) => is_definer).map(({ name }) => name)).toEqual(definers.toSorted());
  });

  it('may be executed by exactly those of the table above', () => {
    expect(
      Object.fromEntries(functions.filter((row) => row.executors.length > 0).map((row) => [row.name, row.executors])),
    ).toEqual(executors);
  });

  it.each(PUBLIC_ROLES)('refuse %s by rights, each of them that is not his', async (role) => {
    const cannotNameThem = ['anon', 'authenticated', 'service_role'].includes(role);
    await as(role, async (client) => {
      for (const { name, call } of functions) {
        if (executors[name]?.includes(role) && !cannotNameThem) continue;
        expect(await attempt(client, call), call).toBe('refused');
      }
    });
  });

  it('the ledger owns them and nothing else, logs in nowhere and bypasses nothing; no other role of ours does either', async () => {
    const { rows: owned } = await database.superuser.query(
      `select c.oid::regclass::text as name from pg_class c where c.relowner = 'tollgate_ledger'::regrole
       union all select n.nspname from pg_namespace n where n.nspowner = 'tollgate_ledger'::regrole`,
    );
    expect(owned).toEqual([]);
    const { rows } = await database.superuser.query(
      `select r.rolname from pg_roles r
        where r.rolname = any ($1) and (r.rolsuper or r.rolbypassrls or r.rolcreatedb or (r.rolcreaterole and r.rolname <> 'tollgate_owner')
              or (r.rolcanlogin and r.rolname = 'tollgate_ledger'))`,
      [[...PUBLIC_ROLES, 'tollgate_ledger']],
    );
    expect(rows).toEqual([]);
    const { rows: creators } = await database.superuser.query(
      `select r.name, n.name as schema from unnest($1::text[]) as r (name), unnest(array['tollgate', 'auth']) as n (name)
        where r.name <> 'tollgate_owner' and has_schema_privilege(r.name, n.name, 'create')`,
      [[...PUBLIC_ROLES, 'tollgate_ledger']],
    );
    expect(creators).toEqual([]);
  });
});

describe('S10: a member with SQL', () => {
  const MEMBERS = ['ours-member', 'ours-admin'];

  it.each(MEMBERS)('%s sees his own organization’s rows, and nobody else’s', async (member) => {
    await as(
      'authenticated',
      async (client) => {
        expect((await client.query('select id from organizations')).rows).toEqual([{ id: 'ours' }]);
        expect((await client.query('select distinct organization_id from ai_tokens')).rows).toEqual([
          { organization_id: 'ours' },
        ]);
        expect((await client.query('select organization_id from ai_token_usage_log')).rows).not.toHaveLength(0);
        expect((await client.query('select distinct organization_id from ai_token_usage_log')).rows).toEqual([
          { organization_id: 'ours' },
        ]);
        expect((await client.query('select id from user_profiles')).rows).toEqual([{ id: member }]);
      },
      member,
    );
  });

  it('sees the same after a boundary, when the view computes', async () => {
    await elapse(database.superuser, 'ours', '31 days');
    const read = `select token_type, balance from ai_tokens where organization_id = 'ours' order by 1`;
    const seen = await as('authenticated', (client) => client.query(read), 'ours-member');
    expect(seen.rows).toEqual((await database.superuser.query(read)).rows);
  });

  it.each(['nobody', '', undefined])('a session of %s sees nothing', async (member) => {
    await as(
      'authenticated',
      async (client) => {
        for (const name of ['organizations', 'user_profiles', 'ai_tokens', 'ai_token_usage_log']) {
          expect(await attempt(client, `select from ${name}`), name).toBe(0);
        }
      },
      member,
    );
  });

  it('gains nothing by setting the ledger’s own list of organizations', async () => {
    await as(
      'authenticated',
      async (client) => {
        await client.query("select set_config('tollgate.organizations', 'theirs,ours', true)");
        for (const name of ['ai_tokens', 'ai_token_usage_log']) {
          expect((await client.query(`select distinct organization_id from ${name}`)).rows, name).toEqual([
            { organization_id: 'ours' },
          ]);
        }
      },
      'ours-member',
    );
  });

  it('cannot reach the internals: the schema is closed, tables and functions alike', async () => {
    for (const role of ['anon', 'authenticated', 'service_role']) {
      await as(role, async (client) => {
        for (const name of await relations('r p v')) {
          if (name.startsWith('tollgate.')) expect(await attempt(client, `select from ${name}`), name).toBe('refused');
        }
      });
    }
  });

  it.each([
    ['anon', undefined],
    ...MEMBERS.map((member) => ['authenticated', member] as const),
    ['tollgate_api', undefined],
    ['tollgate_worker', undefined],
    ['tollgate_auditor', undefined],
  ] as const)('%s %s cannot set a plan, a balance, a membership or a usage line', async (role, member) => {
    await as(
      role,
      async (client) => {
        await client.query("select set_config('tollgate.organizations', 'ours', true)");
        for (const text of [
          `update organizations set plan = 'enterprise' where id = 'ours'`,
          `insert into organizations (id, name, plan) values ('mine', 'Mine', 'enterprise')`,
          `update ai_tokens set balance = balance + 1 where organization_id = 'ours'`,
          `update ai_tokens set refresh_date = now() where organization_id = 'ours'`,
          `insert into ai_tokens (organization_id, token_type, balance) values ('ours', 'lead_generation', 1000)`,
          'delete from ai_tokens',
          `update user_profiles set role = 'admin', organization_id = 'theirs'`,
          `insert into user_profiles (id, organization_id, role) values ('mine', 'theirs', 'admin')`,
          `insert into ai_token_usage_log (organization_id, feature_used, tokens_deducted) values ('ours', 'generate_goal', -100)`,
          'delete from ai_token_usage_log',
        ]) {
          expect(await attempt(client, text), text).toBe('refused');
        }
      },
      member,
    );
  });

  it('anon sees nothing at all', async () => {
    await as('anon', async (client) => {
      for (const name of await relations('r p v'))
        expect(await attempt(client, `select from ${name}`), name).toBe('refused');
    });
  });

  it('service_role edits plans and balances, and not what happened', async () => {
    await as('service_role', async (client) => {
      expect(await attempt(client, `update organizations set plan = 'enterprise' where id = 'ours'`)).toBe(1);
      expect(await attempt(client, `update ai_tokens set balance = balance + 1 where organization_id = 'ours'`)).toBe(
        5,
      );
      // Allowed by rights and refused by its trigger, which says what to do instead.
      await expect(attempt(client, 'delete from ai_tokens')).rejects.toThrow(
        'a balance cannot be deleted; set it to 0',
      );
      await client.query('rollback to savepoint attempt');
      for (const text of [
        'update ai_token_usage_log set tokens_deducted = 0',
        'delete from ai_token_usage_log',
        'truncate ai_token_usage_log',
      ]) {
        expect(await attempt(client, text), text).toBe('refused');
      }
    });
  });
});

describe('S10: code of the caller’s own', () => {
  /** A type of the caller's that stands in the way of one of PostgreSQL's, with a check that acts as whoever meets it. */
  const PLANT = `
    create function pg_temp.evil(x pg_catalog.text) returns boolean language plpgsql as $$ begin
      if current_user = 'tollgate_ledger' then
        perform pg_catalog.set_config('tollgate.organizations', 'theirs', true);
        update tollgate.balances set available = 0 where organization_id = 'theirs';
        raise exception 'ran as the ledger';
      end if;
      return true; end $$;
    create domain pg_temp.text as pg_catalog.text check (pg_temp.evil(value));
    create domain pg_temp.bigint as pg_catalog.int8 check (pg_temp.evil(value::pg_catalog.text));
    create domain pg_temp.timestamptz as pg_catalog.timestamptz check (pg_temp.evil(value::pg_catalog.text))`;

  it.each([
    [
      'tollgate_api',
      `select outcome from tollgate.deduct_tokens('ours', 'PRINCIPAL', 'evil', 'generate_leads', '{}', null, null)`,
      'deducted',
    ],
    [
      'tollgate_api',
      `select outcome from tollgate.check_tokens('{ours}', '{PRINCIPAL}', '{generate_leads}')`,
      'sufficient',
    ],
  ])('of %s never runs as the ledger: %s', async (role, statement, outcome) => {
    await as(role, async (client) => {
      await client.query(PLANT);
      const { rows } = await client.query(statement.replace('PRINCIPAL', ours.principal));
      expect(rows).toEqual([{ outcome }]);
    });
  });

  it('of a member never runs as the ledger, in the view that computes what time has done', async () => {
    // A session of her own: in one that has used the function before, it would be compiled already.
    const client = new pg.Client({ connectionString: database.superuserUrl });
    await client.connect();
    try {
      await client.query('begin');
      await client.query(
        `update tollgate.balances set next_change_at = clock_timestamp(), refresh_date = clock_timestamp() where organization_id = 'ours'`,
      );
      await client.query('set local role authenticated');
      await client.query("select set_config('request.jwt.claims', $1, true)", [JSON.stringify({ sub: 'ours-member' })]);
      await client.query(PLANT);
      const { rowCount } = await client.query('select balance from ai_tokens');
      expect(rowCount).toBe(5);
    } finally {
      await client.end();
    }
  });
});

describe('S10: where new tables are everybody’s by default, as on Supabase', () => {
  it('anon, authenticated and service_role still get no more than they are given, of tables, views and sequences', async () => {
    const name = `rights_${process.pid}_${randomBytes(4).toString('hex')}`;
    const server = new pg.Client({ connectionString: inject('superuserUrl') });
    await server.connect();
    try {
      await server.query(`create database ${name} owner tollgate_owner`);
      const url = new URL(inject('superuserUrl'));
      url.pathname = `/${name}`;
      const urls = databaseUrls(url.href, inject('databasePasswords'));
      await run(
        urls.owner,
        `alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
         alter default privileges in schema public grant all on functions to anon, authenticated, service_role;
         alter default privileges in schema public grant all on sequences to anon, authenticated, service_role`,
      );
      await migrate({ ownerUrl: urls.owner });
      const rights = `
        select c.oid::regclass::text as name, a.grantee::regrole::text as role, string_agg(a.privilege_type, ' ' order by a.privilege_type) as rights
          from pg_class c, aclexplode(c.relacl) a
         where c.relnamespace in ('public'::regnamespace, 'tollgate'::regnamespace) and c.relkind in ('r', 'v', 'S')
           and a.grantee in (0, 'anon'::regrole, 'authenticated'::regrole, 'service_role'::regrole)
         group by 1, 2 order by 1, 2`;
      const readAlone = (name: string) => ({ name, role: 'authenticated', rights: 'SELECT' });
      const service = (name: string, rights: string) => ({ name, role: 'service_role', rights });
      const ROWS = 'DELETE INSERT SELECT UPDATE';
      expect(await run(urls.superuser, rights)).toEqual([
        ...[readAlone('ai_token_usage_log'), service('ai_token_usage_log', 'SELECT')],
        ...[readAlone('ai_tokens'), service('ai_tokens', ROWS)],
        ...[readAlone('organizations'), service('organizations', ROWS)],
        // Behind the view, which reads with its reader's rights; without usage on the schema nobody of them can name it.
        ...[readAlone('tollgate.balances'), service('tollgate.balances', 'SELECT')],
        ...[readAlone('user_profiles'), service('user_profiles', ROWS)],
      ]);
      expect(
        await run(
          urls.superuser,
          `select p.oid::regprocedure::text as name from pg_proc p, aclexplode(p.proacl) a
            where p.pronamespace = 'tollgate'::regnamespace and p.proname <> 'balance_at'
              and a.grantee in (0, 'anon'::regrole, 'authenticated'::regrole, 'service_role'::regrole)
           union all
           select n.nspname from pg_namespace n, aclexplode(n.nspacl) a
            where n.nspname = 'tollgate' and a.grantee in (0, 'anon'::regrole, 'authenticated'::regrole, 'service_role'::regrole)`,
        ),
      ).toEqual([]);

      // What each of these could do with the default rights: set the log's ids back, so that every deduction fails on one
      // that is taken; and run code of his own with the rights of whoever writes the row.
      for (const [role, statement] of [
        ['anon', `select setval('public.ai_token_usage_log_id_seq', 1)`],
        ['authenticated', `select setval('public.ai_token_usage_log_id_seq', 1)`],
        [
          'service_role',
          'create trigger mine before insert on ai_token_usage_log for each row execute function suppress_redundant_updates_trigger()',
        ],
        [
          'service_role',
          'create trigger mine before update on organizations for each row execute function suppress_redundant_updates_trigger()',
        ],
      ]) {
        await expect(run(urls.superuser, `set role ${role}; ${statement}`), statement).rejects.toMatchObject({
          code: INSUFFICIENT_PRIVILEGE,
        });
      }
    } finally {
      await server.query(`drop database if exists ${name} with (force)`);
      await server.end();
    }
  });
});

async function run(url: string, text: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}
