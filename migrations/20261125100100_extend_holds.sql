-- Holds that grow, are captured in parts, and whose charges can be given back; rules of plans; what one member may use.

-- The hold. Its lifetime as it was asked for, so that a repeat that asks for another one is refused.
alter table tollgate.holds
  add column lifetime_s     integer,
  add column limit_counters bigint[];
comment on column tollgate.holds.amount is 'All that was ever set aside, growth included. What is open: amount - captured, while held.';
comment on column tollgate.holds.captured is 'The sum of its charges. They burn a prefix of what it took, in the order taken.';
comment on column tollgate.holds.limit_counters is 'The counters of sub-limits that it counts in; null: none.';

-- What was done to a hold under a key of the caller's: each growth, each capture of a part. A key counts once for each verb. A last
-- capture that finds nothing left to charge is a step without a charge's number, so that its repeat is known as one.
create table tollgate.hold_steps (
  organization_id text        not null,
  hold_id         text        not null,
  verb            text        not null,
  key             text        not null,
  asked           bigint      not null,
  amount          bigint      not null,
  is_last         boolean     not null default false,
  charge_number   integer,
  available       bigint      not null,
  created_at      timestamptz not null,
  primary key (organization_id, hold_id, verb, key),
  foreign key (organization_id, hold_id) references tollgate.holds (organization_id, id),
  constraint hold_steps_verb_is_known check (verb in ('grow', 'capture', 'draw')),
  constraint hold_steps_key_is_bounded check (length(key) <= 255 and (key <> '' or verb <> 'grow')),
  constraint hold_steps_amount_is_positive check (amount > 0 or (amount = 0 and verb = 'capture' and is_last)),
  constraint hold_steps_capture_is_a_charge check ((verb = 'capture' and amount > 0) = (charge_number is not null))
);
create unique index hold_steps_one_charge_each on tollgate.hold_steps (organization_id, hold_id, charge_number) where charge_number is not null;

-- How much of a charge was given back. The constraint is what makes a refund above the charge impossible.
create table tollgate.refunded_charges (
  organization_id text    not null,
  hold_id         text    not null,
  charge_number   integer not null,
  charged         bigint  not null,
  refunded        bigint  not null,
  primary key (organization_id, hold_id, charge_number),
  foreign key (organization_id, hold_id) references tollgate.holds (organization_id, id),
  constraint refunded_charges_within_charge check (refunded > 0 and refunded <= charged)
);
create table tollgate.refunds (
  organization_id text        not null,
  id              bigint      generated always as identity,
  hold_id         text        not null,
  charge_number   integer     not null,
  amount          bigint      not null,
  reason          text        not null,
  actor           text        not null,
  created_at      timestamptz not null,
  primary key (organization_id, id),
  foreign key (organization_id, hold_id, charge_number) references tollgate.refunded_charges (organization_id, hold_id, charge_number),
  constraint refunds_amount_is_positive check (amount > 0),
  constraint refunds_say_why check (reason ~ '\S')
);
create index refunds_charge_idx on tollgate.refunds (organization_id, hold_id, charge_number);

-- Every adjustment, with who and why. It is never edited: a reversal is another one that names it, once.
create table tollgate.adjustments (
  organization_id text        not null,
  id              bigint      generated always as identity,
  token_type      text        not null,
  amount          bigint      not null,
  reason          text        not null,
  actor           text        not null,
  reverses        bigint,
  created_at      timestamptz not null,
  primary key (organization_id, id),
  foreign key (organization_id, token_type) references tollgate.balances (organization_id, token_type),
  foreign key (organization_id, reverses) references tollgate.adjustments (organization_id, id),
  constraint adjustments_move_something check (amount <> 0),
  constraint adjustments_say_why check (reason ~ '\S' and length(reason) <= 500),
  constraint adjustments_name_who check (actor ~ '\S')
);
create unique index adjustments_reversed_once on tollgate.adjustments (organization_id, reverses) where reverses is not null;

alter table tollgate.ledger_blocks no force row level security;
insert into tollgate.adjustments (organization_id, token_type, amount, reason, actor, created_at)
select b.organization_id, b.token_type, case e.code when 'u' then e.amount else - e.amount end, 'booked before reasons were kept', e.actor, e.effective_at
  from tollgate.ledger_blocks b
 cross join unnest(string_to_array(b.kinds, null), b.amounts, b.actors, b.effective_ats) as e (code, amount, actor, effective_at)
 where e.code in ('u', 'd')
 order by b.organization_id, b.token_type, b.first_entry;
alter table tollgate.ledger_blocks force row level security;

-- What a paid grant cost, in millionths of the currency's unit for one token.
alter table tollgate.grants
  add column unit_price_micros bigint,
  add column currency          text;

-- What the balance's plan says of its token type, kept where every hold reads it anyway.
alter table tollgate.balances
  add column is_in_plan boolean not null default false,
  add column burn_order text    not null default 'soonest_expiry',
  add column is_limited boolean not null default false;
comment on column tollgate.balances.is_in_plan is 'The plan includes the token type. Follows the plan and the catalogue.';
comment on column tollgate.balances.is_limited is 'There are sub-limits on this balance.';

-- The catalogue: rules of plans, and token types that a feature may fall back to.
create table tollgate.catalogue_plans (
  version    integer not null references tollgate.catalogue_versions (version),
  plan       text    not null,
  burn_order text    not null constraint catalogue_plans_burn_order_is_known check (burn_order in ('soonest_expiry', 'free_first', 'oldest', 'newest')),
  primary key (version, plan)
);
create table tollgate.catalogue_fallbacks (
  version    integer not null references tollgate.catalogue_versions (version),
  plan       text    not null,
  feature    text    not null,
  rank       integer not null,
  token_type text    not null,
  primary key (version, plan, feature, rank),
  unique (version, plan, feature, token_type)
);

-- The features of the newest version, as a table: every hold looks its feature up.
drop view tollgate.current_features;
create table tollgate.current_features (
  feature       text    primary key,
  token_type    text    not null,
  tokens        bigint  not null,
  has_fallbacks boolean not null
);
alter table tollgate.catalogue_features no force row level security;
alter table tollgate.catalogue_versions no force row level security;
alter table tollgate.catalogue_allowances no force row level security;
insert into tollgate.current_features (feature, token_type, tokens, has_fallbacks)
select f.feature, f.token_type, f.tokens, false
  from tollgate.catalogue_features f
 where f.version = (select max(v.version) from tollgate.catalogue_versions v);
insert into tollgate.catalogue_plans (version, plan, burn_order)
select distinct a.version, a.plan, 'soonest_expiry' from tollgate.catalogue_allowances a;

alter table public.organizations no force row level security;
alter table tollgate.balances no force row level security;
update tollgate.balances b
   set is_in_plan = true
  from public.organizations o
  join tollgate.catalogue_allowances a on a.plan = o.plan and a.tokens > 0
   and a.version = (select max(v.version) from tollgate.catalogue_versions v)
 where o.id = b.organization_id and a.token_type = b.token_type;
alter table public.organizations force row level security;
alter table tollgate.balances force row level security;
alter table tollgate.catalogue_features force row level security;
alter table tollgate.catalogue_versions force row level security;
alter table tollgate.catalogue_allowances force row level security;

create view tollgate.current_plans with (security_invoker = true) as
  select p.plan, p.burn_order
    from tollgate.catalogue_plans p
   where p.version = (select max(v.version) from tollgate.catalogue_versions v);
create view tollgate.current_fallbacks with (security_invoker = true) as
  select f.plan, f.feature, f.rank, f.token_type
    from tollgate.catalogue_fallbacks f
   where f.version = (select max(v.version) from tollgate.catalogue_versions v);

-- How an organization wants it; no row: as the defaults say.
create table tollgate.organization_rules (
  organization_id    text primary key references public.organizations (id),
  capture_above_hold text not null default 'refuse',
  constraint organization_rules_capture_is_known check (capture_above_hold in ('refuse', 'cap', 'draw'))
);

-- What a user, a key or a feature may use of a token type in a day (of the organization's zone) or a period. The subject '*'
-- gives each user, or each key, an amount of its own.
create table tollgate.sub_limits (
  organization_id text   not null,
  id              bigint generated always as identity,
  token_type      text   not null,
  scope           text   not null,
  subject         text   not null,
  every           text   not null,
  tokens          bigint not null,
  primary key (organization_id, id),
  foreign key (organization_id, token_type) references tollgate.balances (organization_id, token_type),
  unique (organization_id, token_type, scope, subject, every),
  constraint sub_limits_scope_is_known check (scope in ('user', 'key', 'feature')),
  constraint sub_limits_every_is_known check (every in ('day', 'period')),
  constraint sub_limits_tokens_are_not_negative check (tokens >= 0)
);
create table tollgate.limit_counters (
  organization_id text        not null,
  id              bigint      generated always as identity,
  limit_id        bigint      not null,
  subject         text        not null,
  window_start    timestamptz not null,
  used            bigint      not null,
  primary key (organization_id, id),
  foreign key (organization_id, limit_id) references tollgate.sub_limits (organization_id, id) on delete cascade,
  unique (organization_id, limit_id, subject, window_start),
  constraint limit_counters_used_is_not_negative check (used >= 0)
);
comment on column tollgate.limit_counters.used is 'Held and charged in the window, less what came back.';

-- The usage log says what a row charges and for whom in columns; its metadata is the app's own.
alter table public.ai_token_usage_log
  add column token_type text,
  add column charge_id  text,
  add column principal  text,
  -- The balance that was locked proves the organization; looking it up again cost a third of a capture.
  drop constraint if exists ai_token_usage_log_organization_id_fkey;
comment on column public.ai_token_usage_log.charge_id is 'The hold''s id and the number of the charge on it, hold.1; debt:job for delivered work that the balance did not cover. A refund''s row names the charge that it gives back.';
alter table public.ai_token_usage_log no force row level security;
alter table tollgate.holds no force row level security;
alter table tollgate.jobs no force row level security;
alter table public.ai_token_usage_log disable trigger user;
update public.ai_token_usage_log l
   set charge_id  = case when l.metadata ? 'debt' then 'debt:' || (l.metadata ->> 'jobId') else (l.metadata ->> 'holdId') || '.1' end,
       principal  = l.metadata ->> 'principal',
       token_type = coalesce((select h.token_type from tollgate.holds h where h.organization_id = l.organization_id and h.id = l.metadata ->> 'holdId'),
                             (select j.token_type from tollgate.jobs j where j.organization_id = l.organization_id and j.id = l.metadata ->> 'jobId')),
       metadata   = l.metadata - array['holdId', 'principal', 'debt'];
alter table public.ai_token_usage_log enable trigger user;
alter table public.ai_token_usage_log force row level security;
alter table tollgate.holds force row level security;
alter table tollgate.jobs force row level security;
alter table public.ai_token_usage_log
  alter column token_type set not null,
  alter column charge_id set not null,
  alter column principal set not null;

do $$
declare
  v_table text;
begin
  foreach v_table in array array['hold_steps', 'refunded_charges', 'refunds', 'adjustments', 'organization_rules', 'sub_limits', 'limit_counters'] loop
    execute format('alter table tollgate.%I enable row level security', v_table);
    execute format('alter table tollgate.%I force row level security', v_table);
    execute format('create policy ledger_writes on tollgate.%I for all to tollgate_ledger using (true) with check (true)', v_table);
    execute format('create policy tenant_reads on tollgate.%I for select to tollgate_api, tollgate_worker using (organization_id = any ((select tollgate.current_organizations())::text[]))', v_table);
    execute format('create policy auditor_reads on tollgate.%I for select to tollgate_auditor using (true)', v_table);
    execute format('grant select on tollgate.%I to tollgate_api, tollgate_worker, tollgate_auditor', v_table);
  end loop;
  foreach v_table in array array['catalogue_plans', 'catalogue_fallbacks', 'current_features'] loop
    execute format('alter table tollgate.%I enable row level security', v_table);
    execute format('alter table tollgate.%I force row level security', v_table);
    execute format('create policy ledger_writes on tollgate.%I for all to tollgate_ledger using (true) with check (true)', v_table);
    execute format('create policy everybody_reads on tollgate.%I for select to tollgate_api, tollgate_worker, tollgate_auditor using (true)', v_table);
    execute format('grant select on tollgate.%I to tollgate_api, tollgate_worker, tollgate_auditor', v_table);
  end loop;
end
$$;
grant select, insert on tollgate.hold_steps, tollgate.refunds, tollgate.adjustments, tollgate.catalogue_plans, tollgate.catalogue_fallbacks to tollgate_ledger;
grant select, insert, update on tollgate.refunded_charges, tollgate.organization_rules, tollgate.limit_counters to tollgate_ledger;
grant select, insert, update, delete on tollgate.sub_limits, tollgate.current_features to tollgate_ledger;
grant select on tollgate.current_plans, tollgate.current_fallbacks to tollgate_ledger, tollgate_api, tollgate_worker, tollgate_auditor;

-- Functions whose arguments or rows change.
drop function if exists tollgate.end_holds(text[], text[], text, bigint[], text[], text[], jsonb[], boolean);
drop function if exists tollgate.capture_holds(text[], text[], text[], bigint[]);
drop function if exists tollgate.release_holds(text[], text[], text[]);
drop function if exists tollgate.return_to_grants(text, text, text, bigint[], bigint[], bigint, text, timestamptz);
drop function if exists tollgate.adjust_up(text, text, bigint, text, timestamptz);
drop function if exists tollgate.adjust_down(text, text, bigint, text, timestamptz);
drop function if exists tollgate.add_grant(text, text, text, bigint, integer, boolean, timestamptz, timestamptz, text, timestamptz);

-- The next holds of a balance to lapse. On an expression, because an index that has organization_id in any place ties with the
-- primary key on an empty table: PostgreSQL 18 skips over the columns before it, and 256 look-ups by id then took 40 ms.
drop index tollgate.holds_lapse_idx;
create index holds_lapse_idx on tollgate.holds ((organization_id || '/' || token_type), expires_at);
