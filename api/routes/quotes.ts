import { Hono } from 'hono';
import { HOLDS_PATH } from '../../contract/holds.ts';
import {
  type Quote,
  type QuoteRequest,
  quoteHolds as quoteHoldsOperation,
  quoteRequest,
} from '../../contract/quotes.ts';
import { type Quote as QuotedHold, quoteHolds } from '../../db/quotes.ts';
import { TOKEN_COSTS } from '../../domain/catalog.ts';
import { type Answer, refused, replyWith } from '../answer.ts';
import { principalOf } from '../caller.ts';
import type { Authentication } from '../middleware/authenticated.ts';
import { jsonRows } from '../middleware/jsonBody.ts';
import { mount } from '../mount.ts';
import { refusedRequest } from '../refusedRequest.ts';
import { replyWithRows } from '../replyWithRows.ts';
import type { ApiContext, ApiEnv } from '../requestContext.ts';

/** Dry runs: what a hold would answer now, and from what. Nothing moves, nothing is reserved. */
export function quoteRoutes(authentication: Authentication) {
  const { pool, log } = authentication;
  const routes = new Hono<ApiEnv>();
  mount(routes, authentication, quoteHoldsOperation, jsonRows, async (c) => {
    const body = c.get('body');
    if (Array.isArray(body)) {
      return replyWithRows(c, {
        schema: quoteRequest,
        namedBy: null,
        send: async (rows) => (await quote(c, rows)).map((value) => ({ status: 'fulfilled' as const, value })),
        log,
      });
    }
    const parsed = quoteRequest.safeParse(body);
    if (!parsed.success) return replyWith(c, refusedRequest(body, parsed.error));
    return replyWith(c, (await quote(c, [parsed.data]))[0]!);
  });

  async function quote(c: ApiContext, requests: readonly QuoteRequest[]): Promise<Answer<Quote>[]> {
    if (requests.length === 0) return [];
    const who = { organizationId: c.get('organizationId'), principal: principalOf(c.get('caller')) };
    const asked = requests.map(({ feature, tokens, quantity = 1 }) => ({
      feature,
      amount: tokens ?? TOKEN_COSTS[feature] * quantity,
    }));
    const quoted = await quoteHolds(pool, who, asked);
    return quoted.map((hold, n) => quoteAnswer(asked[n]!, hold));
  }

  return routes;
}

function quoteAnswer(
  { feature, amount }: { feature: Quote['feature']; amount: number },
  quoted: QuotedHold,
): Answer<Quote> {
  const { outcome, tokenType, available, grants } = quoted;
  switch (outcome) {
    case 'held':
    case 'feature_not_available':
    case 'too_many_holds':
    case 'limit_reached':
    case 'tokens_insufficient': {
      const price = { feature, outcome, sufficient: outcome === 'held', tokenType: tokenType!, tokens: amount };
      return { body: { ...price, available: available!, grants, links: { hold: HOLDS_PATH } }, isRepeat: false };
    }
    case 'organization_suspended':
    case 'feature_unknown':
      return refused(outcome);
    case 'not_a_member':
    case 'organization_unknown':
      return refused('not_your_organization');
    case 'amount_invalid':
      throw new Error('quote_holds refused an amount that was checked');
  }
}
