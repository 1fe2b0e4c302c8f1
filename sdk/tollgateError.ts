import type { Problem, ProblemCode } from '../contract/problems.ts';

/**
 * Tollgate did not do what it was asked for. `code` is stable: `unauthorized`, `not_your_organization`, … of the error
 * catalogue (contract/problems.ts), or `unreachable` when no answer came at all. `status` is null then.
 */
export class TollgateError extends Error {
  override readonly name = 'TollgateError';
  readonly code: ProblemCode | 'unreachable';
  readonly status: number | null;
  /** Names the request in Tollgate's log. */
  readonly requestId: string | null;
  /** Under which the request was sent: repeat it under the same one, and what took effect is not done twice. */
  readonly idempotencyKey: string | null;

  constructor(
    problem:
      | Pick<Problem, 'code' | 'detail' | 'status' | 'requestId'>
      | { code: 'unreachable'; detail: string; cause: unknown },
    idempotencyKey: string | null = null,
  ) {
    super(problem.detail, 'cause' in problem ? { cause: problem.cause } : {});
    this.code = problem.code;
    this.status = 'status' in problem ? problem.status : null;
    this.requestId = 'requestId' in problem ? problem.requestId : null;
    this.idempotencyKey = idempotencyKey;
  }
}
