import type { HttpBindings } from '@hono/node-server';
import type { Context } from 'hono';
import type { ApiKey } from '../db/apiKeys.ts';

/** What middleware leaves for those after it. */
export interface ApiEnv {
  Bindings: HttpBindings;
  Variables: {
    requestId: string;
    /** Set on routes behind `authenticated`. */
    caller: ApiKey;
    /** Set on routes behind `idempotencyKey`. */
    idempotencyKey: string;
    /** Set on routes behind `jsonBody`: parsed, not yet validated. */
    body: unknown;
  };
}

export type ApiContext = Context<ApiEnv>;
