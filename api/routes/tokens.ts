import { randomUUID } from 'node:crypto';
import { Hono } from 'hono';
import {
  checkBalance,
  getTokenStats,
  TOKENS_PATH,
  type TokenCheck,
  type TokenRequest,
  tokenRequest,
  tokenStatsQuery,
} from '../../contract/tokens.ts';
import type { Coalescer } from '../../db/coalescer.ts';
import { deductTokens, tokenStats } from '../../db/tokens.ts';
import { mayDo, principalOf } from '../caller.ts';
import { fieldErrors } from '../fieldErrors.ts';
import type { Authentication } from '../middleware/authenticated.ts';
import { optionalIdempotencyKey } from '../middleware/idempotencyKey.ts';
import { jsonBody } from '../middleware/jsonBody.ts';
import { mount } from '../mount.ts';
import { problemReply } from '../problemReply.ts';
import { queryOf } from '../queryOf.ts';
import type { ApiContext, ApiEnv } from '../requestContext.ts';
import { requestHash } from '../requestHash.ts';
import { insufficient, UNKNOWN_FEATURE, writeDeduction, writeStats } from '../tokenAnswers.ts';

/** The interface that apps of the "AI token system" know, with its bodies; see docs/guides/AI_TOKEN_SYSTEM_GUIDE.md. */
export function tokenRoutes(authentication: Authentication, ledger: Coalescer) {
  const { pool, log } = authentication;
  const routes = new Hono<ApiEnv>();

  mount(routes, authentication, checkBalance, optionalIdempotencyKey, jsonBody, async (c) => {
    const parsed = tokenRequest.safeParse(c.get('body'));
    if (!parsed.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(parsed.error) });
    const scope = parsed.data.action === 'check' ? 'tokens:read' : 'tokens:write';
    if (!mayDo(c.get('caller'), scope)) return problemReply(c, 'scope_missing', { scope });
    return parsed.data.action === 'check' ? check(c, parsed.data) : deduct(c, parsed.data);
  });

  mount(routes, authentication, getTokenStats, async (c) => {
    const query = tokenStatsQuery.safeParse(queryOf(c));
    if (!query.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(query.error) });
    const stats = await tokenStats(pool, { ...query.data, principal: principalOf(c.get('caller')) });
    return typeof stats === 'string' ? problemReply(c, 'not_your_organization') : c.json(writeStats(stats));
  });

  async function check(c: ApiContext, { organizationId, featureUsed }: TokenRequest): Promise<Response> {
    const principal = principalOf(c.get('caller'));
    const found = await ledger.check({ organizationId, principal, feature: featureUsed });
    switch (found.outcome) {
      case 'sufficient':
        return c.json({ hasTokens: true } satisfies TokenCheck);
      case 'tokens_insufficient':
        return c.json({ hasTokens: false, message: insufficient(found) } satisfies TokenCheck);
      case 'feature_unknown':
        noteUnknownFeature(c, organizationId);
        return c.json({ hasTokens: false, message: UNKNOWN_FEATURE } satisfies TokenCheck);
      case 'organization_suspended':
      case 'feature_not_available':
        return problemReply(c, found.outcome);
      case 'not_a_member':
      case 'organization_unknown':
        return problemReply(c, 'not_your_organization');
    }
  }

  async function deduct(c: ApiContext, request: TokenRequest): Promise<Response> {
    const { organizationId, featureUsed, metadata = {} } = request;
    const key = c.get('idempotencyKey');
    const made = await deductTokens(pool, {
      organizationId,
      principal: principalOf(c.get('caller')),
      holdId: randomUUID(),
      feature: featureUsed,
      metadata,
      idempotency: key === null ? null : { key, requestHash: requestHash(DEDUCTION, c.get('body')) },
    });
    switch (made.outcome) {
      case 'deducted':
        if (made.isRepeat) c.header('Idempotent-Replayed', 'true');
        else {
          const { tokens, tokenType, available } = made;
          const requestId = c.get('requestId');
          log.info({ requestId, organizationId, tokenType, tokens, available }, `✅ Deducted ${tokens} tokens`);
        }
        return c.json(writeDeduction(made));
      case 'tokens_insufficient':
        return c.json(writeDeduction(made));
      case 'feature_unknown':
        noteUnknownFeature(c, organizationId);
        return c.json({ success: false, remainingBalance: 0, message: UNKNOWN_FEATURE });
      case 'organization_suspended':
      case 'feature_not_available':
      case 'limit_reached':
        return problemReply(c, made.outcome);
      case 'key_reused':
        return problemReply(c, 'idempotency_key_reused');
      case 'not_a_member':
      case 'organization_unknown':
        return problemReply(c, 'not_your_organization');
      case 'id_reused':
        throw new Error('deduct_tokens answered id_reused to a new UUID');
    }
  }

  /** Not the name itself: whatever the caller sent stays out of the log. */
  function noteUnknownFeature(c: ApiContext, organizationId: string): void {
    log.warn({ requestId: c.get('requestId'), organizationId }, 'a feature was asked for that is not in the catalogue');
  }

  return routes;
}

const DEDUCTION = `POST ${TOKENS_PATH}/check-balance`;
