-- Keys that their organization manages itself: how one is told from another without its secret, when it was last used, and which
-- key took its place.

alter table tollgate.api_keys
  add column prefix           text,
  add column last_used_at     timestamptz,
  add column replaced_by      text references tollgate.api_keys (id),
  add column lifetime_ends_at timestamptz,
  add constraint api_keys_prefix_is_short check (length(prefix) = 12),
  add constraint api_keys_replace_others check (replaced_by <> id);
comment on column tollgate.api_keys.prefix is 'The first 12 characters of the secret; null: made before they were kept.';
comment on column tollgate.api_keys.last_used_at is 'Exact to a minute: kept by note_key_use, behind the requests.';
comment on column tollgate.api_keys.replaced_by is 'The newest key that it was rotated into; it expires when the overlap is over.';
comment on column tollgate.api_keys.lifetime_ends_at is 'Of a replaced key: when it would have expired by itself, and its successors do; null: never.';

-- Keys have a prefix now, and questions who somebody is come in arrays. Nothing that was released calls these.
drop function if exists tollgate.create_api_key(text, text, text, bytea, text[]);
drop function if exists tollgate.membership_of(text);
