/**
 * What a benchmark asks of the ledger, of ours and of the foil alike: tokens are held, then part of them charged and the
 * rest returned, so that each cycle writes all that a metered call writes. Whatever is refused is thrown: nothing here
 * may run out of tokens or take the wrong hold.
 */
export interface Side {
  /** Answers the new hold's id. */
  hold(organizationId: string, amount?: number): Promise<string>;
  capture(organizationId: string, holdId: string, amount?: number): Promise<void>;
  close(): Promise<void>;
}

export const HOLD = { feature: 'generate_goal', tokenType: 'goal_generation', amount: 3 } as const;
/** Of those three. */
export const CHARGE = 2;
/** Longer than any series but the endurance run. */
export const HOLD_LIFETIME_MS = 3_600_000;

export type Workload = 'hold' | 'cycle';

export async function perform(side: Side, workload: Workload, organizationId: string): Promise<void> {
  const holdId = await side.hold(organizationId);
  if (workload === 'cycle') await side.capture(organizationId, holdId);
}

/** The member on whose behalf everything is asked of an organization. */
export const principalOf = (organizationId: string) => `user:user-${organizationId}`;
