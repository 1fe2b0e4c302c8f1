-- Ends the open holds of one balance whose expiry lies in (p_after, p_until], each at its own instant: what is not charged
-- returns by the rule of tollgate.return_slices.
-- The lower bound keeps the look-up short: holds that ended long ago keep their expiry, and every open one that expired
-- up to p_after has lapsed already. One statement for all, because an app that dies can leave very many open at once.
-- Locks: none; the caller holds the balance row. A second run finds no open hold in that range.
create or replace function tollgate.lapse_holds(p_organization text, p_token_type text, p_after timestamptz, p_until timestamptz)
  returns void
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
as $$
declare
  v_ids      text[];
  v_from     bigint[];
  v_to       bigint[];
  v_ats      timestamptz[];
  v_lapses   tollgate.movement[];
  v_expiries tollgate.movement[];
  v_charged  integer;
begin
  with lapsed as (
    update tollgate.holds h
       set state = 'lapsed', ended_at = h.expires_at
     where h.organization_id || '/' || h.token_type = p_organization || '/' || p_token_type
       and h.expires_at > p_after and h.expires_at <= p_until
       and h.state = 'held'
    returning h.id, h.captured, h.amount, h.expires_at
  )
  select array_agg(l.id) filter (where l.is_open), array_agg(l.captured) filter (where l.is_open), array_agg(l.amount) filter (where l.is_open),
         array_agg(l.expires_at) filter (where l.is_open), count(*) filter (where not l.is_open)
    into v_ids, v_from, v_to, v_ats, v_charged
    from (select s.*, s.amount > s.captured as is_open from lapsed s order by s.expires_at, s.id) l;
  if v_charged > 0 then
    -- Parts have charged them to the last token: no movement ends them.
    update tollgate.balances b
       set open_holds = b.open_holds - v_charged
     where b.organization_id = p_organization and b.token_type = p_token_type;
  end if;
  if v_ids is null then
    return;
  end if;

  v_expiries := tollgate.return_slices(array_fill(p_organization, array[cardinality(v_ids)]), v_ids, v_from, v_to,
                                       array_fill('time'::text, array[cardinality(v_ids)]), v_ats);
  select array_agg(row(p_organization, p_token_type, 'lapse', 'held', 'available', u.to_amount - u.from_amount, u.id, null, 'time', u.at, null, -1)::tollgate.movement
                   order by u.position)
    into v_lapses
    from unnest(v_ids, v_from, v_to, v_ats) with ordinality as u (id, from_amount, to_amount, at, position);
  -- By instant, and at one instant tokens come back before they expire.
  perform tollgate.post_movements((
    select array_agg(row(m.organization_id, m.token_type, m.kind, m.from_account, m.to_account, m.amount, m.hold_id, m.grant_id, m.actor, m.effective_at, m.expires_at, m.open_holds)::tollgate.movement
                     order by m.effective_at, m.hold_id, m.kind <> 'lapse', m.position)
      from unnest(v_lapses || v_expiries)
             with ordinality as m (organization_id, token_type, kind, from_account, to_account, amount, hold_id, grant_id, actor, effective_at, expires_at, open_holds, position)));
end
$$;
