import type { HttpBindings } from '@hono/node-server';
import type { Context } from 'hono';
import type { FieldError } from '../contract/problems.ts';
import type { Caller } from './caller.ts';

/** What middleware leaves for those after it. */
export interface ApiEnv {
  Bindings: HttpBindings;
  Variables: {
    requestId: string;
    /** Set on routes behind `authenticated`. */
    caller: Caller;
    /** Set on routes behind `ownOrganization`: the one that the caller belongs to, or that an operator named. */
    organizationId: string;
    /** Set where an operator acts: what he says it is for. */
    operatorReason: string;
    /** Set on routes behind `idempotencyKey`; null where it may be left out and was. */
    idempotencyKey: string | null;
    /** Set on routes behind `jsonBody`: parsed, not yet validated. */
    body: unknown;
    /** Set by `jsonRows`: by row of an array, what keeps its JSON from being taken; the paths begin at the row. */
    rowErrors: ReadonlyMap<number, FieldError>;
  };
}

export type ApiContext = Context<ApiEnv>;
