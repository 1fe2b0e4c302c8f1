import type { Pool } from 'pg';
import type { Feature, TokenType } from '../domain/catalog.ts';
import type {
  ExtensionRefusal,
  GrowthRefusal,
  HoldEndRefusal,
  HoldRefusal,
  RefundRefusal,
} from '../domain/refusals.ts';
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
    pool.query({
      name: 'hold_tokens',
      text: `select h.outcome, h.is_repeat as "isRepeat", h.token_type as "tokenType", h.available, h.expires_at as "expiresAt"
               from tollgate.hold_tokens($1, $2, $3, $4, $5, $6::interval[]) h
              order by h.ordinal`,
      values: [
        holds.map((hold) => hold.principal),
        holds.map((hold) => hold.organizationId),
        holds.map((hold) => hold.holdId),
        holds.map((hold) => hold.feature),
        holds.map((hold) => hold.amount),
        holds.map((hold) => `${hold.lifetimeMs} milliseconds`),
      ],
    }),
  );
  return rows;
}

/** What to charge of a hold. `amount` in tokens; null: all that is open. */
export interface CaptureRequest {
  organizationId: string;
  principal: string;
  holdId: string;
  amount: number | null;
  /** Needed where it is not the last: a repeat under the same key gets the recorded charge. */
  key?: string | null;
  /** False: the hold stays open. Left out, it ends and the rest returns. */
  isLast?: boolean;
}

export interface ReleaseRequest {
  organizationId: string;
  principal: string;
  holdId: string;
}

/** What a capture or release did: tokens that this one charged, that returned, and that all charges of the hold come to. */
export interface HoldEnding {
  outcome: 'captured' | 'released' | 'lapsed' | HoldEndRefusal;
  isRepeat: boolean;
  /** `{holdId}.{n}` of the charge; null where there is none. */
  chargeId: string | null;
  captured: number;
  returned: number;
  capturedInAll: number;
  /** Of a capture that was to draw from the balance what it does not have. */
  missing?: MissingTokens;
}

export interface MissingTokens {
  tokenType: TokenType;
  required: number;
  available: number;
}

const ENDING = `h.outcome, h.is_repeat as "isRepeat", h.charge_id as "chargeId", h.captured, h.returned, h.captured_in_all as "capturedInAll"`;

/** Charges open holds. See migrations/functions/capture_holds.sql. */
export async function captureHolds(pool: Pool, captures: readonly CaptureRequest[]): Promise<HoldEnding[]> {
  const { rows } = await call(() =>
    pool.query({
      name: 'capture_holds',
      text: `select ${ENDING},
                    case h.outcome when 'tokens_insufficient' then
                      jsonb_build_object('tokenType', h.token_type, 'required', h.required, 'available', h.available) end as missing
               from tollgate.capture_holds($1, $2, $3, $4, $5, $6) h
              order by h.ordinal`,
      values: [
        captures.map((capture) => capture.principal),
        captures.map((capture) => capture.organizationId),
        captures.map((capture) => capture.holdId),
        captures.map((capture) => capture.amount),
        captures.map((capture) => capture.key ?? null),
        captures.map((capture) => capture.isLast ?? true),
      ],
    }),
  );
  return rows.map(withMissing<HoldEnding>);
}

/** Gives back what is open of holds, and ends them. See migrations/functions/release_holds.sql. */
export async function releaseHolds(pool: Pool, releases: readonly ReleaseRequest[]): Promise<HoldEnding[]> {
  const { rows } = await call(() =>
    pool.query({
      name: 'release_holds',
      text: `select ${ENDING} from tollgate.release_holds($1, $2, $3) h order by h.ordinal`,
      values: [
        releases.map((release) => release.principal),
        releases.map((release) => release.organizationId),
        releases.map((release) => release.holdId),
      ],
    }),
  );
  return rows;
}

/** How long a hold shall live from now on, at least. */
export interface ExtensionRequest {
  organizationId: string;
  principal: string;
  holdId: string;
  lifetimeMs: number;
}

export interface Extension {
  outcome: 'extended' | ExtensionRefusal;
  expiresAt: Date | null;
}

/** Lets open holds live on. See migrations/functions/extend_holds.sql. */
export async function extendHolds(pool: Pool, extensions: readonly ExtensionRequest[]): Promise<Extension[]> {
  const { rows } = await call(() =>
    pool.query({
      name: 'extend_holds',
      text: `select h.outcome, h.expires_at as "expiresAt"
               from tollgate.extend_holds($1, $2, $3, $4::interval[]) h
              order by h.ordinal`,
      values: [
        extensions.map((extension) => extension.principal),
        extensions.map((extension) => extension.organizationId),
        extensions.map((extension) => extension.holdId),
        extensions.map((extension) => `${extension.lifetimeMs} milliseconds`),
      ],
    }),
  );
  return rows;
}

/** How many more tokens to set aside for a hold; a repeat under the same key gets the recorded answer. */
export interface GrowthRequest {
  organizationId: string;
  principal: string;
  holdId: string;
  key: string;
  amount: number;
}

export interface Growth {
  outcome: 'grown' | GrowthRefusal;
  isRepeat: boolean;
  /** All that the hold ever set aside. */
  amount: number | null;
  available: number | null;
  /** Of a growth that the balance cannot bear. */
  missing?: MissingTokens;
}

/** Sets more tokens aside for open holds. See migrations/functions/grow_holds.sql. */
export async function growHolds(pool: Pool, growths: readonly GrowthRequest[]): Promise<Growth[]> {
  const { rows } = await call(() =>
    pool.query({
      name: 'grow_holds',
      text: `select h.outcome, h.is_repeat as "isRepeat", h.amount, h.available,
                    case h.outcome when 'tokens_insufficient' then
                      jsonb_build_object('tokenType', h.token_type, 'required', h.required, 'available', h.available) end as missing
               from tollgate.grow_holds($1, $2, $3, $4, $5) h
              order by h.ordinal`,
      values: [
        growths.map((growth) => growth.principal),
        growths.map((growth) => growth.organizationId),
        growths.map((growth) => growth.holdId),
        growths.map((growth) => growth.key),
        growths.map((growth) => growth.amount),
      ],
    }),
  );
  return rows.map(withMissing<Growth>);
}

/** Only what was refused for it has it. */
function withMissing<Answer extends { missing?: MissingTokens }>(
  row: Omit<Answer, 'missing'> & { missing: MissingTokens | null },
): Answer {
  const { missing, ...answer } = row;
  return (missing === null ? answer : row) as Answer;
}

export interface Refund {
  outcome: 'refunded' | RefundRefusal;
  isRepeat: boolean;
  tokenType: TokenType | null;
  /** What this one gave back, what all have, and what the charge was. */
  refunded: number | null;
  refundedInAll: number | null;
  charged: number | null;
  available: number | null;
}

/** Gives back a charge, or part of it (`amount` null: all that is left). See migrations/functions/refund_charge.sql. */
export async function refundCharge(
  pool: Pool,
  refund: {
    organizationId: string;
    principal: string;
    chargeId: string;
    amount: number | null;
    reason: string;
    idempotency: { key: string; requestHash: Buffer };
  },
): Promise<Refund> {
  const { rows } = await call(() =>
    pool.query(
      `select r.outcome, r.is_repeat as "isRepeat", r.token_type as "tokenType", r.refunded,
              r.refunded_in_all as "refundedInAll", r.charged, r.available
         from tollgate.refund_charge($1, $2, $3, $4, $5, $6, $7) r`,
      [
        refund.organizationId,
        refund.principal,
        refund.chargeId,
        refund.amount,
        refund.reason,
        refund.idempotency.key,
        refund.idempotency.requestHash,
      ],
    ),
  );
  return rows[0];
}
