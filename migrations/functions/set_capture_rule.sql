-- What a capture above its hold does in an organization: 'refuse', 'cap' (charge what is held) or 'draw' (take the rest from the
-- balance). For operators; the owner may call it.
-- Locks: the organization's row of rules. A second run sets the same.
create or replace function tollgate.set_capture_rule(p_organization text, p_rule text) returns void
  language sql volatile security definer
  set search_path = pg_catalog, pg_temp
as $$
  insert into tollgate.organization_rules (organization_id, capture_above_hold) values (p_organization, p_rule)
  on conflict (organization_id) do update set capture_above_hold = excluded.capture_above_hold
$$;
