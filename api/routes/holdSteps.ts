import { Hono } from 'hono';
import type { z } from 'zod';
import {
  type CaptureRequest,
  captureRequest,
  captureRow,
  extensionRequest,
  extensionRow,
  growthRequest,
  growthRow,
  releaseRow,
} from '../../contract/holds.ts';
import type { Coalescer } from '../../db/coalescer.ts';
import { HOLD_ID_PATTERN } from '../../domain/ids.ts';
import { type Answer, refused, replyWith } from '../answer.ts';
import { principalOf } from '../caller.ts';
import { fieldErrors } from '../fieldErrors.ts';
import { endingAnswer, extensionAnswer, growthAnswer } from '../holdAnswers.ts';
import { type Authentication, authenticated, ownOrganization } from '../middleware/authenticated.ts';
import { idempotencyKey, noIdempotencyKey, optionalIdempotencyKey } from '../middleware/idempotencyKey.ts';
import { jsonBody, jsonRows } from '../middleware/jsonBody.ts';
import { problemReply } from '../problemReply.ts';
import { replyWithRows } from '../replyWithRows.ts';
import type { ApiContext, ApiEnv } from '../requestContext.ts';
import type { RowQueue } from '../rowQueue.ts';

/** What is done with holds: one by its address, or an array of rows that name theirs. */
export function holdStepRoutes(authentication: Authentication, ledger: Coalescer, sendRows: RowQueue) {
  const { pool, log } = authentication;
  const routes = new Hono<ApiEnv>();
  const member = [authenticated(authentication, 'tokens:write'), ownOrganization(pool)] as const;

  // A hold ends once, and a repeat of its end gets what is recorded: no key there, unless it stays open.
  routes.post('/:id/capture', ...member, optionalIdempotencyKey, jsonBody, async (c) => {
    const parsed = captureRequest.safeParse(c.get('body'));
    if (!parsed.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(parsed.error) });
    const key = parsed.data.isLast ? undefined : (c.get('idempotencyKey') ?? undefined);
    if (!parsed.data.isLast && key === undefined) return problemReply(c, 'idempotency_key_missing');
    return replyWith(c, await capture(c, { id: c.req.param('id'), key, ...parsed.data }));
  });
  routes.post('/capture', ...member, noIdempotencyKey, jsonRows, rowsOf(captureRow, capture));

  routes.post('/:id/release', ...member, async (c) => replyWith(c, await release(c, { id: c.req.param('id') })));
  routes.post('/release', ...member, noIdempotencyKey, jsonRows, rowsOf(releaseRow, release));

  routes.post('/:id/extend', ...member, jsonBody, async (c) => {
    const parsed = extensionRequest.safeParse(c.get('body'));
    if (!parsed.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(parsed.error) });
    return replyWith(c, await extend(c, { id: c.req.param('id'), ...parsed.data }));
  });
  routes.post('/extend', ...member, noIdempotencyKey, jsonRows, rowsOf(extensionRow, extend));

  routes.post('/:id/grow', ...member, idempotencyKey, jsonBody, async (c) => {
    const parsed = growthRequest.safeParse(c.get('body'));
    if (!parsed.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(parsed.error) });
    return replyWith(c, await grow(c, { id: c.req.param('id'), key: c.get('idempotencyKey')!, ...parsed.data }));
  });
  routes.post('/grow', ...member, noIdempotencyKey, jsonRows, rowsOf(growthRow, growRow));

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
    return onHold(c, id, async (hold) => growthAnswer(id, tokens, await ledger.grow({ ...hold, key, amount: tokens })));
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
