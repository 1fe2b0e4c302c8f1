import { z } from 'zod';

/**
 * The error catalogue: every problem that the API answers, by its stable `code`. Clients branch on the code; the sentence
 * in `detail` says what to do. Nothing in a problem repeats a value that the caller sent.
 */
export const PROBLEMS = {
  malformed_json: {
    status: 400,
    title: 'The body is not JSON',
    detail: 'Send one complete JSON value, encoded as UTF-8.',
  },
  invalid_request: {
    status: 400,
    title: 'The request is not valid',
    detail: 'Correct the fields that `errors` lists, then send the request again.',
  },
  feature_unknown: {
    status: 400,
    title: 'There is no such feature',
    detail: 'Ask for one of the features of the catalogue.',
  },
  idempotency_key_missing: {
    status: 400,
    title: 'The Idempotency-Key header is missing',
    detail: 'Send an Idempotency-Key header that is unique for this request, and the same one when you repeat it.',
  },
  idempotency_key_invalid: {
    status: 400,
    title: 'The Idempotency-Key header is not valid',
    detail: 'Send an Idempotency-Key of 1 to 255 printable ASCII characters, a UUID for example.',
  },
  idempotency_key_not_taken: {
    status: 400,
    title: 'An array takes no Idempotency-Key header',
    detail: 'Leave the Idempotency-Key header out, and give each row that needs one a `key` of its own.',
  },
  operator_reason_missing: {
    status: 400,
    title: 'An operator says why',
    detail:
      'Send the header Tollgate-Reason with what this is for, in 3 to 500 characters. It is kept in the audit log.',
  },
  unauthorized: {
    status: 401,
    title: 'The credentials are missing or not valid',
    detail: 'Send a valid session token, or an API key, as `Authorization: Bearer …`.',
  },
  tokens_insufficient: {
    status: 402,
    title: 'There are not enough tokens',
    detail: 'Buy tokens or wait for the next refresh, then send the request again.',
  },
  scope_missing: {
    status: 403,
    title: 'The API key may not do this',
    detail: 'Use an API key that has the scope named in `scope`.',
  },
  admins_only: {
    status: 403,
    title: 'Only admins may do this',
    detail: 'Ask an admin of your organization, or use an API key that has the scope organization:write.',
  },
  key_below_admin: {
    status: 403,
    title: 'The API key is less than an admin',
    detail:
      'To make an admin, use an API key with every scope and without an end, or ask an admin. Nothing was changed.',
  },
  operators_only: {
    status: 403,
    title: 'Only operators may do this',
    detail: 'Use the credential of an operator of this Tollgate.',
  },
  feature_not_available: {
    status: 403,
    title: 'Feature not available',
    detail: 'The plan of your organization does not include this feature. Change to a plan that does.',
  },
  limit_reached: {
    status: 403,
    title: 'A limit of your organization is reached',
    detail:
      'Your organization limits what one user, key or feature may use. Ask an admin, or wait for the next day or period.',
  },
  organization_suspended: {
    status: 403,
    title: 'The organization is suspended',
    detail: 'What is open can still be captured or released. Ask the operator of this Tollgate why, and what to do.',
  },
  not_your_organization: {
    status: 403,
    title: 'This is not your organization',
    detail: 'Use an API key of the organization that you want to act for, or sign in as one of its members.',
  },
  organization_not_found: {
    status: 404,
    title: 'There is no such organization',
    detail: 'Check the id of the organization.',
  },
  job_not_found: {
    status: 404,
    title: 'There is no such job',
    detail: 'Check the id of the job, and that the API key belongs to the organization that asked for it.',
  },
  hold_not_found: {
    status: 404,
    title: 'There is no such hold',
    detail: 'Check the id of the hold, and that your organization is the one that placed it.',
  },
  charge_not_found: {
    status: 404,
    title: 'There is no such charge',
    detail: 'Check the id of the charge, and that your organization is the one that was charged.',
  },
  key_not_found: {
    status: 404,
    title: 'There is no such API key',
    detail: 'Check the id of the key, and that it belongs to the organization of the address.',
  },
  limit_not_found: {
    status: 404,
    title: 'There is no such limit',
    detail: 'List the limits to see which there are. Nothing was changed.',
  },
  usage_not_found: {
    status: 404,
    title: 'There is no such line in the usage log',
    detail: 'Check the id of the line, and that your organization is the one that was charged.',
  },
  member_not_found: {
    status: 404,
    title: 'There is no such member',
    detail: 'Check the id of the user, and that the organization is the one that he belongs to.',
  },
  adjustment_not_found: {
    status: 404,
    title: 'There is no such adjustment',
    detail: 'Check the id of the adjustment, and that the organization is the one whose balance it moved.',
  },
  route_not_found: {
    status: 404,
    title: 'There is nothing at this address',
    detail: 'Check the path of the request.',
  },
  method_not_allowed: {
    status: 405,
    title: 'This address does not know the method',
    detail: 'Use one of the methods that the Allow header lists.',
  },
  request_timeout: {
    status: 408,
    title: 'The request took too long to arrive',
    detail: 'Send the whole request without pauses.',
  },
  job_already_ended: {
    status: 409,
    title: 'The job has ended already',
    detail: 'Read the job to see how it ended. Nothing was changed.',
  },
  hold_already_ended: {
    status: 409,
    title: 'The hold cannot be ended so',
    detail: 'It has ended otherwise already, or belongs to a job, which ends it itself. Nothing was changed.',
  },
  amount_above_hold: {
    status: 409,
    title: 'More was to be captured than is held',
    detail: 'Capture at most what the hold has set aside, and take another hold for the rest.',
  },
  amount_above_charge: {
    status: 409,
    title: 'More was to be given back than was charged',
    detail: 'Give back at most what is left of the charge, or leave `tokens` out to give all of that back.',
  },
  key_already_ended: {
    status: 409,
    title: 'The API key has ended',
    detail: 'It is revoked, or its time is over. Make a new key instead.',
  },
  too_many_limits: {
    status: 409,
    title: 'There are too many limits',
    detail:
      'Lift limits that are not needed: 1,000 for a token type are the most. One for `*` counts for each by itself.',
  },
  organization_exists: {
    status: 409,
    title: 'There is an organization with this id',
    detail: 'Choose another id, or leave it out to be given one. Nothing was changed.',
  },
  member_elsewhere: {
    status: 409,
    title: 'The user belongs to another organization',
    detail: 'A user belongs to one organization: he has to leave the other one first. Nothing was changed.',
  },
  last_admin: {
    status: 409,
    title: 'This is the last admin',
    detail: 'Make another member an admin first. Nothing was changed.',
  },
  app_table_refused: {
    status: 409,
    title: 'The own table of the app refuses this row',
    detail:
      'The table of organizations or users belongs to your app, and asks for more than Tollgate knows, or still needs what was to go. Make this change there. Nothing was changed here.',
  },
  balance_too_large: {
    status: 409,
    title: 'The balance would become too large',
    detail: 'A balance holds at most 1,000,000,000,000,000 tokens. Nothing was changed.',
  },
  payload_too_large: {
    status: 413,
    title: 'The body is too large',
    detail: 'Send at most 64 KiB; where arrays are taken, at most 512 KiB.',
  },
  unsupported_media_type: {
    status: 415,
    title: 'The body is not sent as JSON',
    detail: 'Send `Content-Type: application/json`, in UTF-8 and without a Content-Encoding.',
  },
  idempotency_key_reused: {
    status: 422,
    title: 'The Idempotency-Key belongs to another request',
    detail: 'Use a new Idempotency-Key for a new request, or repeat the first request unchanged.',
  },
  too_many_holds: {
    status: 429,
    title: 'Too many holds are open',
    detail: 'Capture or release holds that are done, then repeat the request.',
  },
  too_many_jobs: {
    status: 429,
    title: 'Too many jobs have not ended',
    detail: 'Wait until some of them have ended, then repeat the request with the same Idempotency-Key.',
  },
  rate_limited: {
    status: 429,
    title: 'Too many requests',
    detail: 'Repeat the request after the time that Retry-After gives, and ask less often.',
  },
  headers_too_large: {
    status: 431,
    title: 'The headers are too large',
    detail: 'Send fewer or shorter headers.',
  },
  internal_error: {
    status: 500,
    title: 'Something went wrong here',
    detail: 'Repeat the request with the same Idempotency-Key. If it goes wrong again, report the request id.',
  },
  sign_in_unavailable: {
    status: 503,
    title: 'Sessions cannot be checked right now',
    detail: 'The sign-in service cannot be reached. Repeat the request after the time that Retry-After gives.',
  },
  database_unavailable: {
    status: 503,
    title: 'The ledger cannot be reached',
    detail: 'Repeat the request with the same Idempotency-Key after the time that Retry-After gives.',
  },
  ledger_busy: {
    status: 503,
    title: 'Too many calls are waiting for the ledger',
    detail: 'Nothing was done. Repeat the request with the same Idempotency-Key after the time that Retry-After gives.',
  },
  workflows_unavailable: {
    status: 503,
    title: 'Jobs cannot be started or cancelled right now',
    detail: 'Repeat the request with the same Idempotency-Key after the time that Retry-After gives.',
  },
  too_many_waiters: {
    status: 503,
    title: 'Too many requests are waiting for jobs',
    detail: 'Ask without `wait`, or again after the time that Retry-After gives.',
  },
} as const satisfies Record<string, { status: number; title: string; detail: string }>;

export type ProblemCode = keyof typeof PROBLEMS;

export const PROBLEM_CODES = Object.keys(PROBLEMS) as ProblemCode[];

export const PROBLEM_MEDIA_TYPE = 'application/problem+json';

/** Where in the request, as `input.goals.0.name` or the name of a query parameter (empty: the whole of it), and what is wrong there. */
export const fieldError = z.strictObject({ path: z.string(), message: z.string() }).meta({ id: 'FieldError' });
export type FieldError = z.infer<typeof fieldError>;

/** RFC 9457 problem details. Amounts are whole tokens. */
export const problem = z
  .strictObject({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    code: z.enum(PROBLEM_CODES),
    detail: z.string(),
    requestId: z.string(),
    errors: z.array(fieldError).optional(),
    /** Of scope_missing: the scope that the key lacks. */
    scope: z.string().optional(),
    /** Of tokens_insufficient: what was asked for, what can be spent now, and which tokens these are. */
    required: z.int().optional(),
    available: z.int().optional(),
    tokenType: z.string().optional(),
  })
  .meta({ id: 'Problem' });
export type Problem = z.infer<typeof problem>;

/** What a code's answer may carry beyond the catalogue's own words. */
export type ProblemMembers = Partial<Pick<Problem, 'errors' | 'scope' | 'required' | 'available' | 'tokenType'>>;

/** The body of a problem's answer. `type` is a name, not an address: nothing has to be fetched to understand it. */
export function problemBody(code: ProblemCode, requestId: string, members: ProblemMembers = {}): Problem {
  const { status, title, detail } = PROBLEMS[code];
  return { type: `urn:tollgate:problem:${code}`, title, status, code, detail, requestId, ...members };
}
