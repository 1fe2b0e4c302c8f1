import { createHash } from 'node:crypto';
import type { Pool } from 'pg';
import {
  BURN_ORDERS,
  FEATURE_TOKEN_TYPES,
  FEATURES,
  PLANS,
  TOKEN_COSTS,
  TOKEN_FALLBACKS,
  TOKEN_LIMITS,
  TOKEN_TYPES,
} from '../domain/catalog.ts';

/** The catalogue of domain/catalog.ts in the form that `tollgate.apply_catalogue` reads; amounts in tokens. */
export function catalogueContent() {
  return {
    features: FEATURES.map((feature) => ({
      feature,
      tokenType: FEATURE_TOKEN_TYPES[feature],
      tokens: TOKEN_COSTS[feature],
    })),
    allowances: PLANS.flatMap((plan) =>
      TOKEN_TYPES.map((tokenType) => ({ plan, tokenType, tokens: TOKEN_LIMITS[plan][tokenType] })),
    ),
    plans: PLANS.map((plan) => ({ plan, burnOrder: BURN_ORDERS[plan] })),
    fallbacks: PLANS.flatMap((plan) =>
      FEATURES.flatMap((feature) =>
        (TOKEN_FALLBACKS[plan][feature] ?? []).map((tokenType, rank) => ({ plan, feature, rank, tokenType })),
      ),
    ),
  };
}

export function catalogueDigest(): string {
  return createHash('sha256').update(JSON.stringify(catalogueContent())).digest('hex');
}

/**
 * Refuses to go on when the database holds another catalogue than this code: one of the two would price wrongly.
 * Throws an error that says what to run.
 */
export async function assertCatalogue(pool: Pool): Promise<void> {
  const { rows } = await pool.query<{ digest: string }>(
    'select v.digest from tollgate.catalogue_versions v order by v.version desc limit 1',
  );
  const applied = rows[0]?.digest;
  if (applied === catalogueDigest()) return;
  throw new Error(
    applied === undefined
      ? 'The database has no catalogue. Run `npm run migrate` with DATABASE_OWNER_URL set, then start again.'
      : 'The database holds another catalogue than domain/catalog.ts. Run `npm run migrate` with this code, or start the code that matches.',
  );
}
