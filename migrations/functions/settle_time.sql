-- Brings one balance up to p_until: what lapsed, expired or began since it was last looked at takes effect now, in the
-- order in which it fell due. At one instant holds lapse first (so that their tokens are back when the grant expires),
-- then grants expire, then the new period begins. Missed periods are made up one by one.
-- Locks: none; the caller holds the balance row, and holds and grants of a balance change only under it.
-- A second run finds nothing due: every step moves settled_through, the grant's remaining or the refresh date.
create or replace function tollgate.settle_time(p_organization text, p_token_type text, p_until timestamptz)
  returns void
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_balance   tollgate.balances;
  v_event_at  timestamptz;
  v_step_end  timestamptz;
  v_anchor    timestamptz;
  v_time_zone text;
  v_allowance bigint;
  v_next      timestamptz;
  v_movements tollgate.movement[];
begin
  loop
    select b.* into strict v_balance
      from tollgate.balances b
     where b.organization_id = p_organization and b.token_type = p_token_type;

    -- An empty grant counts too: a hold that lapses before the grant's end brings tokens back to it.
    select least(min(g.expires_at), v_balance.refresh_date) into v_event_at
      from tollgate.grants g
     where g.organization_id = p_organization and g.token_type = p_token_type
       and (g.remaining > 0 or g.expires_at > v_balance.settled_through);

    -- A lapse may bring a grant back to life; the end of its grace is then an event that is not known yet. No grace ends
    -- before the first lapse and its days are over, so a step goes no further than that.
    select least(v_event_at, min(h.expires_at) + tollgate.grace()) into v_event_at
      from tollgate.holds h
     where h.organization_id || '/' || h.token_type = p_organization || '/' || p_token_type
       and h.expires_at > v_balance.settled_through and h.expires_at <= least(v_event_at, p_until)
       and h.state = 'held';

    v_step_end := least(v_event_at, p_until);

    -- 1. Holds that lapsed by then. Each returns at its own instant.
    perform tollgate.lapse_holds(p_organization, p_token_type, v_balance.settled_through, v_step_end);

    exit when v_event_at > p_until;

    -- 2. Grants whose time is over.
    with expired as (
      select g.id, g.remaining
        from tollgate.grants g
       where g.organization_id = p_organization and g.token_type = p_token_type
         and g.remaining > 0 and g.expires_at <= v_event_at
       order by g.id
    ), emptied as (
      update tollgate.grants g
         set remaining = 0, expired = g.expired + e.remaining
        from expired e
       where g.organization_id = p_organization and g.id = e.id
    )
    select array_agg(row(p_organization, p_token_type, 'expire', 'available', 'expired', e.remaining, null, e.id, 'time', v_event_at, null, 0)::tollgate.movement order by e.id)
      into v_movements
      from expired e;
    perform tollgate.post_movements(v_movements);

    -- 3. The period that is over, and the next one's allowance.
    if v_balance.refresh_date <= v_event_at then
      select c.anchor, c.time_zone, tollgate.allowance_at(o.plan, p_token_type, v_event_at)
        into strict v_anchor, v_time_zone, v_allowance
        from public.organizations o
        join tollgate.billing_cycles c on c.organization_id = o.id
       where o.id = p_organization;
      v_next := tollgate.next_boundary(v_anchor, v_time_zone, v_event_at);

      update tollgate.balances b
         set period_start      = v_event_at,
             refresh_date      = v_next,
             used_in_period    = 0,
             allocated         = v_allowance,
             granted_in_period = v_allowance
       where b.organization_id = p_organization and b.token_type = p_token_type;

      if v_allowance > 0 then
        perform tollgate.add_grant(p_organization, p_token_type, 'allowance', v_allowance, 100, false, v_event_at, v_next, 'time', v_event_at);
      end if;

      insert into tollgate.outbox (organization_id, kind, subject_id, content)
      values (p_organization, 'allowance_refreshed', p_token_type,
              jsonb_build_object('periodStart', v_event_at, 'refreshDate', v_next, 'tokens', v_allowance));
    end if;

    update tollgate.balances b
       set settled_through = greatest(b.settled_through, v_event_at)
     where b.organization_id = p_organization and b.token_type = p_token_type;
  end loop;

  update tollgate.balances b
     set settled_through = greatest(b.settled_through, p_until),
         next_change_at  = least(
           b.refresh_date,
           (select min(g.expires_at) from tollgate.grants g
             where g.organization_id = p_organization and g.token_type = p_token_type and g.remaining > 0),
           -- Holds that have ended keep their place in the index: on a busy balance very many. So only the next ones are looked
           -- at; where none of them is open, the last of them is when to look again.
           (select coalesce(min(n.expires_at) filter (where n.state = 'held'), case when count(*) = 2000 then max(n.expires_at) end)
              from (select h.expires_at, h.state
                      from tollgate.holds h
                     where h.organization_id || '/' || h.token_type = p_organization || '/' || p_token_type and h.expires_at > p_until
                     order by h.expires_at
                     limit 2000) n))
   where b.organization_id = p_organization and b.token_type = p_token_type;

  perform tollgate.notice_low(array[p_organization], array[p_token_type]);
end
$$;
