import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import pg from 'pg';
import { catalogueContent, catalogueDigest } from '../db/catalogue.ts';

/** Of the login roles; one that is not named keeps the password that it has. */
export interface RolePasswords {
  tollgate_api?: string | undefined;
  tollgate_worker?: string | undefined;
  tollgate_auditor?: string | undefined;
}

/**
 * Brings a database up to this code: numbered tables once each, functions and views whose text changed, the catalogue.
 *
 * Everything is one transaction under an advisory lock: of two runners at once, one migrates and the other finds nothing
 * to do; a failing migration leaves the database as it was. The owner needs CREATEROLE, not superuser.
 */
export async function migrate(options: {
  ownerUrl: string;
  rolePasswords?: RolePasswords;
  say?: (line: string) => void;
  /** Where the SQL is; our own folder when not named. Ends with a slash. */
  folder?: URL;
}): Promise<{ applied: string[] }> {
  const say = options.say ?? (() => {});
  const folder = options.folder ?? new URL('./', import.meta.url);
  const client = new pg.Client({ connectionString: options.ownerUrl, application_name: 'tollgate-migrate' });
  await client.connect();
  try {
    await client.query('begin');
    // Without a bound on purpose: the other runner may be rewriting a large table.
    await client.query("select pg_advisory_xact_lock(hashtext('tollgate.migrate'))");
    await client.query("set local client_min_messages = 'warning'");
    await createBookkeeping(client);
    const applied = [...(await applyTables(client, folder, say)), ...(await applyDefinitions(client, folder, say))];
    await client.query('select tollgate.apply_catalogue($1, $2)', [catalogueDigest(), catalogueContent()]);
    await handOverToLedger(client);
    await setPasswords(client, options.rolePasswords);
    await client.query('commit');
    return { applied };
  } catch (error) {
    await client.query('rollback').catch(() => {});
    throw error;
  } finally {
    await client.end();
  }
}

async function createBookkeeping(client: pg.Client): Promise<void> {
  const { rows } = await client.query("select to_regclass('tollgate.applied_files') is not null as exists");
  if (rows[0].exists) return;
  await client.query(`
    create schema if not exists tollgate;
    create table tollgate.applied_files (
      name       text        primary key,
      checksum   text        not null,
      applied_at timestamptz not null default clock_timestamp()
    );
    alter table tollgate.applied_files enable row level security;
    alter table tollgate.applied_files force row level security;
    create policy owner_keeps_book on tollgate.applied_files for all to current_user using (true) with check (true);
  `);
}

async function applyTables(client: pg.Client, folder: URL, say: (line: string) => void): Promise<string[]> {
  const book = await readBook(client);
  const applied: string[] = [];
  for (const file of await sqlFiles(folder, '')) {
    const known = book.get(file.name);
    if (known === file.checksum) continue;
    if (known !== undefined) {
      throw new Error(
        `migrations/${file.name} was changed after it had been applied. Restore it, and put the change into a new file: migrations only go forward.`,
      );
    }
    await run(client, file, say);
    applied.push(file.name);
  }
  return applied;
}

async function applyDefinitions(client: pg.Client, folder: URL, say: (line: string) => void): Promise<string[]> {
  // To replace a function the owner must belong to the role that owns it. The membership ends in this same transaction
  // (handOverToLedger), so that the owner never inherits the ledger's policies.
  await client.query('grant tollgate_ledger to current_user');
  // Functions call each other; the order of files must not matter.
  await client.query('set local check_function_bodies = off');
  const book = await readBook(client);
  const applied: string[] = [];
  for (const part of ['functions/', 'views/']) {
    for (const file of await sqlFiles(folder, part)) {
      if (book.get(file.name) === file.checksum) continue;
      await run(client, file, say);
      applied.push(file.name);
    }
  }
  return applied;
}

async function handOverToLedger(client: pg.Client): Promise<void> {
  await client.query(`
    grant create on schema tollgate to tollgate_ledger;
    do $$
    declare
      f record;
    begin
      for f in
        select p.oid::regprocedure as signature, pg_get_userbyid(p.proowner) as owner
          from pg_proc p
         where p.pronamespace = 'tollgate'::regnamespace
      loop
        execute format('revoke all on function %s from public', f.signature);
        if f.owner <> 'tollgate_ledger' then
          execute format('alter function %s owner to tollgate_ledger', f.signature);
        end if;
      end loop;
    end
    $$;
    -- Some functions are the owner's own tools; everything else stays out of its reach.
    grant execute on function
      tollgate.apply_catalogue(text, jsonb),
      tollgate.create_api_key(text, text, text, bytea, text, text[]),
      tollgate.mode_of(text),
      tollgate.create_operator(text, text, bytea, timestamptz),
      tollgate.revoke_operator(text),
      tollgate.adjust_balance(text, text, bigint, text, text, text),
      tollgate.reverse_adjustment(text, bigint, text, text),
      tollgate.set_sub_limit(text, text, text, text, text, bigint),
      tollgate.set_capture_rule(text, text),
      tollgate.set_low_balance(text, text, bigint),
      tollgate.skip_delivery(text, text, bigint),
      tollgate.remove_subscriber(text)
    to current_user;
    revoke create on schema tollgate from tollgate_ledger;
    revoke tollgate_ledger from current_user;
  `);
}

async function setPasswords(client: pg.Client, passwords: RolePasswords | undefined): Promise<void> {
  for (const [role, password] of Object.entries(passwords ?? {})) {
    if (password === undefined) continue;
    // DDL takes no parameters.
    await client.query(`alter role ${client.escapeIdentifier(role)} password ${client.escapeLiteral(password)}`);
  }
}

interface SqlFile {
  name: string;
  text: string;
  checksum: string;
}

async function sqlFiles(folder: URL, part: string): Promise<SqlFile[]> {
  const here = new URL(part, folder);
  const names = (await readdir(here)).filter((name) => name.endsWith('.sql') && name !== 'schema.sql').sort();
  return Promise.all(
    names.map(async (name) => {
      const text = await readFile(new URL(name, here), 'utf8');
      return {
        name: `${part}${name}`,
        text,
        checksum: createHash('sha256').update(text).digest('hex'),
      };
    }),
  );
}

async function readBook(client: pg.Client): Promise<Map<string, string>> {
  const { rows } = await client.query<{ name: string; checksum: string }>(
    'select f.name, f.checksum from tollgate.applied_files f',
  );
  return new Map(rows.map((row) => [row.name, row.checksum]));
}

async function run(client: pg.Client, file: SqlFile, say: (line: string) => void): Promise<void> {
  try {
    await client.query(file.text);
  } catch (error) {
    throw new Error(`migrations/${file.name} failed: ${(error as Error).message}`, { cause: error });
  }
  await client.query(
    `insert into tollgate.applied_files (name, checksum) values ($1, $2)
     on conflict (name) do update set checksum = excluded.checksum, applied_at = clock_timestamp()`,
    [file.name, file.checksum],
  );
  say(`applied ${file.name}`);
}
