-- Lets open holds live on, for arrays: each until its lifetime from now, never shorter than it had. No tokens move.
-- Outcomes, in the order of decision: domain/refusals.ts, EXTENSION_REFUSALS; else extended.
-- Locks: the balances of the holds, by tollgate.lock_balances.
-- A second run finds the later end in place and leaves it, or moves it by the time between the two.
create or replace function tollgate.extend_holds(
  p_principals    text[],
  p_organizations text[],
  p_hold_ids      text[],
  p_lifetimes     interval[]
) returns table (ordinal integer, outcome text, expires_at timestamptz)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  c_longest  constant interval := interval '366 days';
  v_refusals text[] := tollgate.refusals_for(p_principals, p_organizations);
  v_now      timestamptz;
  v_types    text[];
  v_row      record;
begin
  v_types := tollgate.types_of_holds(p_organizations, p_hold_ids, v_refusals);
  v_now := tollgate.lock_balances(p_organizations, v_types);
  for v_row in
    select u.position::integer as position, u.organization_id, u.hold_id, u.lifetime, u.refusal, h.state, h.job_id, h.expires_at
      from unnest(p_organizations, p_hold_ids, p_lifetimes, v_refusals, v_types)
             with ordinality as u (organization_id, hold_id, lifetime, refusal, token_type, position)
      left join lateral (select l.state, l.job_id, l.expires_at from tollgate.holds l
                          where l.organization_id = u.organization_id and l.id = u.hold_id and u.token_type is not null offset 0) h on true
     order by u.position
  loop
    ordinal := v_row.position; expires_at := v_row.expires_at;
    outcome := case
      when v_row.refusal is not null then v_row.refusal
      when v_row.state is null then 'hold_unknown'
      when v_row.job_id is not null then 'hold_of_a_job'
      when v_row.lifetime is null or v_now + v_row.lifetime <= v_now or v_now + v_row.lifetime > v_now + c_longest then 'lifetime_invalid'
      when v_row.state <> 'held' then 'hold_' || v_row.state
      else 'extended'
    end;
    if outcome = 'extended' then
      -- Never earlier than it was: the balance's next_change_at stays right.
      update tollgate.holds h
         set expires_at = greatest(h.expires_at, v_now + v_row.lifetime)
       where h.organization_id = v_row.organization_id and h.id = v_row.hold_id and h.state = 'held'
      returning h.expires_at into expires_at;
    end if;
    return next;
  end loop;
end
$$;
grant execute on function tollgate.extend_holds(text[], text[], text[], interval[]) to tollgate_api;
