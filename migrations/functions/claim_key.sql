-- The first step of a call under an idempotency key: 'claimed' (nobody had it: the caller does its work, then stores its
-- answer in the record), 'answered' (the recorded first answer, word for word) or 'key_reused' (another request has it).
-- The insert waits for another transaction with the same key. If that one commits, its answer is read; if it was refused,
-- the key is free again and this insert succeeds; if a withdrawal removed the record in between, ask again.
-- Locks: the idempotency record, which comes first in the lock order of the whole system.
-- A second run finds the record and answers what it says.
create or replace function tollgate.claim_key(p_organization text, p_key text, p_request_hash bytea, p_job text)
  returns table (outcome text, job_id text, answer jsonb)
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  v_record tollgate.idempotency_records;
begin
  for v_attempt in 1..5 loop
    insert into tollgate.idempotency_records (organization_id, key, request_hash, job_id)
    values (p_organization, p_key, p_request_hash, p_job)
    on conflict (organization_id, key) do nothing;
    if found then
      outcome := 'claimed';
      return next;
      return;
    end if;

    select r.* into v_record
      from tollgate.idempotency_records r
     where r.organization_id = p_organization and r.key = p_key;
    if found then
      if v_record.request_hash <> p_request_hash then
        outcome := 'key_reused';
      else
        outcome := 'answered'; job_id := v_record.job_id; answer := v_record.answer;
      end if;
      return next;
      return;
    end if;
  end loop;
  raise exception 'tollgate: the idempotency key changes faster than it can be read' using errcode = 'serialization_failure';
end
$$;
