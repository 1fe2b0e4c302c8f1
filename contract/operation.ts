import type { z } from 'zod';
import type { KeyScope } from '../domain/keyScopes.ts';
import type { ProblemCode } from './problems.ts';

/**
 * Who may ask for an operation. `role`: what a signed-in user must be in the organization. `scopes`: what a key must have; where
 * there are several, the handler says which one it takes. `operators`: they may too. An operator always says why, in the header Tollgate-Reason.
 */
export type Access =
  | 'anyone'
  | 'operators'
  | { role: 'member' | 'admin'; scopes: readonly KeyScope[]; operators: boolean };

/** One JSON object, or, where `rows` is there, an array of up to 1,000 of those instead, answered by `rowAnswer` each. */
export interface OperationBody {
  schema: z.ZodType;
  rows?: z.ZodType;
}

export interface OperationAnswer {
  description: string;
  /** What the body is, as JSON; where it is none, `mediaTypes` say what it is instead. */
  schema?: z.ZodType;
  mediaTypes?: readonly string[];
  /** Of an array's row that was done; one that was refused is a `problemRow`. */
  rowSchema?: z.ZodType;
  headers?: readonly ('Location' | 'Idempotent-Replayed')[];
}

/**
 * A request that is shown to readers and sent by a test. Ids in it stand for some that exist: `params`, and every string of
 * `query` and `body` that equals one of them.
 */
export interface OperationExample {
  title: string;
  params?: Readonly<Record<string, string>>;
  query?: Readonly<Record<string, string>>;
  body?: unknown;
  status: number;
  answer?: unknown;
}

/** One thing that can be asked for over HTTP: the router, the reference, the SDK's tests and the tenant matrix follow it. */
export interface Operation {
  /** A verb and a noun, unique: the operationId of the reference. */
  id: string;
  method: 'get' | 'post' | 'put' | 'patch' | 'delete';
  /** With parameters as `{holdId}`. */
  path: string;
  /** Under which heading it stands in the reference. */
  tag: string;
  summary: string;
  description?: string;
  access: Access;
  /** Where the organization is named, other than in the address; nowhere: it is the caller's own. */
  organizationIn?: 'body' | 'query';
  /** Where an array is sent, none is taken: each row has a key of its own. */
  idempotencyKey?: 'required' | 'optional';
  query?: z.ZodObject;
  body?: OperationBody;
  answers: Readonly<Record<number, OperationAnswer>>;
  /** What it may be refused with, beyond what every operation of its shape may be (`problemsOf`). */
  problems: readonly ProblemCode[];
  examples: readonly [OperationExample, ...OperationExample[]];
}

/** Keeps what is written about it exact, its path among it. */
export function operation<const Of extends Operation>(of: Of): Of {
  return of;
}

/** Whether one object is taken as a body; where every answer is by row, only an array is. */
export function takesOneObject({ body, answers }: Operation): boolean {
  return body !== undefined && Object.values(answers).some(({ schema }) => schema !== undefined);
}

/** Every problem that an operation may be answered with, in the order of the catalogue's statuses. */
export function problemsOf(operation: Operation): ProblemCode[] {
  const { access, idempotencyKey, query, body, problems, path } = operation;
  const codes = new Set<ProblemCode>(problems);
  const add = (...more: ProblemCode[]) => {
    for (const code of more) codes.add(code);
  };
  if (path.startsWith('/api/')) add('internal_error', 'rate_limited');
  if (access !== 'anyone') add('unauthorized', 'database_unavailable');
  // Operators are of no organization, and of all.
  if (access !== 'anyone' && access !== 'operators') add('not_your_organization');
  if (access === 'operators') add('operators_only');
  if (access !== 'anyone' && access !== 'operators') add('scope_missing', 'sign_in_unavailable');
  if (access !== 'anyone' && access !== 'operators' && access.role === 'admin') add('admins_only');
  if (access !== 'anyone' && (access === 'operators' || access.operators)) add('operator_reason_missing');
  // Whoever else names one that is not his learns nothing of it.
  if (path.includes('{organizationId}') && access !== 'anyone' && (access === 'operators' || access.operators)) {
    add('organization_not_found');
  }
  if (query !== undefined) add('invalid_request');
  if (body !== undefined) {
    add('malformed_json', 'invalid_request', 'unsupported_media_type', 'payload_too_large', 'request_timeout');
  }
  // Where nothing moves, a key says nothing, and is no mistake.
  if (body?.rows !== undefined && (idempotencyKey !== undefined || !takesOneObject(operation))) {
    add('idempotency_key_not_taken');
  }
  if (idempotencyKey === 'required') add('idempotency_key_missing');
  if (idempotencyKey !== undefined) add('idempotency_key_invalid', 'idempotency_key_reused');
  return [...codes];
}
