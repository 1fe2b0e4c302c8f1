import {
  PROBLEM_MEDIA_TYPE,
  PROBLEMS,
  type ProblemCode,
  type ProblemMembers,
  problemBody,
} from '../contract/problems.ts';
import type { ApiContext } from './requestContext.ts';

const SCHEME = 'Bearer realm="tollgate"';

/** Headers that go with a problem wherever it is answered. Retry-After in seconds. */
const HEADERS: Partial<Record<ProblemCode, Record<string, string>>> = {
  unauthorized: { 'WWW-Authenticate': SCHEME },
  scope_missing: { 'WWW-Authenticate': `${SCHEME}, error="insufficient_scope"` },
  sign_in_unavailable: { 'Retry-After': '2' },
  database_unavailable: { 'Retry-After': '1' },
  ledger_busy: { 'Retry-After': '1' },
  workflows_unavailable: { 'Retry-After': '2' },
  too_many_waiters: { 'Retry-After': '1' },
  // As long as work takes, not as a queue moves.
  too_many_holds: { 'Retry-After': '5' },
  too_many_jobs: { 'Retry-After': '5' },
  // The rest of the body is not worth reading.
  payload_too_large: { Connection: 'close' },
  request_timeout: { Connection: 'close' },
};

/** Answers a problem of the catalogue. */
export function problemReply(
  c: ApiContext,
  code: ProblemCode,
  members: ProblemMembers = {},
  headers: Record<string, string> = {},
): Response {
  return c.body(JSON.stringify(problemBody(code, c.get('requestId'), members)), PROBLEMS[code].status, {
    'Content-Type': PROBLEM_MEDIA_TYPE,
    ...HEADERS[code],
    ...headers,
  });
}
