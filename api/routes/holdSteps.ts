import { Hono } from 'hono';
import type { z } from 'zod';
import {
  type CaptureRequest,
  captureHold,
  captureHolds,
  captureRequest,
  captureRow,
  extendHold,
  extendHolds,
  extensionRequest,
  extensionRow,
  growHold,
  growHolds,
  growthRequest,
  growthRow,
  releaseHold,
  releaseHolds,
  releaseRow,
} from '../../contract/holds.ts';
import type { Coalescer } from '../../db/coalescer.ts';
import { HOLD_ID_PATTERN } from '../../domain/ids.ts';
import { type Answer, refused, replyWith } from '../answer.ts';
import { principalOf } from '../caller.ts';
import { fieldErrors } from '../fieldErrors.ts';
import { endingAnswer, extensionAnswer, growthAnswer } from '../holdAnswers.ts';
import type { Authentication } from '../middleware/authenticated.ts';
import { idempotencyKey, noIdempotencyKey, optionalIdempotencyKey } from '../middleware/idempotencyKey.ts';
import { jsonBody, jsonRows } from '../middleware/jsonBody.ts';
import { mount } from '../mount.ts';
import { problemReply } from '../problemReply.ts';
import { replyWithRows } from '../replyWithRows.ts';
import type { ApiContext, ApiEnv } from '../requestContext.ts';
import type { RowQueue } from '../rowQueue.ts';

/** What is done with holds: one by its address, or an array of rows that name theirs. */
export function holdStepRoutes(authentication: Authentication, ledger: Coalescer, sendRows: RowQueue) {
  const { log } = authentication;
  const routes = new Hono<ApiEnv>();

  // A hold ends once, and a repeat of its end gets what is recorded: no key there, unless it stays open.
  mount(routes, authentication, captureHold, optionalIdempotencyKey, jsonBody, async (c) => {
    const parsed = captureRequest.safeParse(c.get('body'));
    if (!parsed.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(parsed.error) });
    const key = parsed.data.isLast ? undefined : (c.get('idempotencyKey') ?? undefined);
    if (!parsed.data.isLast && key === undefined) return problemReply(c, 'idempotency_key_missing');
    return replyWith(c, await capture(c, { id: c.req.param('holdId')!, key, ...parsed.data }));
  });
  mount(routes, authentication, captureHolds, noIdempotencyKey, jsonRows, rowsOf(captureRow, capture));

  mount(routes, authentication, releaseHold, async (c) =>
    replyWith(c, await release(c, { id: c.req.param('holdId')! })),
  );
  mount(routes, authentication, releaseHolds, noIdempotencyKey, jsonRows, rowsOf(releaseRow, release));

  mount(routes, authentication, extendHold, jsonBody, async (c) => {
    const parsed = extensionRequest.safeParse(c.get('body'));
    if (!parsed.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(parsed.error) });
    return replyWith(c, await extend(c, { id: c.req.param('holdId')!, ...parsed.data }));
  });
  mount(routes, authentication, extendHolds, noIdempotencyKey, jsonRows, rowsOf(extensionRow, extend));

  mount(routes, authentication, growHold, idempotencyKey, jsonBody, async (c) => {
    const parsed = growthRequest.safeParse(c.get('body'));
    if (!parsed.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(parsed.error) });
    return replyWith(c, await grow(c, { id: c.req.param('holdId')!, key: c.get('idempotencyKey')!, ...parsed.data }));
  });
  mount(routes, authentication, growHolds, noIdempotencyKey, jsonRows, rowsOf(growthRow, growRow));

  function capture(
    c: ApiContext,
    { id, key, tokens, isLast }: CaptureRequest & { id: string; key?: string | undefined },
  ) {
    return onHold(c, id, async (hold) =>
      endingAnswer(id, isLast, await ledger.capture({ ...hold, amount: tokens ?? null, key: key ?? null, isLast })),
    );
  }

  function release(c: ApiContext, { id }: { id: string }) {
    return onHold(c, id, async (hold) => endingAnswer(id, true, await ledger.release(hold)));
  }

  function extend(c: ApiContext, { id, lifetimeSeconds }: { id: string; lifetimeSeconds: number }) {
    return onHold(c, id, async (hold) =>
      extensionAnswer(id, await ledger.extend({ ...hold, lifetimeMs: lifetimeSeconds * 1_000 })),
    );
  }

  function grow(c: ApiContext, { id, key, tokens }: { id: string; key: string; tokens: number }) {
    return onHold(c, id, async (hold) => growthAnswer(id, await ledger.grow({ ...hold, key, amount: tokens })));
  }

  async function growRow(c: ApiContext, row: { id: string; key: string; tokens: number }) {
    const answer = await grow(c, row);
    return 'code' in answer ? answer : { ...answer, body: { key: row.key, ...answer.body } };
  }

  /** What cannot be a hold's id is not asked for. */
  async function onHold<Body>(
    c: ApiContext,
    holdId: string,
    step: (hold: { organizationId: string; principal: string; holdId: string }) => Promise<Answer<Body>>,
  ): Promise<Answer<Body>> {
    if (!HOLD_ID_PATTERN.test(holdId)) return refused('hold_not_found');
    return step({ organizationId: c.get('organizationId'), principal: principalOf(c.get('caller')), holdId });
  }

  function rowsOf<Schema extends z.ZodType, Body extends object>(
    schema: Schema,
    step: (c: ApiContext, row: z.infer<Schema>) => Promise<Answer<Body>>,
  ) {
    return (c: ApiContext) =>
      replyWithRows(c, {
        schema,
        namedBy: 'id',
        send: (rows) => sendRows(c.get('organizationId'), rows, (row) => step(c, row)),
        log,
      });
  }

  return routes;
}
