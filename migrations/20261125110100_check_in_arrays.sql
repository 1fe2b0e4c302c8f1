-- The check takes arrays and answers row by row, like every function of the hold lane (functions/check_tokens.sql). Nothing
-- that ran has been released with the old signature, so it does not stand beside the new one.
drop function if exists tollgate.check_tokens(text, text, text);
