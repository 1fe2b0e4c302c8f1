import { createHash, randomUUID } from 'node:crypto';
import type { Pool } from 'pg';
import {
  captureHolds,
  type Extension,
  extendHolds,
  type Growth,
  growHolds,
  type HoldEnding,
  type HoldPlacement,
  type HoldRequest,
  holdTokens,
  type Refund,
  refundCharge,
  releaseHolds,
} from '../../db/holds.ts';
import type { TestOrganization } from './organization.ts';

/** Somebody of an organization who takes holds one at a time and ends them: generate_leads, one minute, unless said. */
export interface Holder {
  request(holdId: string, amount: number, change?: Partial<HoldRequest>): HoldRequest;
  hold(holdId: string, amount: number, change?: Partial<HoldRequest>): Promise<HoldPlacement>;
  capture(holdId: string, amount?: number | null, part?: { key: string; isLast: boolean }): Promise<HoldEnding>;
  release(holdId: string): Promise<HoldEnding>;
  extend(holdId: string, lifetimeMs: number): Promise<Extension>;
  grow(holdId: string, key: string, amount: number): Promise<Growth>;
  refund(chargeId: string, amount: number | null, key?: string): Promise<Refund>;
}

export function holderOf(api: Pool, { organizationId, principal }: TestOrganization): Holder {
  const request = (holdId: string, amount: number, change: Partial<HoldRequest> = {}): HoldRequest => ({
    organizationId,
    principal,
    holdId,
    feature: 'generate_leads',
    amount,
    lifetimeMs: 60_000,
    ...change,
  });
  return {
    request,
    hold: async (...hold) => (await holdTokens(api, [request(...hold)]))[0]!,
    capture: async (holdId, amount = null, part = undefined) =>
      (await captureHolds(api, [{ organizationId, principal, holdId, amount, ...part }]))[0]!,
    release: async (holdId) => (await releaseHolds(api, [{ organizationId, principal, holdId }]))[0]!,
    extend: async (holdId, lifetimeMs) =>
      (await extendHolds(api, [{ organizationId, principal, holdId, lifetimeMs }]))[0]!,
    grow: async (holdId, key, amount) =>
      (await growHolds(api, [{ organizationId, principal, holdId, key, amount }]))[0]!,
    refund: (chargeId, amount, key = randomUUID()) =>
      refundCharge(api, {
        organizationId,
        principal,
        chargeId,
        amount,
        reason: 'it was of no use',
        idempotency: { key, requestHash: createHash('sha256').update(`${chargeId} ${amount}`).digest() },
      }),
  };
}
