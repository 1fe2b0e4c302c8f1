import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { type AiStandIn, STAND_IN_KEY, STAND_IN_MODEL, startAiStandIn } from '../../dev/aiStandIn.ts';
import { type Directive, readDirectives } from '../../dev/standInDirectives.ts';
import { FEATURES } from '../../domain/catalog.ts';
import { until } from '../support/until.ts';

let standIn: AiStandIn;
beforeAll(async () => {
  standIn = await startAiStandIn();
});
beforeEach(() => fetch(new URL('/stand-in/calls', standIn.baseUrl), { method: 'DELETE' }));
afterAll(() => standIn.stop());

interface Completion {
  id: string;
  model: string;
  system_fingerprint: string;
  choices: { finish_reason: string; message: { content: string } }[];
  usage: { prompt_tokens: number; completion_tokens: number; total_tokens: number };
}

function complete(
  input: object,
  {
    feature = 'generate_goal',
    key = STAND_IN_KEY,
    idempotencyKey = 'one',
    at = standIn.baseUrl,
    signal = null as AbortSignal | null,
  } = {},
): Promise<Response> {
  return fetch(`${at}/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', 'idempotency-key': idempotencyKey },
    body: JSON.stringify({
      model: 'any',
      messages: [
        { role: 'system', content: `Feature: ${feature}.` },
        { role: 'user', content: JSON.stringify(input) },
      ],
    }),
    signal,
  });
}
const wish = (directives: string) => ({ industry: `[[stand-in: ${directives}]]`, horizonMonths: 1 });

describe('directives', () => {
  const fails = (status: number, retryAfterSeconds: number | null = null, times: number | null = null): Directive => ({
    verb: 'fail',
    status,
    retryAfterSeconds,
    times,
  });
  test.each<[string, Directive[]]>([
    ['no wish at all', []],
    ['[[stand-in: ]]', []],
    ['[[stand-in: fail 500]]', [fails(500)]],
    ['[[stand-in: fail 500 x2]]', [fails(500, null, 2)]],
    ['[[stand-in: fail 429 retry-after 3]]', [fails(429, 3)]],
    ['[[stand-in: fail 429 retry-after 3 x1]]', [fails(429, 3, 1)]],
    ['[[stand-in: refuse]]', [fails(400)]],
    ['[[stand-in: refuse x1]]', [fails(400, null, 1)]],
    ['[[stand-in: delay 250]]', [{ verb: 'delay', milliseconds: 250, times: null }]],
    ['[[stand-in: hang]]', [{ verb: 'hang', times: null }]],
    ['[[stand-in: hold x1]]', [{ verb: 'hold', times: 1 }]],
    ['[[stand-in: cut x3]]', [{ verb: 'cut', times: 3 }]],
    ['[[stand-in: garbage]]', [{ verb: 'garbage', times: null }]],
    [
      '[[stand-in: fail 500 x1; cut x2 ;; garbage x3]]',
      [fails(500, null, 1), { verb: 'cut', times: 2 }, { verb: 'garbage', times: 3 }],
    ],
    ['{"industry":"logistics [[stand-in: hang]]","x":"]]"}', [{ verb: 'hang', times: null }]],
    ['[[stand-in fail 500]]', []],
  ])('%s', (text, expected) => {
    expect(readDirectives(text)).toEqual(expected);
  });

  test.each(['explode', 'fail', 'fail soon', 'fail 200', 'fail 5000'])(
    'the wish "%s", which cannot come true, is an error, not a silent success',
    async (directive) => {
      expect(() => readDirectives(`[[stand-in: ${directive}]]`)).toThrow(directive);
      const response = await complete(wish(directive));
      expect(response.status).toBe(400);
      expect(await response.text()).toContain(directive);
      expect(standIn.calls().map((call) => call.outcome)).toEqual(['failed']);
    },
  );
});

describe('over the wire', () => {
  test.each([
    ['fail 503 retry-after 2', 503],
    ['refuse', 400],
  ])('"%s" answers %i in the protocol’s own form of an error', async (directive, status) => {
    const response = await complete(wish(directive));
    expect(response.status).toBe(status);
    expect(response.headers.get('retry-after')).toBe(status === 503 ? '2' : null);
    expect(await response.json()).toMatchObject({ error: { type: 'stand_in' } });
  });

  test('"x2" ends after two calls under the same key, and starts over under another', async () => {
    const statuses = [];
    for (const idempotencyKey of ['a', 'a', 'a', 'b'])
      statuses.push((await complete(wish('fail 500 x2'), { idempotencyKey })).status);
    expect(statuses).toEqual([500, 500, 200, 500]);
    expect(standIn.calls().map((call) => [call.idempotencyKey, call.attempt, call.outcome])).toEqual([
      ['a', 1, 'failed'],
      ['a', 2, 'failed'],
      ['a', 3, 'answered'],
      ['b', 1, 'failed'],
    ]);
  });

  test('wishes come true in their order: each for as many calls as it says', async () => {
    const input = wish('fail 500 x1; cut x2; garbage x3');
    expect((await complete(input, { idempotencyKey: 'order' })).status).toBe(500);
    await expect(complete(input, { idempotencyKey: 'order' }).then((response) => response.text())).rejects.toThrow();
    expect(contentOf(await bodyOf(complete(input, { idempotencyKey: 'order' })))).toBe('This is no JSON, as asked.');
    expect(JSON.parse(contentOf(await bodyOf(complete(input, { idempotencyKey: 'order' }))))).toHaveProperty('title');
  });

  test('"hang" never answers, and notes that the client left', async () => {
    const leave = new AbortController();
    const call = complete(wish('hang'), { signal: leave.signal });
    call.catch(() => {});
    await until(() => standIn.calls().length === 1);
    expect(standIn.calls()[0]).toMatchObject({ outcome: 'open', endedAt: null });
    leave.abort();
    await expect(call).rejects.toThrow();
    expect((await until(() => standIn.calls().find((one) => one.endedAt))).outcome).toBe('client_gone');
  });

  test.each(['in the same process', 'over HTTP'])('"hold" waits until the release %s', async (where) => {
    let answered = false;
    const call = complete(wish('hold'), { idempotencyKey: where }).finally(() => {
      answered = true;
    });
    await until(() => standIn.calls().length === 1);
    // Another call comes and goes: whoever is held is held, not slow.
    expect((await complete(wish(''), { idempotencyKey: `${where}, another` })).status).toBe(200);
    expect(answered).toBe(false);
    expect(standIn.calls()[0]?.outcome).toBe('open');

    if (where === 'over HTTP') await fetch(new URL('/stand-in/release', standIn.baseUrl), { method: 'POST' });
    else standIn.release();
    expect((await call).status).toBe(200);
    expect(standIn.calls()[0]?.outcome).toBe('answered');
  });

  test('"delay" answers, no sooner than asked', async () => {
    const start = performance.now();
    expect((await complete(wish('delay 60'), { idempotencyKey: 'delay' })).status).toBe(200);
    // Timers may fire up to a millisecond early.
    expect(performance.now() - start).toBeGreaterThanOrEqual(59);
  });

  test('the account of calls is the same over HTTP', async () => {
    await complete(wish('refuse'));
    const response = await fetch(new URL('/stand-in/calls', standIn.baseUrl));
    expect(await response.json()).toEqual(standIn.calls());
  });
});

describe('nobody can take it for a real provider', () => {
  test.each(FEATURES)('the answer to %s says so in model, fingerprint, id and text', async (feature) => {
    const input = {
      industry: 'i',
      region: 'r',
      count: 2,
      horizonMonths: 3,
      product: 'p',
      monthlyRevenue: [1],
      months: 2,
      topic: 't',
    };
    const body = await bodyOf(complete(input, { feature, idempotencyKey: `names ${feature}` }));
    expect(body.model).toBe(STAND_IN_MODEL);
    expect(body.model).toContain('stand-in');
    expect(body.system_fingerprint).toContain('stand-in');
    expect(body.id).toMatch(/^stand-in-/);
    for (const text of textsOf(JSON.parse(contentOf(body)))) expect(text).toMatch(/^Stand-in /);
    expect(body.choices[0]?.finish_reason).toBe('stop');
    expect(body.usage.prompt_tokens).toBeGreaterThan(0);
    expect(body.usage.completion_tokens).toBeGreaterThan(0);
  });

  test('its list of models is itself', async () => {
    const { data } = (await (await fetch(`${standIn.baseUrl}/models`)).json()) as { data: { id: string }[] };
    expect(data.map((model) => model.id)).toEqual([STAND_IN_MODEL]);
  });

  /** Every text of an answer but the closed words and figures of its schema. */
  function textsOf(value: unknown, name = ''): string[] {
    if (typeof value === 'string') return ['confidence', 'target'].includes(name) ? [] : [value];
    if (typeof value !== 'object' || value === null) return [];
    return Object.entries(value).flatMap(([key, one]) => textsOf(one, key));
  }
});

describe('it lets nobody in', () => {
  test.each(['wrong', '', `${STAND_IN_KEY}x`])('with the key "%s"', async (key) => {
    const response = await complete(wish(''), { key });
    expect(response.status).toBe(401);
    expect(standIn.calls().map((call) => call.outcome)).toEqual(['failed']);
  });

  test('from another address than 127.0.0.1', async () => {
    const port = Number(new URL(standIn.baseUrl).port);
    const own = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
    // All of 127/8 leads to this machine on Linux: a server that listened everywhere would answer there too.
    const elsewhere = [
      ...own.filter((one) => !one.address.startsWith('fe80')).map((one) => one.address),
      '127.0.0.2',
      '::1',
    ];
    expect(await answersAt('127.0.0.1', port)).toBe(true);
    for (const address of new Set(elsewhere)) {
      if (address !== '127.0.0.1')
        expect({ address, answers: await answersAt(address, port) }).toEqual({ address, answers: false });
    }
  });
});

test.each(['SIGTERM', 'SIGINT'] as const)(
  'as a process it stops on %s with exit code 0, a hanging call or not',
  async (signal) => {
    const child = spawn(process.execPath, [fileURLToPath(new URL('../../dev/aiStandIn.ts', import.meta.url))], {
      env: { ...process.env, AI_STAND_IN_PORT: '0' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    const exited = once(child, 'exit');
    const [line] = (await once(createInterface(child.stdout), 'line')) as [string];
    const at = /listens at (http:\/\/127\.0\.0\.1:\d+\/v1)$/.exec(line)?.[1];
    if (at === undefined) throw new Error(`it said: ${line}`);

    const hanging = complete(wish('hang'), { at });
    hanging.catch(() => {});
    await until(async () => ((await (await fetch(new URL('/stand-in/calls', at))).json()) as unknown[]).length === 1);
    child.kill(signal);
    expect(await exited).toEqual([0, null]);
    await expect(hanging).rejects.toThrow();
  },
);

async function bodyOf(response: Promise<Response>): Promise<Completion> {
  return (await (await response).json()) as Completion;
}

function contentOf(body: Completion): string {
  return body.choices[0]?.message.content ?? '';
}

function answersAt(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 1_000 });
    const end = (answers: boolean) => {
      socket.destroy();
      resolve(answers);
    };
    socket
      .once('connect', () => end(true))
      .once('error', () => end(false))
      .once('timeout', () => end(false));
  });
}
