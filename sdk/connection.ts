import type { Problem } from '../contract/problems.ts';
import { TollgateError } from './tollgateError.ts';

export interface TollgateConfiguration {
  /** Where Tollgate's API is: `https://tollgate.example`. */
  url: string;
  /** For servers: a key of the organization. Never give it to a browser. */
  apiKey?: string;
  /** For browsers, and servers that act for a signed-in user: the session's access token, asked for with each request. */
  accessToken?: () => string | null | undefined | Promise<string | null | undefined>;
  /** How long one attempt may take, in milliseconds. Default 10,000. */
  timeoutMs?: number;
}

let configured: TollgateConfiguration | undefined;

/** Says, once, where Tollgate is and as whom to call it. Without it `TOLLGATE_URL` and `TOLLGATE_API_KEY` are read. */
export function configureTollgate(configuration: TollgateConfiguration): void {
  configured = configuration;
}

const ATTEMPTS = 4;
const DEFAULT_TIMEOUT_MS = 10_000;
const LONGEST_PAUSE_MS = 10_000;

/**
 * One request, with its repeats: an answer that never came, a 429 and a 5xx are tried again, after Retry-After where that is
 * said. A write carries the same Idempotency-Key every time, so a repeat of what did take effect changes nothing.
 * `isReplay` tells that an earlier call, not an attempt of this one, had the effect. Throws TollgateError.
 */
export async function request<Answer>(
  path: string,
  write?: { body: unknown; idempotencyKey: string },
): Promise<{ answer: Answer; isReplay: boolean }> {
  const { url, apiKey, accessToken, timeoutMs = DEFAULT_TIMEOUT_MS } = configuration();
  if (write !== undefined && !/^[\x20-\x7e]{1,255}$/.test(write.idempotencyKey)) {
    throw new RangeError('An idempotencyKey is 1 to 255 printable ASCII characters, a UUID for example.');
  }
  for (let attempt = 1; ; attempt++) {
    const credential = accessToken === undefined ? apiKey : await accessToken();
    const sent = fetch(`${url.replace(/\/+$/, '')}${path}`, {
      method: write === undefined ? 'GET' : 'POST',
      headers: {
        ...(credential ? { Authorization: `Bearer ${credential}` } : {}),
        ...(write === undefined ? {} : { 'Content-Type': 'application/json', 'Idempotency-Key': write.idempotencyKey }),
      },
      ...(write === undefined ? {} : { body: JSON.stringify(write.body) }),
      // A redirect would turn a write into a read, and carry the credential to wherever it points.
      redirect: 'error',
      signal: AbortSignal.timeout(timeoutMs),
    }).then(async (response) => ({ response, text: await response.text() }));
    const answer = await sent.catch((cause: unknown) => ({ cause }));
    if ('response' in answer && answer.response.ok) {
      const body = parsed(answer.text);
      if (body !== null) {
        const isReplay = answer.response.headers.get('idempotent-replayed') === 'true' && attempt === 1;
        return { answer: body as Answer, isReplay };
      }
    }
    const retryAfterMs = 'response' in answer ? mayRepeat(answer.response) : 0;
    if (retryAfterMs === null || attempt === ATTEMPTS) throw trouble(answer, write?.idempotencyKey ?? null);
    await pause(Math.max(retryAfterMs, Math.random() * 100 * 2 ** attempt));
  }
}

/** A write of one's own needs a key that nobody else has. */
export function newIdempotencyKey(): string {
  return crypto.randomUUID();
}

function configuration(): TollgateConfiguration {
  if (configured !== undefined) return configured;
  const env = (globalThis as { process?: { env?: Record<string, string | undefined> } }).process?.env ?? {};
  if (!env.TOLLGATE_URL) {
    throw new Error(
      'Tell where Tollgate is: configureTollgate({ url, apiKey }), or TOLLGATE_URL and TOLLGATE_API_KEY.',
    );
  }
  return { url: env.TOLLGATE_URL, ...(env.TOLLGATE_API_KEY ? { apiKey: env.TOLLGATE_API_KEY } : {}) };
}

/** How long to wait before the repeat, in milliseconds; null when a repeat would get the same answer. */
function mayRepeat(response: Response): number | null {
  if (response.status !== 429 && response.status < 500) return null;
  const seconds = Number(response.headers.get('retry-after') ?? 0);
  return Number.isFinite(seconds) ? Math.min(seconds * 1_000, LONGEST_PAUSE_MS) : 0;
}

function trouble(
  answer: { response: Response; text: string } | { cause: unknown },
  idempotencyKey: string | null,
): TollgateError {
  if ('cause' in answer) {
    return new TollgateError(
      {
        code: 'unreachable',
        detail:
          'Tollgate cannot be reached. What the last request did is not known; repeat it under its idempotencyKey.',
        cause: answer.cause,
      },
      idempotencyKey,
    );
  }
  const { response, text } = answer;
  const problem = parsed(text) as Problem | null;
  if (typeof problem?.code === 'string') return new TollgateError(problem, idempotencyKey);
  // Not ours: a proxy's page, for example.
  return new TollgateError(
    {
      code: 'unreachable',
      detail: `Something between here and Tollgate answered ${response.status}, and not in Tollgate's words. Check the url.`,
      cause: undefined,
    },
    idempotencyKey,
  );
}

function parsed(text: string): object | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' ? value : null;
  } catch {
    return null;
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
