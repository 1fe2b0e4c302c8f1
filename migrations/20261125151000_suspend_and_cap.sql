-- Organizations that an operator has suspended, and how much each may have open at once. Both stand in the balance's row, which every
-- admission locks and reads anyway (docs/decisions/0013).

alter table tollgate.balances
  add column is_suspended    boolean not null default false,
  add column open_holds      integer not null default 0,
  add column most_open_holds integer not null default 10000;
comment on column tollgate.balances.is_suspended is 'Its organization is suspended (tollgate.suspensions): nothing new is admitted.';
comment on column tollgate.balances.open_holds is 'How many holds are open. Changes with the movements that open and end them.';
comment on column tollgate.balances.most_open_holds is 'How many may be: what the organization''s rules say, or the usual cap.';
grant update (is_suspended, open_holds, most_open_holds) on tollgate.balances to tollgate_ledger;

alter table tollgate.holds no force row level security;
alter table tollgate.balances no force row level security;
update tollgate.balances b
   set open_holds = h.open
  from (select o.organization_id, o.token_type, count(*)::integer as open
          from tollgate.holds o
         where o.state = 'held'
         group by o.organization_id, o.token_type) h
 where h.organization_id = b.organization_id and h.token_type = b.token_type;
alter table tollgate.balances force row level security;
alter table tollgate.holds force row level security;

-- By how many the open holds of a balance change with a movement.
alter type tollgate.movement add attribute open_holds integer;

-- Null: the usual cap.
alter table tollgate.organization_rules
  add column most_open_holds integer,
  add column most_open_jobs  integer,
  add constraint organization_rules_caps_are_caps check (most_open_holds between 1 and 1000000 and most_open_jobs between 1 and 100000);

-- Who is suspended now; what was before stands in the audit log.
create table tollgate.suspensions (
  organization_id text        primary key references public.organizations (id),
  since           timestamptz not null,
  reason          text        not null,
  actor           text        not null,
  constraint suspensions_say_why check (reason ~ '\S' and length(reason) <= 500)
);
alter table tollgate.suspensions enable row level security;
alter table tollgate.suspensions force  row level security;
create policy ledger_writes on tollgate.suspensions for all    to tollgate_ledger using (true) with check (true);
create policy tenant_reads  on tollgate.suspensions for select to tollgate_api, tollgate_worker
  using (organization_id = any ((select tollgate.current_organizations())::text[]));
create policy auditor_reads on tollgate.suspensions for select to tollgate_auditor using (true);
grant select, insert, delete on tollgate.suspensions to tollgate_ledger;
grant select                 on tollgate.suspensions to tollgate_api, tollgate_worker, tollgate_auditor;

-- For the cap on unended jobs. On an expression, because an index that begins with organization_id ties with the primary key on an
-- empty table, and a look-up would then read all jobs that ever were (docs/decisions/0007).
create index jobs_unended_of_organization_idx on tollgate.jobs ((organization_id || '/')) where ended_at is null;

-- Its last argument changes from a boolean to what the holds are for.
drop function if exists tollgate.place_holds(text[], text[], text[], text[], bigint[], interval[], text[], text[], text[], boolean);
