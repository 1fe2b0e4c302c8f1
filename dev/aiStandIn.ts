import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { answerFor } from './standInAnswers.ts';
import { type Directive, readDirectives } from './standInDirectives.ts';

/**
 * A stand-in for the AI provider: it speaks the OpenAI-compatible protocol over HTTP and answers nonsense that fits, so
 * that everything can be tried without a key or a bill. It names itself a stand-in in whatever it answers. Never a part of
 * the product: only dev/ and the tests start it.
 *
 * Wishes are written into the input of a job: `[[stand-in: fail 500 x2]]` (see standInDirectives.ts).
 */

export interface StandInCall {
  idempotencyKey: string | null;
  /** Counted per idempotency key, from 1. */
  attempt: number;
  startedAt: string;
  endedAt: string | null;
  /** `client_gone`: whoever asked did not wait for the answer. */
  outcome: 'open' | 'answered' | 'replayed' | 'failed' | 'cut' | 'client_gone';
}

export interface AiStandIn {
  /** http://127.0.0.1:PORT/v1 */
  baseUrl: string;
  apiKey: string;
  model: string;
  calls(): StandInCall[];
  /** Lets every call go on that was asked to hold. */
  release(): void;
  stop(): Promise<void>;
}

export const STAND_IN_KEY = 'stand-in-key';
export const STAND_IN_MODEL = 'tollgate-stand-in';
const LARGEST_BODY_BYTES = 1_000_000;

export async function startAiStandIn(options: { port?: number } = {}): Promise<AiStandIn> {
  const calls: StandInCall[] = [];
  const answers = new Map<string, string>();
  const held = new Set<() => void>();
  const release = () => {
    for (const go of held) go();
    held.clear();
  };

  const server = createServer((request, response) => {
    route(request, response).catch(() => response.destroy());
  });

  async function route(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = new URL(request.url ?? '/', 'http://stand-in').pathname;
    switch (`${request.method} ${path}`) {
      case 'GET /stand-in/calls':
        return reply(response, 200, calls);
      case 'DELETE /stand-in/calls':
        calls.length = 0;
        return reply(response, 200, []);
      case 'POST /stand-in/release':
        release();
        return reply(response, 200, {});
      case 'GET /v1/models':
        return reply(response, 200, {
          object: 'list',
          data: [{ id: STAND_IN_MODEL, object: 'model', owned_by: 'tollgate' }],
        });
      case 'POST /v1/chat/completions':
        return complete(request, response);
      default:
        return fail(response, 404, 'The stand-in has no such route.');
    }
  }

  async function complete(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const header = request.headers['idempotency-key'];
    const idempotencyKey = typeof header === 'string' ? header : null;
    const call: StandInCall = {
      idempotencyKey,
      attempt: calls.filter((one) => one.idempotencyKey === idempotencyKey).length + 1,
      startedAt: new Date().toISOString(),
      endedAt: null,
      outcome: 'open',
    };
    calls.push(call);
    const gone = new AbortController();
    const end = (outcome: StandInCall['outcome']) => {
      call.outcome = outcome;
      call.endedAt = new Date().toISOString();
    };
    response.on('close', () => {
      gone.abort();
      if (call.outcome === 'open') end('client_gone');
    });

    if (request.headers.authorization !== `Bearer ${STAND_IN_KEY}`) {
      end('failed');
      return fail(response, 401, 'The key is not the stand-in’s.');
    }
    const asked = readRequest(await readBody(request));
    if (asked === null) {
      end('failed');
      return fail(response, 400, 'A chat completion needs a model and messages.');
    }

    let directives: Directive[];
    try {
      directives = readDirectives(asked.user);
    } catch (error) {
      end('failed');
      return fail(response, 400, (error as Error).message);
    }
    for (const directive of directives) {
      if (directive.times !== null && call.attempt > directive.times) continue;
      const goesOn = await obey(directive, { call, end, response, gone: gone.signal });
      if (!goesOn) return;
    }

    const recorded = idempotencyKey === null ? undefined : answers.get(idempotencyKey);
    if (recorded !== undefined) response.setHeader('Idempotent-Replayed', 'true');
    const content = recorded ?? answerFor(asked.feature, asked.input);
    if (idempotencyKey !== null) answers.set(idempotencyKey, content);
    end(recorded === undefined ? 'answered' : 'replayed');
    reply(response, 200, completion(asked, content));
  }

  /** Answers false when the directive has ended the call. */
  async function obey(
    directive: Directive,
    at: {
      call: StandInCall;
      end: (outcome: StandInCall['outcome']) => void;
      response: ServerResponse;
      gone: AbortSignal;
    },
  ): Promise<boolean> {
    const { end, response, gone } = at;
    switch (directive.verb) {
      case 'fail':
        if (directive.retryAfterSeconds !== null)
          response.setHeader('Retry-After', String(directive.retryAfterSeconds));
        end('failed');
        fail(response, directive.status, 'Asked to fail.');
        return false;
      case 'delay':
        await pause(directive.milliseconds, undefined, { signal: gone }).catch(() => {});
        return !gone.aborted;
      case 'hang':
        await new Promise<void>((resolve) => gone.addEventListener('abort', () => resolve(), { once: true }));
        return false;
      case 'hold':
        await new Promise<void>((resolve) => {
          held.add(resolve);
          gone.addEventListener('abort', () => resolve(), { once: true });
        });
        return !gone.aborted;
      case 'cut':
        end('cut');
        response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': '4096' });
        response.write('{"id":"stand-in-cut","object":"chat.comp', () => response.destroy());
        return false;
      case 'garbage':
        end('answered');
        reply(response, 200, completion({ user: '' }, 'This is no JSON, as asked.'));
        return false;
    }
  }

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    baseUrl: `http://127.0.0.1:${port}/v1`,
    apiKey: STAND_IN_KEY,
    model: STAND_IN_MODEL,
    calls: () => calls.map((call) => ({ ...call })),
    release,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

interface Asked {
  feature: string;
  input: Record<string, unknown>;
  user: string;
}

function readRequest(body: string): Asked | null {
  try {
    const { model, messages } = JSON.parse(body) as {
      model?: unknown;
      messages?: { role: string; content: unknown }[];
    };
    if (typeof model !== 'string' || !Array.isArray(messages) || messages.length === 0) return null;
    const textOf = (role: string) =>
      messages
        .filter((one) => one.role === role)
        .map((one) => textContent(one.content))
        .join('\n');
    const user = textOf('user');
    return {
      feature: /^Feature: ([a-z_]+)\.$/m.exec(textOf('system'))?.[1] ?? '',
      input: parseObject(user),
      user,
    };
  } catch {
    return null;
  }
}

/** A message's content is a string or a list of parts. */
function textContent(content: unknown): string {
  if (typeof content === 'string') return content;
  return Array.isArray(content) ? content.map((part: { text?: string }) => part.text ?? '').join('') : '';
}

function parseObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

function completion(asked: Pick<Asked, 'user'>, content: string) {
  // A rough count, four letters to a token: only that it is never zero matters.
  const prompt_tokens = 40 + Math.ceil(asked.user.length / 4);
  const completion_tokens = Math.ceil(content.length / 4);
  return {
    id: `stand-in-${randomUUID()}`,
    object: 'chat.completion',
    created: Math.floor(Date.now() / 1_000),
    model: STAND_IN_MODEL,
    system_fingerprint: STAND_IN_MODEL,
    choices: [{ index: 0, finish_reason: 'stop', message: { role: 'assistant', content } }],
    usage: { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens },
  };
}

function fail(response: ServerResponse, status: number, message: string): void {
  reply(response, status, { error: { message, type: 'stand_in', code: null, param: null } });
}

function reply(response: ServerResponse, status: number, body: unknown): void {
  if (response.destroyed) return;
  response.writeHead(status, { 'Content-Type': 'application/json' });
  response.end(JSON.stringify(body));
}

async function readBody(request: IncomingMessage): Promise<string> {
  // Or a letter of several bytes that two packets share would be lost.
  request.setEncoding('utf8');
  let body = '';
  for await (const chunk of request) {
    body += chunk;
    if (body.length > LARGEST_BODY_BYTES) throw new Error('too large');
  }
  return body;
}

if (import.meta.main) {
  const standIn = await startAiStandIn({ port: Number(process.env.AI_STAND_IN_PORT ?? 0) });
  console.log(`The AI stand-in listens at ${standIn.baseUrl}`);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => void standIn.stop().then(() => process.exit(0)));
  }
}
