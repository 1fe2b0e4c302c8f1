import { createHash } from 'node:crypto';
import { createKeptAnswers } from './keptAnswers.ts';
import { reasonOf } from './reasonOf.ts';

export type UserAnswer =
  | { outcome: 'known'; userId: string }
  | { outcome: 'refused' }
  | { outcome: 'unavailable'; reason: string };

const CACHE_MS = 30_000;
const MOST_CACHED = 10_000;

/**
 * Supabase's own word on a session, for projects that sign with a secret that we were not given. An answer is kept for
 * `cacheMs`, by the token's hash and never beyond the token's end: so long may a session that was ended elsewhere still be
 * taken here. Equal questions at the same time are one. Trouble is never kept.
 */
export function createUserEndpoint(options: {
  url: string;
  anonKey: string;
  timeoutMs: number;
  cacheMs?: number;
  mostCached?: number;
}) {
  const { url, anonKey, timeoutMs, cacheMs = CACHE_MS, mostCached = MOST_CACHED } = options;
  const kept = createKeptAnswers<Promise<UserAnswer>>(mostCached);

  async function look(token: string): Promise<UserAnswer> {
    try {
      const response = await fetch(url, {
        headers: { apikey: anonKey, Authorization: `Bearer ${token}` },
        // Anywhere else the token is nobody's business.
        redirect: 'error',
        signal: AbortSignal.timeout(timeoutMs),
      });
      if (response.status === 401 || response.status === 403) return { outcome: 'refused' };
      if (!response.ok) return { outcome: 'unavailable', reason: `the user endpoint answered ${response.status}` };
      const { id } = (await response.json()) as { id?: unknown };
      return typeof id === 'string' ? { outcome: 'known', userId: id } : { outcome: 'refused' };
    } catch (error) {
      return { outcome: 'unavailable', reason: reasonOf(error) };
    }
  }

  return {
    /** `expiresAt`: the token's end, in milliseconds since 1970. */
    ask(token: string, expiresAt: number): Promise<UserAnswer> {
      const hash = createHash('sha256').update(token).digest('base64');
      const earlier = kept.get(hash);
      if (earlier !== undefined) return earlier;

      const answer = look(token);
      kept.keep(hash, answer, Math.min(Date.now() + cacheMs, expiresAt));
      void answer.then(({ outcome }) => {
        if (outcome === 'unavailable') kept.forget(hash, answer);
      });
      return answer;
    },
  };
}
