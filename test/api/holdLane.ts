import { randomUUID } from 'node:crypto';
import type { TestOrganization } from '../support/organization.ts';
import type { Reply, TestApi } from './testApi.ts';

/** The hold lane as an app of one organization speaks to it. */
export interface HoldLane {
  hold(json?: unknown, idempotencyKey?: string): Promise<Reply>;
  /** The id of a new hold. */
  holdId(tokens: number, change?: object): Promise<string>;
  capture(id: string, json?: unknown, idempotencyKey?: string): Promise<Reply>;
  release(id: string): Promise<Reply>;
  extend(id: string, lifetimeSeconds: number): Promise<Reply>;
  grow(id: string, json: unknown, idempotencyKey?: string): Promise<Reply>;
  refund(chargeId: string, json?: unknown, idempotencyKey?: string): Promise<Reply>;
  get(path: string): Promise<Reply>;
  /** An array, to `/api/v1/…`. As text: sent as it is. */
  rows(path: string, json: unknown): Promise<Reply>;
}

export function holdLaneOf(api: TestApi, { secret: key }: TestOrganization): HoldLane {
  const keyed = (idempotencyKey: string | undefined) =>
    idempotencyKey === undefined ? {} : { 'Idempotency-Key': idempotencyKey };
  const hold = (json: unknown = { feature: 'generate_leads' }, idempotencyKey: string = randomUUID()) =>
    api.call('/api/v1/holds', { key, json, headers: keyed(idempotencyKey) });
  return {
    hold,
    holdId: async (tokens, change) => (await hold({ feature: 'generate_leads', tokens, ...change })).body.id,
    capture: (id, json = {}, idempotencyKey = undefined) =>
      api.call(`/api/v1/holds/${id}/capture`, { key, json, headers: keyed(idempotencyKey) }),
    release: (id) => api.call(`/api/v1/holds/${id}/release`, { method: 'POST', key }),
    extend: (id, lifetimeSeconds) => api.call(`/api/v1/holds/${id}/extend`, { key, json: { lifetimeSeconds } }),
    grow: (id, json, idempotencyKey = randomUUID()) =>
      api.call(`/api/v1/holds/${id}/grow`, { key, json, headers: keyed(idempotencyKey) }),
    refund: (id, json = { reason: 'it was of no use' }, idempotencyKey = randomUUID()) =>
      api.call(`/api/v1/charges/${id}/refund`, { key, json, headers: keyed(idempotencyKey) }),
    get: (path) => api.call(`/api/v1/${path}`, { key }),
    rows: (path, json) =>
      api.call(`/api/v1/${path}`, {
        key,
        method: 'POST',
        headers: { 'Content-Type': 'application/json' },
        body: typeof json === 'string' ? json : JSON.stringify(json),
      }),
  };
}

/** What is no amount, as JSON. */
export const NO_AMOUNTS = ['0', '-1', '1.5', '1e400', '9007199254740993', '"1"', 'true', 'null', '[]', '{}'];
