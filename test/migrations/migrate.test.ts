import { randomBytes } from 'node:crypto';
import { appendFile, cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, it } from 'vitest';
import { databaseUrls } from '../../dev/databaseUrls.ts';
import { migrate } from '../../migrations/migrate.ts';

/** Roles belong to the server and are there since its template was migrated; databases here begin empty. */
let server: pg.Client;
let name: string;
let urls: ReturnType<typeof databaseUrls>;
/** A copy of migrations/ to edit. */
let folder: string;

beforeAll(async () => {
  server = new pg.Client({ connectionString: inject('superuserUrl') });
  await server.connect();
});
afterAll(() => server.end());
beforeEach(async () => {
  name = `migrate_${process.pid}_${randomBytes(4).toString('hex')}`;
  await server.query(`create database ${name} owner tollgate_owner`);
  const url = new URL(inject('superuserUrl'));
  url.pathname = `/${name}`;
  urls = databaseUrls(url.href, inject('databasePasswords'));
  folder = await mkdtemp(join(tmpdir(), 'tollgate-migrations-'));
  await cp(new URL('../../migrations', import.meta.url), folder, { recursive: true });
});
afterEach(async () => {
  await server.query(`drop database if exists ${name} with (force)`);
  await rm(folder, { recursive: true, force: true });
});

const run = (options: { say?: (line: string) => void } = {}) =>
  migrate({ ownerUrl: urls.owner, folder: pathToFileURL(`${folder}/`), ...options });

async function query(text: string, values: unknown[] = []): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: urls.superuser });
  await client.connect();
  try {
    return (await client.query(text, values)).rows;
  } finally {
    await client.end();
  }
}

async function sqlFiles(): Promise<string[]> {
  const files = await Promise.all(
    ['', 'functions/', 'views/'].map(async (part) =>
      (await readdir(join(folder, part)))
        .filter((file) => /\.sql$/.test(file) && file !== 'schema.sql')
        .sort()
        .map((file) => part + file),
    ),
  );
  return files.flat();
}

it('applies every file once, tables first, and says so', async () => {
  const said: string[] = [];
  expect((await run({ say: (line) => said.push(line) })).applied).toEqual(await sqlFiles());
  expect(said).toEqual((await sqlFiles()).map((file) => `applied ${file}`));
  expect((await run({ say: (line) => said.push(line) })).applied).toEqual([]);
  expect(said).toHaveLength((await sqlFiles()).length);
});

it('C13: of two runners at once one migrates and the other finds nothing to do', async () => {
  const runs = await Promise.all([run(), run()]);
  expect(runs.map(({ applied }) => applied.length).toSorted((a, b) => a - b)).toEqual([0, (await sqlFiles()).length]);
});

it('an owner who is no superuser suffices, and is not left with the rights of the ledger', async () => {
  await run();
  expect(
    await query(
      `select r.rolsuper, r.rolbypassrls, pg_has_role(r.oid, 'tollgate_ledger', 'usage') as is_ledger
         from pg_roles r where r.rolname = 'tollgate_owner'`,
    ),
  ).toEqual([{ rolsuper: false, rolbypassrls: false, is_ledger: false }]);
  expect(
    await query(`select distinct pg_get_userbyid(relowner) as owner from pg_class
                  where relnamespace = 'tollgate'::regnamespace and relkind in ('r', 'v')`),
  ).toEqual([{ owner: 'tollgate_owner' }]);
});

it('gives the passwords that it is given, and leaves the others', async () => {
  await migrate({ ownerUrl: urls.owner, rolePasswords: { tollgate_api: inject('databasePasswords').api } });
  for (const url of [urls.api, urls.worker, urls.auditor]) {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    await client.end();
  }
});

describe('a database that was migrated before', () => {
  beforeEach(() => run());

  it('refuses a numbered file that was edited, names it, and changes nothing', async () => {
    await appendFile(
      join(folder, '005_create_ai_token_usage_log.sql'),
      '\nalter table ai_token_usage_log add column surprise text;\n',
    );
    await appendFile(join(folder, 'functions/grace.sql'), '\n-- Edited too.\n');
    await expect(run()).rejects.toThrow(
      /migrations\/005_create_ai_token_usage_log\.sql was changed after it had been applied/,
    );
    expect(
      await query(
        `select count(*)::integer as columns from pg_attribute where attrelid = 'ai_token_usage_log'::regclass and attname = 'surprise'`,
      ),
    ).toEqual([{ columns: 0 }]);
    await cp(
      new URL('../../migrations/005_create_ai_token_usage_log.sql', import.meta.url),
      join(folder, '005_create_ai_token_usage_log.sql'),
    );
    expect((await run()).applied).toEqual(['functions/grace.sql']);
  });

  it('applies a function whose text has changed, and it stays the ledger’s and closed to the public', async () => {
    await writeFile(
      join(folder, 'functions/grace.sql'),
      `create or replace function tollgate.grace() returns interval language sql immutable set search_path = pg_catalog, pg_temp as $$ select interval '5 hours' $$;`,
    );
    expect((await run()).applied).toEqual(['functions/grace.sql']);
    expect((await run()).applied).toEqual([]);
    expect(
      await query(
        `select tollgate.grace()::text as grace, pg_get_userbyid(p.proowner) as owner, has_function_privilege('anon', p.oid, 'execute') as is_open
           from pg_proc p where p.oid = 'tollgate.grace()'::regprocedure`,
      ),
    ).toEqual([{ grace: '05:00:00', owner: 'tollgate_ledger', is_open: false }]);
  });

  it('applies a new function: it becomes the ledger’s and closed to the public', async () => {
    await writeFile(
      join(folder, 'functions/brand_new.sql'),
      `create or replace function tollgate.brand_new() returns integer language sql set search_path = pg_catalog, pg_temp as $$ select 1 $$;`,
    );
    expect((await run()).applied).toEqual(['functions/brand_new.sql']);
    expect(
      await query(
        `select pg_get_userbyid(p.proowner) as owner, has_function_privilege('anon', p.oid, 'execute') as is_open
           from pg_proc p where p.oid = 'tollgate.brand_new()'::regprocedure`,
      ),
    ).toEqual([{ owner: 'tollgate_ledger', is_open: false }]);
  });

  it('stays as it was when a migration fails, and the error names the file', async () => {
    await writeFile(join(folder, '900_first.sql'), 'create table tollgate.first (id integer);');
    await writeFile(join(folder, '901_broken.sql'), 'create table tollgate.second (id nonsense);');
    await expect(run()).rejects.toThrow(/migrations\/901_broken\.sql failed: type "nonsense" does not exist/);
    expect(await query(`select to_regclass('tollgate.first') as first`)).toEqual([{ first: null }]);
    expect(await query(`select pg_has_role('tollgate_owner', 'tollgate_ledger', 'usage') as is_ledger`)).toEqual([
      { is_ledger: false },
    ]);
  });

  it('keeps what is in it', async () => {
    await query(`insert into organizations (id, name, plan) values ('kept', 'Kept', 'pro')`);
    await writeFile(join(folder, '900_more.sql'), 'alter table tollgate.jobs add column more text;');
    expect((await run()).applied).toEqual(['900_more.sql']);
    expect(
      await query(
        `select balance::integer from ai_tokens where organization_id = 'kept' and token_type = 'lead_generation'`,
      ),
    ).toEqual([{ balance: 50 }]);
  });
});

it('an app’s own tables stay as they are and gain what is missing; who was there gets tokens at first use', async () => {
  const owner = new pg.Client({ connectionString: urls.owner });
  await owner.connect();
  await owner.query(`
    create table organizations (id text primary key, name text not null, logo text);
    create table user_profiles (id text primary key, organization_id text references organizations (id), theme text);
    insert into organizations values ('old', 'Old', 'old.png');
    insert into user_profiles values ('ann', 'old', 'dark')`);
  await owner.end();
  await run();
  expect(await query('select * from organizations')).toEqual([
    { id: 'old', name: 'Old', logo: 'old.png', plan: 'starter' },
  ]);
  expect(await query('select * from user_profiles')).toEqual([
    { id: 'ann', organization_id: 'old', theme: 'dark', role: 'member' },
  ]);
  await query(`update organizations set plan = 'pro' where id = 'old'`);
  expect(
    await query(
      `select outcome, available::integer from tollgate.hold_tokens(array['user:ann'], array['old'], array['h'], array['generate_leads'], array[5], array[interval '1 minute'])`,
    ),
  ).toEqual([{ outcome: 'held', available: 45 }]);
});

it('the guide’s way to make the first organization works for an owner who is no superuser', async () => {
  await run();
  const guide = await readFile(new URL('../../docs/guides/TOKEN_SYSTEM_DEPLOYMENT.md', import.meta.url), 'utf8');
  const statements = /```sql\n(begin;\n[^`]*commit;)\n```/.exec(guide)?.[1];
  const owner = new pg.Client({ connectionString: urls.owner });
  await owner.connect();
  await owner.query(statements ?? 'the guide has no such block');
  await owner.end();
  expect(
    await query(`select balance::integer from ai_tokens where organization_id = 'acme' and token_type = 'forecast'`),
  ).toEqual([{ balance: 30 }]);
});

describe('on a Supabase project', () => {
  const ANN = '7c9e6679-7425-40de-944b-e07fc1f90ae7';

  /** As Supabase makes it, and as an app has gone on: uuid users, a table with the app's own columns and policy. */
  async function prepare(): Promise<void> {
    await query(`
      create schema auth;
      create table auth.users (id uuid primary key);
      create function auth.uid() returns uuid language sql stable as
        $$ select (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid $$;
      grant usage on schema auth to anon, authenticated, service_role, tollgate_owner;
      create table organizations (id text primary key, name text not null);
      create table user_profiles (
        id uuid primary key references auth.users, organization_id text references organizations (id), role text, theme text);
      alter table organizations owner to tollgate_owner;
      alter table user_profiles owner to tollgate_owner;
      insert into auth.users values ('${ANN}');
      insert into organizations values ('ann-org', 'Ann'), ('other', 'Other');
      insert into user_profiles values ('${ANN}', 'ann-org', 'admin', 'dark')`);
  }

  it('members, known by uuid, hold tokens and read their own organization; the app’s own function stays', async () => {
    await prepare();
    await run();
    expect((await run()).applied).toEqual([]);
    expect(
      await query(`select format_type(prorettype, null) as type from pg_proc where oid = 'auth.uid()'::regprocedure`),
    ).toEqual([{ type: 'uuid' }]);
    await query(`update organizations set plan = 'pro'`);
    expect(
      await query(
        `select outcome from tollgate.deduct_tokens('ann-org', 'user:${ANN}', 'h', 'generate_goal', '{}', null, null)`,
      ),
    ).toEqual([{ outcome: 'deducted' }]);
    expect(await query(`select user_id from ai_token_usage_log`)).toEqual([{ user_id: ANN }]);
    expect(
      await query(`select outcome from tollgate.check_tokens('{other}', '{user:${ANN}}', '{generate_goal}')`),
    ).toEqual([{ outcome: 'not_a_member' }]);
    const seen = await asAnn(
      `select o.id, t.balance::integer from organizations o join ai_tokens t on t.organization_id = o.id where t.token_type = 'goal_generation'`,
    );
    expect(seen).toEqual([{ id: 'ann-org', balance: 17 }]);
  });

  it('members are added and removed by uuid, and their profiles stay the app’s; what it does not let be is refused in words', async () => {
    await prepare();
    await run();
    const BOB = '6f9619ff-8b86-4d01-b42d-00cf4fc964ff';
    await query(`
      insert into auth.users values ('${BOB}');
      insert into user_profiles (id, theme) values ('${BOB}', 'light')`);
    const outcome = async (call: string) => (await query(`select tollgate.${call} as outcome`))[0]!.outcome;
    const set = (user: string, role: string) =>
      outcome(`set_member('user:${ANN}', 'ann-org', '${user}', '${role}', null, null)`);
    expect(await set(BOB, 'admin')).toBe('member_set');
    // She is in no table of users; and what is no uuid is nobody there.
    expect(await set('0b9619ff-8b86-4d01-b42d-00cf4fc964ff', 'member')).toBe('app_table_refused');
    expect(await set('carl', 'member')).toBe('app_table_refused');
    // Sessions name users as the table writes them: another spelling of a uuid would be nobody's.
    for (const spelling of [BOB.toUpperCase(), BOB.replaceAll('-', '')])
      expect(await set(spelling, 'member')).toBe('app_table_refused');
    const profiles = 'select id, organization_id, role, theme from user_profiles order by theme';
    expect(await query(profiles)).toEqual([
      { id: ANN, organization_id: 'ann-org', role: 'admin', theme: 'dark' },
      { id: BOB, organization_id: 'ann-org', role: 'admin', theme: 'light' },
    ]);
    expect(await outcome(`remove_member('user:${BOB}', 'ann-org', '${ANN}', null, null)`)).toBe('removed');
    expect(await outcome(`remove_member('user:${BOB}', 'ann-org', '${BOB}', null, null)`)).toBe('last_admin');
    expect((await query(profiles))[0]).toEqual({ id: ANN, organization_id: null, role: 'member', theme: 'dark' });
    expect(await query('select act, subject from tollgate.audit_log order by id')).toEqual([
      { act: 'setMember', subject: `user:${BOB}` },
      { act: 'removeMember', subject: `user:${ANN}` },
    ]);
  });

  it('organizations that ask for more than an id, a name and a plan are refused over HTTP in words, and nothing is left', async () => {
    await query(`
      create table organizations (id text primary key, name varchar(20) not null, slug text not null unique);
      alter table organizations owner to tollgate_owner`);
    await run();
    await query(`select tollgate.create_operator('ann', 'Ann', '${'\\'}x${'00'.repeat(32)}', null)`);
    expect(
      await query(
        `select outcome from tollgate.create_organization('operator:ann', 'acme', 'Acme', 'pro', 'test', 'UTC', 'why', 'k', '', null)`,
      ),
    ).toEqual([{ outcome: 'app_table_refused' }]);
    await query(`insert into organizations values ('acme', 'Acme', 'acme')`);
    expect(
      await query(
        `select tollgate.rename_organization('operator:ann', 'acme', 'A name that is too long for it', 'why', null) as outcome`,
      ),
    ).toEqual([{ outcome: 'app_table_refused' }]);
    expect(
      await query(`select id, name, plan, mode from tollgate.list_organizations('operator:ann', 'ac', null, 9)`),
    ).toEqual([{ id: 'acme', name: 'Acme', plan: 'starter', mode: 'live' }]);
    expect(await query('select act from tollgate.audit_log')).toEqual([]);
  });

  it.each([
    ['text', 'user_profiles_pkey'],
    ['uuid', 'user_profiles_id_text_idx'],
  ])('a member with an id of type %s is looked up through %s, one row read of many', async (type, index) => {
    await query(`
      create table organizations (id text primary key, name text not null, plan text default 'pro');
      create table user_profiles (id ${type} primary key, organization_id text references organizations (id));
      alter table organizations owner to tollgate_owner;
      alter table user_profiles owner to tollgate_owner;
      insert into organizations values ('crowd', 'Crowd');
      insert into user_profiles select gen_random_uuid()${type === 'text' ? '::text' : ''}, 'crowd' from generate_series(1, 2000);
      insert into user_profiles values ('${ANN}', 'crowd')`);
    await run();
    for (const statistics of ['without statistics', 'analyzed']) {
      if (statistics === 'analyzed') await query('analyze user_profiles');
      for (const lookUp of [
        `tollgate.refusals_for(array['user:${ANN}'], array['crowd']) = array[null::text]`,
        `tollgate.organization_of('${ANN}') = 'crowd'`,
      ]) {
        // One statement on a connection of its own, so that the counters are this look-up's alone.
        expect(
          await query(
            `with looked_up as materialized (select ${lookUp} as found)
             select l.found, t.whole, t.scans, t.entries
               from looked_up l
              cross join lateral (
                select pg_stat_get_xact_numscans('user_profiles'::regclass)::integer   as whole,
                       pg_stat_get_xact_numscans('${index}'::regclass)::integer        as scans,
                       pg_stat_get_xact_tuples_returned('${index}'::regclass)::integer as entries
                 where l.found) t`,
          ),
          `${lookUp}, ${statistics}`,
        ).toEqual([{ found: true, whole: 0, scans: 1, entries: 1 }]);
      }
    }
  });

  async function asAnn(text: string): Promise<Record<string, unknown>[]> {
    const client = new pg.Client({ connectionString: urls.superuser });
    await client.connect();
    try {
      await client.query('begin; set local role authenticated');
      await client.query("select set_config('request.jwt.claims', $1, true)", [JSON.stringify({ sub: ANN })]);
      return (await client.query(text)).rows;
    } finally {
      await client.end();
    }
  }

  /** Schemas, policies and tables that a migration would have made or secured. */
  const everythingOfOurs = () =>
    query(`
      select n.nspname::text as name from pg_namespace n where n.nspname in ('tollgate', 'auth')
      union all select p.policyname::text from pg_policies p where p.schemaname = 'public'
      union all select c.oid::regclass::text from pg_class c where c.relnamespace = 'public'::regnamespace and c.relrowsecurity`);

  it('whose organizations have uuid ids, nothing is changed and a sentence says what to do', async () => {
    await query(
      `create table organizations (id uuid primary key, name text); alter table organizations owner to tollgate_owner`,
    );
    await expect(run()).rejects.toThrow(
      /organizations.id is uuid, and ids of organizations are text here; change it first: alter table organizations alter column id type text/,
    );
    expect(await everythingOfOurs()).toEqual([]);
  });

  it('whose organizations have ids that cannot be ours, nothing is changed and a sentence names one', async () => {
    await query(`
      create table organizations (id text primary key, name text);
      alter table organizations owner to tollgate_owner;
      insert into organizations values ('fine', 'Fine'), ('a,b', 'Two at once')`);
    await expect(run()).rejects.toThrow(
      /organizations has the id "a,b"; ids are 1 to 64 of the characters .* update organizations set id = … where id = 'a,b'/,
    );
    expect(await everythingOfOurs()).toEqual([]);
    await query(`update organizations set id = 'a-b' where id = 'a,b'`);
    await run();
    await expect(query(`insert into organizations values ('a,b', 'Again')`)).rejects.toThrow(
      /organizations_id_is_an_id/,
    );
  });

  it('a plan that the catalogue does not have, or none, opens nothing until one is set that it has', async () => {
    await query(`
      create table organizations (id varchar(64) primary key, name text, plan varchar(20));
      create table user_profiles (id text primary key, organization_id varchar(64) references organizations (id));
      alter table organizations owner to tollgate_owner;
      alter table user_profiles owner to tollgate_owner;
      insert into organizations values ('odd', 'Odd', 'free'), ('none', 'None', null);
      insert into user_profiles values ('odd-user', 'odd'), ('none-user', 'none')`);
    await run();
    for (const id of ['odd', 'none']) {
      const deduct = `select outcome from tollgate.deduct_tokens('${id}', 'user:${id}-user', gen_random_uuid()::text, 'generate_goal', '{}', null, null)`;
      expect(await query(deduct)).toEqual([{ outcome: 'feature_not_available' }]);
      await query(`update organizations set plan = 'pro' where id = '${id}'`);
      expect(await query(deduct)).toEqual([{ outcome: 'deducted' }]);
    }
  });

  it.each(['ai_tokens', 'ai_token_usage_log'])(
    'that has the earlier system’s table %s, nothing is changed and a sentence says what to do',
    async (table) => {
      await query(`create table ${table} (id uuid)`);
      await expect(run()).rejects.toThrow(`alter table ${table} rename to ${table}_before`);
      expect(await everythingOfOurs()).toEqual([]);
    },
  );

  it('the earlier system’s balances are taken over as the guide says', async () => {
    await prepare();
    await query(`
      create table ai_tokens (organization_id text, token_type text, balance integer, total_allocated integer, refresh_date timestamptz);
      insert into ai_tokens values ('ann-org', 'goal_generation', 7, 20, now() + interval '9 days');
      alter table ai_tokens rename to ai_tokens_before`);
    await run();
    await query(`update organizations set plan = 'pro' where id = 'ann-org'`);
    await query(TAKE_OVER);
    expect(
      await query(
        `select balance::integer, total_allocated::integer, refresh_date::date - current_date as days from ai_tokens where organization_id = 'ann-org' and token_type = 'goal_generation'`,
      ),
    ).toEqual([{ balance: 7, total_allocated: 20, days: 9 }]);
  });

  const TAKE_OVER = `insert into ai_tokens (organization_id, token_type, balance, total_allocated, refresh_date)
  select organization_id, token_type, balance, total_allocated, greatest(refresh_date, now() + interval '1 minute')
    from ai_tokens_before;`;

  it('the guide’s statement is the one that was tried here', async () => {
    const guide = await readFile(new URL('../../docs/guides/TOKEN_SYSTEM_DEPLOYMENT.md', import.meta.url), 'utf8');
    expect(guide).toContain(TAKE_OVER);
  });
});
