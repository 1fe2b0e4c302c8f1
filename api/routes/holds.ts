import { createHash } from 'node:crypto';
import { Hono } from 'hono';
import { captureRequest, type EndedHold, HOLDS_PATH, holdRequest, type PlacedHold } from '../../contract/holds.ts';
import type { Coalescer } from '../../db/coalescer.ts';
import type { HoldEnding } from '../../db/holds.ts';
import { TOKEN_COSTS } from '../../domain/catalog.ts';
import { ID_PATTERN } from '../../domain/ids.ts';
import { principalOf } from '../caller.ts';
import { fieldErrors } from '../fieldErrors.ts';
import { type Authentication, authenticated, ownOrganization } from '../middleware/authenticated.ts';
import { idempotencyKey } from '../middleware/idempotencyKey.ts';
import { jsonBody } from '../middleware/jsonBody.ts';
import { namesNoFeature } from '../namesNoFeature.ts';
import { problemReply } from '../problemReply.ts';
import type { ApiContext, ApiEnv } from '../requestContext.ts';

/** The hold lane: set tokens aside, do the work, capture what it used or release. A hold that is forgotten lapses. */
export function holdRoutes(authentication: Authentication, ledger: Coalescer) {
  const { pool } = authentication;
  const routes = new Hono<ApiEnv>();
  const member = [authenticated(authentication, 'tokens:write'), ownOrganization(pool)] as const;

  routes.post('/', ...member, idempotencyKey, jsonBody, async (c) => {
    const body = c.get('body');
    const parsed = holdRequest.safeParse(body);
    if (!parsed.success) {
      return problemReply(c, namesNoFeature(body, parsed.error.issues) ? 'feature_unknown' : 'invalid_request', {
        errors: fieldErrors(parsed.error),
      });
    }
    const { feature, tokens = TOKEN_COSTS[feature], lifetimeSeconds } = parsed.data;
    const id = holdIdOf(c.get('idempotencyKey')!);
    const lifetimeMs = lifetimeSeconds * 1_000;
    const placed = await ledger.hold({ ...who(c), holdId: id, feature, amount: tokens, lifetimeMs });
    switch (placed.outcome) {
      case 'held':
      case 'captured':
      case 'released':
      case 'lapsed': {
        const { tokenType, expiresAt, isRepeat } = placed;
        if (isRepeat) c.header('Idempotent-Replayed', 'true');
        const links = { capture: `${HOLDS_PATH}/${id}/capture`, release: `${HOLDS_PATH}/${id}/release` };
        const answer: PlacedHold = {
          id,
          feature,
          tokenType: tokenType!,
          tokens,
          expiresAt: expiresAt!.toISOString(),
          links,
        };
        return c.json(answer, 201);
      }
      case 'tokens_insufficient':
        return problemReply(c, 'tokens_insufficient', {
          required: tokens,
          available: placed.available!,
          tokenType: placed.tokenType!,
        });
      case 'feature_not_available':
        return problemReply(c, 'feature_not_available');
      case 'limit_reached':
        return problemReply(c, 'limit_reached');
      case 'id_reused':
        return problemReply(c, 'idempotency_key_reused');
      case 'not_a_member':
      case 'organization_unknown':
        return problemReply(c, 'not_your_organization');
      default:
        throw new Error(`hold_tokens answered ${placed.outcome} to a request that was checked`);
    }
  });

  routes.post('/:id/capture', ...member, jsonBody, async (c) => {
    const parsed = captureRequest.safeParse(c.get('body'));
    if (!parsed.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(parsed.error) });
    const holdId = c.req.param('id');
    if (!ID_PATTERN.test(holdId)) return problemReply(c, 'hold_not_found');
    return replyOf(c, holdId, await ledger.capture({ ...who(c), holdId, amount: parsed.data.tokens ?? null }));
  });

  routes.post('/:id/release', ...member, async (c) => {
    const holdId = c.req.param('id');
    if (!ID_PATTERN.test(holdId)) return problemReply(c, 'hold_not_found');
    return replyOf(c, holdId, await ledger.release({ ...who(c), holdId }));
  });

  return routes;
}

function who(c: ApiContext) {
  return { organizationId: c.get('organizationId'), principal: principalOf(c.get('caller')) };
}

/** The hold's id is what makes a repeat a repeat, so it follows from the key; a key may hold more than an id can. */
function holdIdOf(key: string): string {
  return `key_${createHash('sha256').update(key).digest('base64url')}`;
}

/** No Idempotency-Key here: a hold ends once, and a repeat of its end gets what is recorded. */
function replyOf(c: ApiContext, id: string, { outcome, isRepeat, captured, returned }: HoldEnding): Response {
  switch (outcome) {
    case 'captured':
    case 'released':
    case 'lapsed':
      if (isRepeat) c.header('Idempotent-Replayed', 'true');
      return c.json({ id, state: outcome, captured, returned } satisfies EndedHold);
    case 'hold_unknown':
      return problemReply(c, 'hold_not_found');
    case 'amount_above_hold':
      return problemReply(c, 'amount_above_hold');
    case 'hold_captured':
    case 'hold_released':
    case 'hold_lapsed':
    case 'hold_of_a_job':
      return problemReply(c, 'hold_already_ended');
    case 'not_a_member':
      return problemReply(c, 'not_your_organization');
    case 'key_reused':
      return problemReply(c, 'idempotency_key_reused');
    case 'limit_reached':
      return problemReply(c, 'limit_reached');
    case 'tokens_insufficient':
      return problemReply(c, 'tokens_insufficient');
    case 'key_invalid':
    case 'amount_invalid':
      throw new Error('end_holds refused an amount that was checked');
  }
}
