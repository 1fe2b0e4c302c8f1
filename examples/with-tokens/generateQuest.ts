import { TollgateError } from '@tollgate/sdk';
import { withTokens } from '@tollgate/sdk/withTokens';

export type Quest =
  | { outcome: 'generated'; title: string }
  | { outcome: 'upgrade_needed' | 'out_of_tokens'; message: string };

/**
 * The known pattern in one step: the tokens are set aside first, so nobody works for nothing, and of two calls at once on
 * the last tokens one is refused before it begins. Work that throws costs nothing. Plan gate and balance are asked by the
 * hold itself. Throws TollgateError when Tollgate cannot answer.
 */
export async function generateQuest(app: {
  work: () => Promise<string>;
  notify: (message: string) => void;
}): Promise<Quest> {
  try {
    const title = await withTokens('generate_goal', app.work);
    app.notify('Quest generated.');
    return { outcome: 'generated', title };
  } catch (error) {
    if (!(error instanceof TollgateError)) throw error;
    if (error.code === 'feature_not_available') return { outcome: 'upgrade_needed', message: error.message };
    if (error.code === 'tokens_insufficient') return { outcome: 'out_of_tokens', message: error.message };
    throw error;
  }
}
