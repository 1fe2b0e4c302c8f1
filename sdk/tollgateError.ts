import type { FieldError, Problem, ProblemCode } from '../contract/problems.ts';
import type { TokenType } from '../domain/catalog.ts';
import type { EndCode } from '../domain/jobStates.ts';

/**
 * A problem of Tollgate's catalogue (contract/problems.ts), or what only the caller's side can know:
 * - `unreachable`: no answer came, or none in Tollgate's words;
 * - `hold_lapsed`: the reason of `held.signal` when the hold is known to be gone;
 * - `job_not_charged`: the job ended without a charge, and `end` says why;
 * - `deadline_passed`: the job had not ended when the waiting was over. It goes on.
 */
export type TollgateErrorCode = ProblemCode | 'unreachable' | 'hold_lapsed' | 'job_not_charged' | 'deadline_passed';

/** What a code's error carries beyond its sentence. An amount is undefined where Tollgate did not say it. */
interface Members {
  tokens_insufficient: {
    required: number | undefined;
    available: number | undefined;
    tokenType: TokenType | undefined;
  };
  invalid_request: { errors: readonly FieldError[] };
  feature_unknown: { errors: readonly FieldError[] };
  scope_missing: { scope: string };
  job_not_charged: { end: { code: EndCode | 'refused'; message: string }; jobId: string };
  deadline_passed: { jobId: string };
}
type MembersOf<Code extends TollgateErrorCode> = Code extends keyof Members ? Members[Code] : unknown;

/** Whether it is a TollgateError, of this code where one is given; then it has what goes with the code. */
export function isTollgateError<Code extends TollgateErrorCode = TollgateErrorCode>(
  error: unknown,
  code?: Code,
): error is TollgateError & { readonly code: Code } & MembersOf<Code> {
  return error instanceof TollgateError && (code === undefined || error.code === code);
}

/** Tollgate did not do what it was asked for. Branch on `code`, which is stable. */
export class TollgateError extends Error {
  override readonly name = 'TollgateError';
  readonly code: TollgateErrorCode;
  /** Of the answer; null when there was none, or none in Tollgate's words. */
  readonly status: number | null;
  /** Names the request in Tollgate's log. */
  readonly requestId: string | null;
  /** Under which the request was sent: repeat it under the same one, and what took effect is not done twice. */
  readonly idempotencyKey: string | null;
  /** The network failed, time ran out, or Tollgate or a proxy before it said 502 to 504: not a refusal. */
  readonly isOutage: boolean;
  /** Of `withTokens`: the work had been done already, and this is about its charge. */
  isAfterWork = false;

  constructor(trouble: Trouble, { idempotencyKey = null }: { idempotencyKey?: string | null } = {}) {
    const { code, detail, cause, status = null, requestId = null, isOutage = status === 503, ...members } = trouble;
    super(detail, cause === undefined ? {} : { cause });
    // Of the problem's own words, those that a code is documented with; the rest is in the catalogue.
    const { type, title, ...told } = members as Partial<Problem>;
    Object.assign(this, told);
    this.code = code;
    this.status = status;
    this.requestId = requestId;
    this.idempotencyKey = idempotencyKey;
    this.isOutage = isOutage;
  }
}

type Trouble = Partial<Omit<Problem, 'code' | 'detail'>> & {
  code: TollgateErrorCode;
  detail: string;
  cause?: unknown;
  isOutage?: boolean;
  end?: Members['job_not_charged']['end'];
  jobId?: string;
};
