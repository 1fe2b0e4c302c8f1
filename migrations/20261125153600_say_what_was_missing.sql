-- These say since then which tokens were missing, and how many. What a function answers cannot be changed in place; whoever
-- calls the new ones by the columns that the old ones had gets what he got.
drop function if exists tollgate.end_hold(text, text, text, bigint, text, boolean, text, jsonb, timestamptz);
drop function if exists tollgate.end_holds(text[], text[], text, bigint[], text[], boolean[], text[], text[], jsonb[], boolean);
drop function if exists tollgate.capture_holds(text[], text[], text[], bigint[], text[], boolean[]);
drop function if exists tollgate.grow_holds(text[], text[], text[], text[], bigint[]);
