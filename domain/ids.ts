/**
 * Ids are text of `[A-Za-z0-9_-]{1,64}`, so that UUIDs and ids of foreign systems both fit. The database states the
 * same rule in the domain type `tollgate.id`.
 */
export const ID_PATTERN = /^[A-Za-z0-9_-]{1,64}$/;

/** Ids of holds: an app's own, and those that the job functions take again or take for a late charge. */
export const HOLD_ID_PATTERN = /^(?:again:|late:)?[A-Za-z0-9_-]{1,64}$/;

/** Ids of charges: the hold's, and the number of the charge on it. */
export const CHARGE_ID_PATTERN = /^(?:again:|late:)?[A-Za-z0-9_-]{1,64}\.[1-9]\d{0,8}$/;

/** The workflow that runs a job. Source: DESIGN, the table of workflows; the API, the worker and the sweep share it. */
export function jobWorkflowId(organizationId: string, jobId: string): string {
  return `job:${organizationId}:${jobId}`;
}

/** The workflow that lives as long as an organization does. Who tells it something and who starts it share the id. */
export function organizationWorkflowId(organizationId: string): string {
  return `organization:${organizationId}`;
}

/**
 * What the AI provider gets as its idempotency key: one per job, the same for every attempt, so that a provider that
 * honours it bills a crashed and repeated call once.
 */
export function operationKey(organizationId: string, jobId: string): string {
  return `tollgate:${organizationId}:${jobId}`;
}
