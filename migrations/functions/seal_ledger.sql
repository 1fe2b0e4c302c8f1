-- Seals what is not sealed yet of a page of balances, in the order of their keys, after (p_after_organization,
-- p_after_token_type); nulls: from the first. A call ends after p_balances balances or some 5,000 entries (65 ms on two
-- cores), so that its snapshot stays short; a balance with more comes again in the next call. Answers one row: where the
-- next page begins (nulls: this was the last), how many balances were seen, seals made and entries sealed, and how many
-- balances have a gap.
--
-- Why no gap can be sealed: a movement numbers its entries under the balance's lock and moves last_entry in the same
-- transaction. Whoever sees last_entry = n, without any lock, sees a committed movement, and every one before it had to
-- commit for that one to get the lock: so entries 1 to n are all there, for this statement's snapshot and every later one,
-- and none of them will ever change. What is counted less than that is no race but a damaged ledger: that balance is left
-- alone and counted in gaps; the others are sealed.
--
-- Locks: none on balances, and it waits for none. Two sealers at once: both would make the same next seal; the primary key
-- lets one, and the other waits for that insert alone, then leaves the balance to it. Both go in the order of keys, so they
-- cannot wait for each other. A second run finds nothing unsealed.
create or replace function tollgate.seal_ledger(p_after_organization text, p_after_token_type text, p_balances integer)
  returns table (next_organization text, next_token_type text, balances integer, seals integer, entries bigint, gaps integer)
  language plpgsql volatile security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  c_entries_per_seal constant integer := 1000;
  c_entries_per_call constant integer := 5000;
  v_after_organization text := coalesce(p_after_organization, '');
  v_after_token_type   text := coalesce(p_after_token_type, '');
  v_organizations      text[];
  v_balance            record;
  v_seal_number        bigint;
  v_sealed             bigint;
  v_hash               bytea;
  v_to                 bigint;
  v_next               record;
begin
  balances := 0; seals := 0; entries := 0; gaps := 0;
  next_organization := p_after_organization;
  next_token_type := p_after_token_type;
  select array_agg(o.id order by o.id) into v_organizations
    from (select o.id from public.organizations o where o.id >= v_after_organization order by o.id limit p_balances) o;

  while v_organizations is not null loop
    -- The policy on balances shows those of these organizations.
    perform set_config('tollgate.organizations', array_to_string(v_organizations, ','), true);

    for v_balance in
      select b.organization_id, b.token_type, b.last_entry
        from tollgate.balances b
       where b.organization_id = any (v_organizations)
         and (b.organization_id, b.token_type) > (v_after_organization, v_after_token_type)
       order by b.organization_id, b.token_type
    loop
      if balances >= p_balances or entries >= c_entries_per_call then
        return next;
        return;
      end if;

      select s.seal_number, s.last_entry, s.hash into v_seal_number, v_sealed, v_hash
        from tollgate.ledger_seals s
       where s.organization_id = v_balance.organization_id and s.token_type = v_balance.token_type
       order by s.first_entry desc
       limit 1;
      if not found then
        v_seal_number := 0; v_sealed := 0; v_hash := decode(repeat('00', 32), 'hex');
      end if;

      while v_sealed < v_balance.last_entry loop
        if entries >= c_entries_per_call then
          -- Not done with this one: the next page begins before it.
          return next;
          return;
        end if;
        v_to := least(v_sealed + c_entries_per_seal, v_balance.last_entry);
        select h.entries, h.hash into v_next
          from tollgate.hash_entries(v_hash, v_balance.organization_id, v_balance.token_type, v_sealed + 1, v_to) h;
        if v_next.entries <> v_to - v_sealed then
          gaps := gaps + 1;
          exit;
        end if;

        insert into tollgate.ledger_seals (organization_id, token_type, seal_number, first_entry, last_entry, previous_hash, hash)
        values (v_balance.organization_id, v_balance.token_type, v_seal_number + 1, v_sealed + 1, v_to, v_hash, v_next.hash)
        on conflict (organization_id, token_type, first_entry) do nothing;
        exit when not found;

        seals := seals + 1;
        entries := entries + v_next.entries;
        v_seal_number := v_seal_number + 1; v_sealed := v_to; v_hash := v_next.hash;
      end loop;

      balances := balances + 1;
      next_organization := v_balance.organization_id;
      next_token_type := v_balance.token_type;
    end loop;

    select array_agg(o.id order by o.id) into v_organizations
      from (select o.id from public.organizations o
             where o.id > v_organizations[cardinality(v_organizations)] order by o.id limit p_balances) o;
  end loop;

  next_organization := null;
  next_token_type := null;
  return next;
end
$$;
grant execute on function tollgate.seal_ledger(text, text, integer) to tollgate_worker;
