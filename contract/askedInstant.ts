import { z } from 'zod';

/** PostgreSQL takes no text of any length for an instant, and no clock tells more than nanoseconds. */
const TOO_FINE = /\.\d{10}/;
/** PostgreSQL knows no year 0. */
const TOO_EARLY = /^0000/;
/** This rounds to a microsecond of a year with five digits, which is no ISO 8601. */
const TOO_LATE = /^9999-12-31T23:59:59\.9{6}[5-9]/;

/** An instant as a caller may name it: ISO 8601 in UTC, and such that PostgreSQL takes it and gives it back so. */
export const askedInstant = z.iso
  .datetime({ offset: false, error: 'must be an instant in UTC, for example 2026-01-31T12:00:00Z' })
  .refine((at) => !TOO_FINE.test(at), 'must have at most nine digits behind the second')
  .refine((at) => !TOO_EARLY.test(at), 'must lie after the year 0')
  .refine((at) => !TOO_LATE.test(at), 'must lie before the year 10000');
