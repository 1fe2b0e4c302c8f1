-- Whether a principal is an operator whose credential works: 'operator:ID'. Reads only; locks nothing.
create or replace function tollgate.is_operator(p_actor text)
  returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
as $$
begin
  return exists (
    select from tollgate.operators o
     where left(p_actor, 9) = 'operator:' and o.id = substr(p_actor, 10)
       and o.revoked_at is null and (o.expires_at is null or o.expires_at > clock_timestamp()));
end
$$;
