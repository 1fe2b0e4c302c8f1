import { randomUUID } from 'node:crypto';
import type { Feature } from './demoExpectation.ts';

export interface JobAnswer {
  id: string;
  feature: Feature;
  state: string;
  tokens: number;
  end: { code: string; message: string } | null;
  endedAt: string | null;
}

export interface ProviderCall {
  idempotencyKey: string | null;
  endedAt: string | null;
}

interface Answer {
  status: number;
  headers: Headers;
  body: Record<string, unknown>;
}

/** An app that uses Tollgate, as far as the demo needs one: plain HTTP with an API key, nothing of the inside. */
export class DemoApp {
  readonly organizationId: string;
  readonly #apiUrl: string;
  readonly #providerUrl: string;
  readonly #key: string;

  constructor(apiUrl: string, aiUrl: string, organizationId: string, key: string) {
    this.#apiUrl = apiUrl;
    this.#providerUrl = new URL('/', aiUrl).href;
    this.organizationId = organizationId;
    this.#key = key;
  }

  post(feature: Feature, input: unknown, idempotencyKey: string = randomUUID()): Promise<Answer> {
    return this.#call('POST', '/api/v1/jobs', { feature, input }, { 'Idempotency-Key': idempotencyKey });
  }

  cancel(jobId: string): Promise<Answer> {
    return this.#call('POST', `/api/v1/jobs/${jobId}/cancel`);
  }

  /** The job once it has ended; long polls, each up to 20 s. */
  async ended(jobId: string): Promise<JobAnswer> {
    for (let poll = 0; poll < 6; poll++) {
      const { status, body } = await this.#call('GET', `/api/v1/jobs/${jobId}?wait=20s`);
      if (status !== 200) throw new Error(`GET job answered ${status}: ${JSON.stringify(body)}`);
      if (body.endedAt !== null) return body as unknown as JobAnswer;
    }
    throw new Error(`Job ${jobId} did not end within two minutes.`);
  }

  async run(feature: Feature, input: unknown): Promise<JobAnswer> {
    const { status, body } = await this.post(feature, input);
    if (status !== 202) throw new Error(`POST job answered ${status}: ${JSON.stringify(body)}`);
    return this.ended(String(body.id));
  }

  /** What the stand-in provider says it was asked for this job. */
  async providerCalls(jobId: string): Promise<ProviderCall[]> {
    const response = await fetch(new URL('/stand-in/calls', this.#providerUrl));
    const calls = (await response.json()) as ProviderCall[];
    return calls.filter((call) => call.idempotencyKey?.endsWith(`:${jobId}`));
  }

  /** Lets the calls go on that the stand-in was asked to hold. */
  async releaseProvider(): Promise<void> {
    await fetch(new URL('/stand-in/release', this.#providerUrl), {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: '{}',
    });
  }

  async #call(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    const response = await fetch(new URL(path, this.#apiUrl), {
      method,
      headers: {
        Authorization: `Bearer ${this.#key}`,
        ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return {
      status: response.status,
      headers: response.headers,
      body: (await response.json()) as Record<string, unknown>,
    };
  }
}
