import { deductTokens, hasEnoughTokens } from '@tollgate/sdk';

export interface Organization {
  id: string;
  plan: string;
}

export type Quest =
  | { outcome: 'generated'; title: string; remainingBalance: number }
  | { outcome: 'upgrade_needed' | 'out_of_tokens'; message: string };

/**
 * The pattern that apps of the "AI token system" know: plan gate, check, work, deduct, notify.
 *
 * It keeps working, and its deduction is one atomic step. What it cannot do is in its order: the work is done before it is
 * paid, so of two calls at once on the last tokens both do the work and one is not charged. A hold closes that gap.
 *
 * Throws TollgateError when Tollgate cannot answer.
 */
export async function generateQuest(
  organization: Organization,
  userId: string,
  app: { work: () => Promise<string>; notify: (message: string) => void },
): Promise<Quest> {
  if (organization.plan === 'starter') {
    return { outcome: 'upgrade_needed', message: 'Quests come with the pro plan.' };
  }
  if (!(await hasEnoughTokens(organization.id, 'generate_goal'))) {
    return { outcome: 'out_of_tokens', message: 'Buy tokens, or wait for the next refresh.' };
  }
  const title = await app.work();
  const { success, remainingBalance, message } = await deductTokens(organization.id, userId, 'generate_goal', {
    title,
  });
  if (!success) return { outcome: 'out_of_tokens', message };
  app.notify(`Quest generated. ${remainingBalance} tokens are left.`);
  return { outcome: 'generated', title, remainingBalance };
}
