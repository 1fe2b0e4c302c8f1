-- Says once that a balance has come to lie below its threshold, and arms the threshold again when it no longer does.
-- Called in the transaction that moved the balance, after the movement: by tollgate.post_movements for those that crossed,
-- and by tollgate.settle_time at its end.
-- Locks: none; the caller holds the balance rows, which is why of 1,000 parallel debits one finds the threshold uncrossed.
-- A second run finds is_low as it should be and does nothing.
create or replace function tollgate.notice_low(p_organizations text[], p_token_types text[])
  returns void
  language sql volatile
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
  with crossed as (
    update tollgate.balances b
       set is_low = b.available < b.low_threshold
     where (b.organization_id, b.token_type) in (
             select u.organization_id, u.token_type from unnest(p_organizations, p_token_types) as u (organization_id, token_type))
       and b.low_threshold is not null
       and b.is_low <> (b.available < b.low_threshold)
    returning b.organization_id, b.token_type, b.is_low, b.low_threshold, b.available
  )
  insert into tollgate.outbox (organization_id, kind, subject_id, content)
  select c.organization_id, 'balance_low', c.token_type,
         jsonb_build_object('threshold', c.low_threshold, 'available', c.available)
    from crossed c
   where c.is_low
   order by c.organization_id, c.token_type
$$;
