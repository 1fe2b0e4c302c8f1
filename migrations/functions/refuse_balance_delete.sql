-- A balance is history, not a row to throw away. Says what to do instead.
create or replace function tollgate.refuse_balance_delete() returns trigger
  language plpgsql
  set search_path = pg_catalog, pg_temp
as $$
begin
  raise exception 'tollgate: a balance cannot be deleted; set it to 0 (update ai_tokens set balance = 0 …) or change the organization''s plan'
    using errcode = 'feature_not_supported';
end
$$;
