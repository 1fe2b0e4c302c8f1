import type { Problem } from '../contract/problems.ts';
import { backOffMs, now, pause } from './backOff.ts';
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
  /** How long one call may take with all its repeats and pauses, in milliseconds. Default 60,000. */
  deadlineMs?: number;
  /** How often one call is tried at most. Default 4. */
  attempts?: number;
  /** The longest pause before the first repeat, in milliseconds; it doubles with each. Default 200. */
  backOffMs?: number;
}

/** Of one call. */
export interface CallOptions {
  /** Yours instead of one that is made for this call: 1 to 255 printable ASCII characters. */
  idempotencyKey?: string | undefined;
  /** Ends the call with the signal's reason. What was sent may have taken effect all the same. */
  signal?: AbortSignal | undefined;
  deadlineMs?: number | undefined;
  /** Of an operator's call: why. It is kept in the audit log. */
  reason?: string | undefined;
}

/** A request as it is sent. */
export interface Sending extends CallOptions {
  method: string;
  /** With its parameters filled in, and its query. */
  path: string;
  body?: unknown;
  /** A second arrival changes nothing: a read, a write under a key, or one that is by nature the same done twice. */
  isRepeatable: boolean;
  timeoutMs?: number;
  attempts?: number;
  /** Answers the Response, its body not yet read, where that is no JSON. */
  isDownload?: boolean;
  /** A 503 with another body than a problem's is an answer here. */
  isAnsweredBy503?: boolean;
  /** A removal: a repeat that finds nothing there any more has what it wanted. */
  isDoneWhenGone?: boolean;
}

export interface Connection {
  /**
   * One request, with its repeats: an answer that never came, a 429 and a 5xx are tried again, after Retry-After where that is said.
   * A write carries the same Idempotency-Key every time. `isReplay` tells that an earlier call, not an attempt of this one, had the
   * effect. Throws TollgateError, or the reason of the caller's signal.
   */
  send<Answer>(sending: Sending): Promise<{ answer: Answer; isReplay: boolean }>;
}

const LONGEST_BACK_OFF_MS = 10_000;

export function connect(configuration: TollgateConfiguration): Connection {
  const { timeoutMs = 10_000, deadlineMs = 60_000, attempts = 4, backOffMs: firstBackOffMs = 200 } = configuration;
  return {
    send: async <Answer>(sending: Sending) => {
      const { signal, idempotencyKey, isRepeatable } = sending;
      checkKey(idempotencyKey);
      const giveUpAt = now() + (sending.deadlineMs ?? deadlineMs);
      for (let attempt = 1; ; attempt++) {
        signal?.throwIfAborted();
        const patienceMs = Math.min(sending.timeoutMs ?? timeoutMs, giveUpAt - now());
        const arrived = await attemptOnce(configuration, sending, patienceMs);
        if ('answer' in arrived) {
          return { answer: arrived.answer as Answer, isReplay: arrived.isReplay && attempt === 1 };
        }
        signal?.throwIfAborted();
        const { error, retryAfterMs } = arrived;
        if (sending.isDoneWhenGone && attempt > 1 && error.status === 404) {
          return { answer: undefined as Answer, isReplay: false };
        }
        // A 429 was turned away at the door. Of anything else it is not known what it did.
        const mayRepeat = retryAfterMs !== null && (isRepeatable || error.status === 429);
        if (!mayRepeat || attempt >= (sending.attempts ?? attempts)) throw error;
        const pauseMs = Math.max(retryAfterMs, backOffMs(attempt - 1, firstBackOffMs, LONGEST_BACK_OFF_MS));
        if (now() + pauseMs >= giveUpAt) throw error;
        await pause(pauseMs, signal);
      }
    },
  };
}

/** A write of one's own needs a key that nobody else has. */
export function newIdempotencyKey(): string {
  return crypto.randomUUID();
}

/** `retryAfterMs`: how long to wait before the repeat; null when a repeat would get the same answer. */
type Arrived = { answer: unknown; isReplay: boolean } | { error: TollgateError; retryAfterMs: number | null };

async function attemptOnce(
  { url, apiKey, accessToken }: TollgateConfiguration,
  { method, path, body, idempotencyKey, reason, signal, isDownload, isAnsweredBy503 }: Sending,
  patienceMs: number,
): Promise<Arrived> {
  const credential = accessToken === undefined ? apiKey : await accessToken();
  // AbortSignal.timeout would go on counting while a download is read.
  const overdue = new AbortController();
  const timer = setTimeout(() => overdue.abort(new DOMException('No answer in time.', 'TimeoutError')), patienceMs);
  try {
    const response = await fetch(`${url.replace(/\/+$/, '')}${path}`, {
      method: method.toUpperCase(),
      headers: {
        ...(credential ? { Authorization: `Bearer ${credential}` } : {}),
        ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
        ...(idempotencyKey === undefined ? {} : { 'Idempotency-Key': idempotencyKey }),
        ...(reason === undefined ? {} : { 'Tollgate-Reason': reason }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      // A redirect would turn a write into a read, and carry the credential to wherever it points.
      redirect: 'error',
      signal: signal === undefined ? overdue.signal : AbortSignal.any([overdue.signal, signal]),
    });
    const isReplay = response.headers.get('idempotent-replayed') === 'true';
    if (isDownload && response.ok) return { answer: response, isReplay };
    const text = await response.text();
    if (response.status === 204) return { answer: undefined, isReplay };
    const answer = parsed(text);
    const isAnswer =
      response.ok || (isAnsweredBy503 && response.status === 503 && answer !== null && !('code' in answer));
    if (isAnswer && answer !== null) return { answer, isReplay };
    return { error: trouble(response, answer, idempotencyKey ?? null), retryAfterMs: retryAfterMs(response) };
  } catch (cause) {
    const detail =
      'Tollgate cannot be reached. What the last request did is not known; repeat it under its idempotencyKey.';
    const error = new TollgateError(
      { code: 'unreachable', detail, cause, isOutage: true },
      { idempotencyKey: idempotencyKey ?? null },
    );
    return { error, retryAfterMs: 0 };
  } finally {
    clearTimeout(timer);
  }
}

function retryAfterMs({ status, headers }: Response): number | null {
  if (status !== 408 && status !== 429 && status < 500) return null;
  const said = headers.get('retry-after');
  if (said === null) return 0;
  const seconds = Number(said);
  if (Number.isFinite(seconds)) return Math.max(0, seconds * 1_000);
  // A date: by the clock of whoever wrote it, where that is told.
  const wait = Date.parse(said) - (Date.parse(headers.get('date') ?? '') || Date.now());
  return Number.isFinite(wait) ? Math.max(0, wait) : 0;
}

function trouble(response: Response, answer: object | null, idempotencyKey: string | null): TollgateError {
  const problem = answer as Partial<Problem> | null;
  if (typeof problem?.code === 'string' && typeof problem.detail === 'string') {
    return new TollgateError(problem as Problem, { idempotencyKey });
  }
  // Not ours: a proxy's page, for example.
  return new TollgateError(
    {
      code: 'unreachable',
      detail: `Something between here and Tollgate answered ${response.status}, and not in Tollgate's words. Check the url.`,
      isOutage: [502, 503, 504].includes(response.status),
    },
    { idempotencyKey },
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

function checkKey(idempotencyKey: string | undefined): void {
  if (idempotencyKey === undefined || /^[\x20-\x7e]{1,255}$/.test(idempotencyKey)) return;
  throw new RangeError('An idempotencyKey is 1 to 255 printable ASCII characters, a UUID for example.');
}
