import type { Pool } from 'pg';
import {
  captureHolds,
  type HoldEnding,
  type HoldPlacement,
  type HoldRequest,
  holdTokens,
  releaseHolds,
} from '../../db/holds.ts';
import type { TestOrganization } from './organization.ts';

/** Somebody of an organization who takes holds one at a time and ends them: generate_leads, one minute, unless said. */
export interface Holder {
  request(holdId: string, amount: number, change?: Partial<HoldRequest>): HoldRequest;
  hold(holdId: string, amount: number, change?: Partial<HoldRequest>): Promise<HoldPlacement>;
  capture(holdId: string, amount?: number | null): Promise<HoldEnding>;
  release(holdId: string): Promise<HoldEnding>;
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
    capture: async (holdId, amount = null) =>
      (await captureHolds(api, [{ organizationId, principal, holdId, amount }]))[0]!,
    release: async (holdId) => (await releaseHolds(api, [{ organizationId, principal, holdId }]))[0]!,
  };
}
