import type { Pool } from 'pg';
import type { Feature, TokenType } from '../domain/catalog.ts';
import type { HoldEndRefusal, HoldRefusal } from '../domain/refusals.ts';
import { call } from './faults.ts';

/** One hold to place. The caller makes the id; it is the idempotency key. `amount` in tokens, `lifetimeMs` from now. */
export interface HoldRequest {
  organizationId: string;
  principal: string;
  holdId: string;
  feature: Feature;
  amount: number;
  lifetimeMs: number;
}

export interface HoldPlacement {
  /** `held`, a refusal, or on a repeat the recorded end. */
  outcome: 'held' | 'captured' | 'released' | 'lapsed' | HoldRefusal;
  isRepeat: boolean;
  tokenType: TokenType | null;
  available: number | null;
  expiresAt: Date | null;
}

/** Places holds, answered row by row in the order asked. See migrations/functions/hold_tokens.sql. */
export async function holdTokens(pool: Pool, holds: readonly HoldRequest[]): Promise<HoldPlacement[]> {
  const { rows } = await call(() =>
    pool.query(
      `select h.outcome, h.is_repeat as "isRepeat", h.token_type as "tokenType", h.available, h.expires_at as "expiresAt"
         from tollgate.hold_tokens($1, $2, $3, $4, $5, $6::interval[]) h
        order by h.ordinal`,
      [
        holds.map((hold) => hold.principal),
        holds.map((hold) => hold.organizationId),
        holds.map((hold) => hold.holdId),
        holds.map((hold) => hold.feature),
        holds.map((hold) => hold.amount),
        holds.map((hold) => `${hold.lifetimeMs} milliseconds`),
      ],
    ),
  );
  return rows;
}

export interface HoldEnding {
  outcome: 'captured' | 'released' | 'lapsed' | HoldEndRefusal;
  isRepeat: boolean;
  captured: number;
  returned: number;
}

/** One hold to charge. An `amount` of null charges all of it. */
export interface CaptureRequest {
  organizationId: string;
  principal: string;
  holdId: string;
  amount: number | null;
}

/** Charges open holds, answered row by row in the order asked. See migrations/functions/capture_holds.sql. */
export async function captureHolds(pool: Pool, captures: readonly CaptureRequest[]): Promise<HoldEnding[]> {
  const { rows } = await call(() =>
    pool.query(
      `select h.outcome, h.is_repeat as "isRepeat", h.captured, h.returned
         from tollgate.capture_holds($1, $2, $3, $4) h
        order by h.ordinal`,
      [
        captures.map((capture) => capture.principal),
        captures.map((capture) => capture.organizationId),
        captures.map((capture) => capture.holdId),
        captures.map((capture) => capture.amount),
      ],
    ),
  );
  return rows;
}

/** One hold to give back. */
export interface ReleaseRequest {
  organizationId: string;
  principal: string;
  holdId: string;
}

/** Gives open holds back. See migrations/functions/release_holds.sql. */
export async function releaseHolds(pool: Pool, releases: readonly ReleaseRequest[]): Promise<HoldEnding[]> {
  const { rows } = await call(() =>
    pool.query(
      `select h.outcome, h.is_repeat as "isRepeat", h.captured, h.returned
         from tollgate.release_holds($1, $2, $3) h
        order by h.ordinal`,
      [
        releases.map((release) => release.principal),
        releases.map((release) => release.organizationId),
        releases.map((release) => release.holdId),
      ],
    ),
  );
  return rows;
}
