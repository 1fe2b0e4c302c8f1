import { expect, test } from 'vitest';
import { askedInstant } from '../../contract/askedInstant.ts';

test.each([
  '0001-01-01T00:00:00Z',
  '2026-01-31T12:00:00Z',
  '2026-01-31T12:00:00.123456789Z',
  '9999-12-31T23:59:59Z',
  '9999-12-31T23:59:59.999Z',
  '9999-12-31T23:59:59.999999Z',
  '9999-12-31T23:59:59.999999499Z',
])('%s may be asked for', (at) => expect(askedInstant.safeParse(at).success).toBe(true));

test.each([
  '0000-12-31T23:59:59Z',
  '2026-01-31T12:00:00.1234567890Z',
  '2026-01-31T12:00:00+00:00',
  '9999-12-31T23:59:59.9999995Z',
  '9999-12-31T23:59:59.999999999Z',
])('%s may not: PostgreSQL refuses it, or gives back what is no ISO 8601', (at) =>
  expect(askedInstant.safeParse(at).success).toBe(false),
);
