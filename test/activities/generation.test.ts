import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { createGeneration, type Generation, GenerationFault, readRetryAfter } from '../../activities/generation.ts';
import { type AiStandIn, startAiStandIn } from '../../dev/aiStandIn.ts';
import { FEATURES, type Feature } from '../../domain/catalog.ts';
import { FEATURE_DEFINITIONS } from '../../domain/features/definitions.ts';
import { until } from '../support/until.ts';

let standIn: AiStandIn;
let generation: Generation;

beforeAll(async () => {
  standIn = await startAiStandIn();
  generation = createGeneration(standIn);
});
afterAll(() => standIn.stop());

const INPUTS: Record<Feature, unknown> = {
  generate_leads: { industry: 'logistics', region: 'Hamburg', count: 3 },
  generate_goal: { industry: 'logistics', horizonMonths: 12 },
  analyze_strategy: { strategy: 'Sell more to those who buy.' },
  forecast_revenue: { product: 'freight', currency: 'EUR', monthlyRevenue: [100, 120], months: 4 },
  generate_insight: { topic: 'returns' },
};

let keys = 0;
const newKey = () => `tollgate:org:job-${keys++}`;
const wish = (directives: string) => ({ industry: `logistics [[stand-in: ${directives}]]`, horizonMonths: 12 });
const callsUnder = (key: string) => standIn.calls().filter((call) => call.idempotencyKey === key);

/** Asks for a goal; `by` is another endpoint's client. */
function ask(
  input: unknown,
  { key = newKey(), by = generation, abortSignal = new AbortController().signal } = {},
): ReturnType<Generation['generate']> {
  return by.generate({ feature: 'generate_goal', input, idempotencyKey: key, abortSignal });
}

async function faultOf(call: Promise<unknown>): Promise<GenerationFault> {
  const outcome = await call.then(
    () => 'answered',
    (error: unknown) => error,
  );
  if (!(outcome instanceof GenerationFault)) throw new Error('expected a GenerationFault', { cause: outcome });
  return outcome;
}

/** A provider of this one test. */
async function provider(handler: RequestListener): Promise<Generation> {
  const server = createServer((request, response) => {
    request.resume().once('end', () => handler(request, response));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return createGeneration({ baseUrl: `http://127.0.0.1:${port}/v1`, apiKey: API_KEY, model: 'some-model' });
}

const GOAL = JSON.stringify({ title: 't', why: 'w', measures: [{ name: 'n', target: 't' }], firstStep: 'f' });
const API_KEY = 'canary-key-5b1e';

/** A completion; the fields given replace those of a good one, and `undefined` leaves a field out. */
function completion(choice: Record<string, unknown> = {}, usage: unknown = { prompt_tokens: 7, completion_tokens: 5 }) {
  const { finish_reason = 'stop', ...message } = { content: GOAL, ...choice };
  return {
    id: 'completion-1',
    object: 'chat.completion',
    created: 1,
    model: 'some-model',
    choices: [{ index: 0, finish_reason, message: { role: 'assistant', ...message } }],
    ...(usage === undefined ? {} : { usage }),
  };
}

const answering =
  (body: unknown, { status = 200, headers = {} }: { status?: number; headers?: Record<string, string> } = {}) =>
  (...[, response]: Parameters<RequestListener>) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
  };

describe('an answer', () => {
  test.each(FEATURES)('of %s fits its schema and carries what it cost', async (feature) => {
    const answer = await generation.generate({
      feature,
      input: INPUTS[feature],
      idempotencyKey: newKey(),
      abortSignal: new AbortController().signal,
    });
    expect(FEATURE_DEFINITIONS[feature].output.parse(answer.result)).toEqual(answer.result);
    expect(JSON.stringify(answer.result)).toContain('Stand-in');
    const { inputTokens, outputTokens, totalTokens } = answer.usage;
    expect(inputTokens).toBeGreaterThan(0);
    expect(outputTokens).toBeGreaterThan(0);
    expect(totalTokens).toBe((inputTokens ?? 0) + (outputTokens ?? 0));
    expect(answer.model).toBe(standIn.model);
    expect(answer.providerRequestId).toMatch(/^stand-in-/);
  });

  test('is asked for under the same idempotency key by every attempt, and never repeated by the client itself', async () => {
    const key = newKey();
    await faultOf(ask(wish('fail 500 x2'), { key }));
    expect(callsUnder(key)).toHaveLength(1);
    await faultOf(ask(wish('fail 500 x2'), { key }));
    await ask(wish('fail 500 x2'), { key });
    expect(callsUnder(key).map(({ attempt, outcome }) => [attempt, outcome])).toEqual([
      [1, 'failed'],
      [2, 'failed'],
      [3, 'answered'],
    ]);
  });

  test('is replayed word for word when the same key is asked again', async () => {
    const key = newKey();
    const first = await ask(INPUTS.generate_goal, { key });
    const second = await ask({ industry: 'another', horizonMonths: 1 }, { key });
    expect(second.result).toEqual(first.result);
    expect(callsUnder(key).map((call) => call.outcome)).toEqual(['answered', 'replayed']);
  });
});

describe('what a failed call means', () => {
  test.each([
    { wish: 'fail 429', code: 'rate_limited', kind: 'retryable', httpStatus: 429 },
    { wish: 'fail 429 retry-after 7', code: 'rate_limited', kind: 'retryable', httpStatus: 429, retryAfterMs: 7_000 },
    {
      wish: 'fail 503 retry-after 3',
      code: 'provider_unavailable',
      kind: 'retryable',
      httpStatus: 503,
      retryAfterMs: 3_000,
    },
    { wish: 'fail 500', code: 'provider_unavailable', kind: 'retryable', httpStatus: 500 },
    { wish: 'fail 408', code: 'provider_timed_out', kind: 'retryable', httpStatus: 408 },
    { wish: 'fail 409', code: 'provider_unavailable', kind: 'retryable', httpStatus: 409 },
    { wish: 'fail 400', code: 'provider_refused', kind: 'final', httpStatus: 400 },
    { wish: 'fail 401', code: 'provider_refused', kind: 'final', httpStatus: 401 },
    { wish: 'fail 403', code: 'provider_refused', kind: 'final', httpStatus: 403 },
    { wish: 'fail 404', code: 'provider_refused', kind: 'final', httpStatus: 404 },
    { wish: 'fail 422', code: 'provider_refused', kind: 'final', httpStatus: 422 },
    { wish: 'cut', code: 'connection_lost', kind: 'retryable', httpStatus: 200 },
  ])('"$wish" is $code, $kind', async ({ wish: directive, ...expected }) => {
    expect(await faultOf(ask(wish(directive)))).toMatchObject({ retryAfterMs: null, usage: null, ...expected });
  });

  test('a wrong API key is final', async () => {
    const stranger = createGeneration({ ...standIn, apiKey: 'wrong' });
    expect(await faultOf(ask(INPUTS.generate_goal, { by: stranger }))).toMatchObject({
      code: 'provider_refused',
      kind: 'final',
      httpStatus: 401,
    });
  });

  test('a provider that asks for patience until a date is given it', async () => {
    const until = new Date(Date.now() + 30_000).toUTCString();
    const by = await provider(answering({}, { status: 429, headers: { 'retry-after': until } }));
    const { kind, retryAfterMs } = await faultOf(ask(INPUTS.generate_goal, { by }));
    expect(kind).toBe('retryable');
    expect(retryAfterMs).toBeGreaterThan(20_000);
    expect(retryAfterMs).toBeLessThanOrEqual(30_000);
  });

  test('a provider that does not listen is asked again', async () => {
    const gone = await startAiStandIn();
    await gone.stop();
    expect(await faultOf(ask(INPUTS.generate_goal, { by: createGeneration(gone) }))).toMatchObject({
      code: 'connection_lost',
      kind: 'retryable',
      httpStatus: null,
      usage: null,
    });
  });

  test('an answer that does not fit is asked for again, and what it cost is known', async () => {
    const fault = await faultOf(ask(wish('garbage')));
    expect(fault).toMatchObject({ code: 'answer_unusable', kind: 'retryable', httpStatus: null });
    expect(fault.usage?.outputTokens).toBeGreaterThan(0);
  });

  test('a stored input that no longer fits is final, without a call', async () => {
    const key = newKey();
    const fault = await faultOf(ask({ industry: 'logistics', horizonMonths: 0 }, { key }));
    expect(fault).toMatchObject({ code: 'input_unusable', kind: 'final', httpStatus: null, usage: null });
    expect(callsUnder(key)).toEqual([]);
  });

  const COST = { inputTokens: 7, outputTokens: 5, totalTokens: 12 };
  test.each([
    ['cut short', { finish_reason: 'length', content: '{"title":"Half a g' }, 'answer_unusable', 'retryable'],
    ['cut short where it happens to fit', { finish_reason: 'length' }, 'answer_unusable', 'retryable'],
    ['cut short before the first word', { finish_reason: 'length', content: '' }, 'answer_unusable', 'retryable'],
    ['empty', { content: '' }, 'answer_unusable', 'retryable'],
    [
      'empty, for a reason of the provider’s own',
      { finish_reason: 'eos', content: null },
      'answer_unusable',
      'retryable',
    ],
    ['JSON that does not fit', { content: '{"title":1}' }, 'answer_unusable', 'retryable'],
    ['filtered', { finish_reason: 'content_filter', content: '' }, 'content_filtered', 'final'],
    ['filtered in mid-sentence', { finish_reason: 'content_filter', content: '{"tit' }, 'content_filtered', 'final'],
    ['filtered where it happens to fit', { finish_reason: 'content_filter' }, 'content_filtered', 'final'],
    ['a refusal', { content: null, refusal: 'I would rather not.' }, 'content_filtered', 'final'],
  ])('an answer that is %s is no result, and its cost is known', async (_, choice, code, kind) => {
    const by = await provider(answering(completion(choice)));
    expect(await faultOf(ask(INPUTS.generate_goal, { by }))).toMatchObject({ code, kind, usage: COST });
  });

  test('an answer without a choice is asked for again', async () => {
    const by = await provider(answering({ ...completion(), choices: [] }));
    expect(await faultOf(ask(INPUTS.generate_goal, { by }))).toMatchObject({
      code: 'answer_unusable',
      kind: 'retryable',
    });
  });
});

describe('usage that the provider did not tell is null, never 0', () => {
  const unknown = {
    inputTokens: null,
    outputTokens: null,
    cachedInputTokens: null,
    reasoningTokens: null,
    totalTokens: null,
  };
  const counts = { prompt_tokens: 7, completion_tokens: 5 };
  test.each([
    ['no usage at all', undefined, unknown],
    ['usage null', null, unknown],
    ['usage empty', {}, unknown],
    ['totals only', counts, { ...unknown, inputTokens: 7, outputTokens: 5, totalTokens: 12 }],
    ['half of it', { prompt_tokens: 7 }, { ...unknown, inputTokens: 7 }],
    ['its own total', { total_tokens: 12 }, { ...unknown, totalTokens: 12 }],
    [
      'a told 0, which stays 0',
      { ...counts, prompt_tokens_details: { cached_tokens: 0 }, completion_tokens_details: { reasoning_tokens: 0 } },
      { inputTokens: 7, outputTokens: 5, cachedInputTokens: 0, reasoningTokens: 0, totalTokens: 12 },
    ],
    [
      'every detail',
      {
        ...counts,
        total_tokens: 13,
        prompt_tokens_details: { cached_tokens: 4 },
        completion_tokens_details: { reasoning_tokens: 2 },
      },
      { inputTokens: 7, outputTokens: 5, cachedInputTokens: 4, reasoningTokens: 2, totalTokens: 13 },
    ],
    ['counts that are none', { prompt_tokens: -1, completion_tokens: 1.5 }, unknown],
  ])('%s', async (_, usage, expected) => {
    // Not through completion's default, which `undefined` would bring back.
    const { usage: __, ...bare } = completion();
    const by = await provider(answering(usage === undefined ? bare : { ...bare, usage }));
    expect((await ask(INPUTS.generate_goal, { by })).usage).toEqual(expected);
  });

  test('in a fault as in an answer', async () => {
    const { usage: _, ...bare } = completion({ content: 'no JSON' });
    const by = await provider(answering(bare));
    expect((await faultOf(ask(INPUTS.generate_goal, { by }))).usage).toEqual(unknown);
  });
});

describe('an abort', () => {
  test('ends the call at the provider, and passes through as it is', async () => {
    const key = newKey();
    const abort = new AbortController();
    const call = ask(wish('hang'), { key, abortSignal: abort.signal });
    call.catch(() => {});
    await until(() => callsUnder(key).length === 1);
    const reason = new Error('the reason itself');
    abort.abort(reason);
    await expect(call).rejects.toBe(reason);
    await until(() => callsUnder(key)[0]?.outcome === 'client_gone');
  });

  test('in the middle of an answer passes through as it is, without the prompt', async () => {
    const by = await provider((_, response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': '4096' }).write('{"id":');
    });
    const abort = new AbortController();
    const halfway = headersArrived();
    const call = ask(INPUTS.generate_goal, { by, abortSignal: abort.signal });
    call.catch(() => {});
    await halfway;
    const reason = new Error('the reason itself');
    abort.abort(reason);
    await expect(call).rejects.toBe(reason);
  });

  test('that came before the call lets no call happen', async () => {
    const key = newKey();
    await expect(ask(INPUTS.generate_goal, { key, abortSignal: AbortSignal.abort('too late') })).rejects.toBe(
      'too late',
    );
    expect(callsUnder(key)).toEqual([]);
  });
});

/** The next headers that this process's fetch reads; by the turn after, the body is being read. */
function headersArrived(): Promise<void> {
  return new Promise((resolve) => {
    const listen = () => {
      unsubscribe('undici:request:headers', listen);
      setImmediate(resolve);
    };
    subscribe('undici:request:headers', listen);
  });
}

describe('S7: no fault repeats the input, the provider’s words or the key', () => {
  const CANARY = 'canary-91d2';
  const input = { industry: `${CANARY}@example.com`, horizonMonths: 12, context: `${CANARY} prompt` };
  const echo = {
    error: { message: `${CANARY} in your prompt, ${API_KEY} in your header`, type: CANARY, code: CANARY },
  };

  const words: [string, RequestListener][] = [
    ...[400, 401, 429, 500].map((status): [string, RequestListener] => [
      `HTTP ${status}`,
      answering(echo, { status, headers: { 'x-request-id': CANARY, 'retry-after': CANARY } }),
    ]),
    ['an answer that does not fit', answering(completion({ content: `${CANARY} ${API_KEY}` }))],
    ['an answer cut short', answering(completion({ content: `"${CANARY}`, finish_reason: 'length' }))],
    ['a filtered answer', answering(completion({ content: CANARY, finish_reason: 'content_filter' }))],
    ['an answer without a choice', answering({ ...completion(), id: CANARY, choices: [] })],
    ['an answer in another protocol', answering({ [CANARY]: API_KEY })],
    ['no JSON at all', (_, response) => response.writeHead(200).end(`<p>${CANARY} ${API_KEY}</p>`)],
    [
      'half an answer',
      (_, response) => {
        response.writeHead(200, { 'content-length': '4096' });
        response.write(`{"${CANARY}":`, () => response.destroy());
      },
    ],
  ];
  test.each(words)('%s', async (_, handler) => {
    expectSilence(await faultOf(ask(input, { by: await provider(handler) })));
  });

  test('an input that does not fit', async () => {
    expectSilence(await faultOf(ask({ ...input, [CANARY]: CANARY })));
  });

  function expectSilence(fault: GenerationFault) {
    const own = Object.getOwnPropertyNames(fault).map((name) => (fault as unknown as Record<string, unknown>)[name]);
    for (const text of [fault.message, fault.stack ?? '', String(fault), JSON.stringify(fault), JSON.stringify(own)]) {
      expect(text).not.toContain(CANARY);
      expect(text).not.toContain(API_KEY);
    }
    expect(fault.cause).toBeUndefined();
  }
});

describe('readRetryAfter', () => {
  const inTheFuture = (ms: number) => new Date(Date.now() + ms).toUTCString();
  test.each([
    ['seconds', '7', 7_000],
    ['seconds with blanks', ' 7 ', 7_000],
    ['a minute', '60', 60_000],
    ['an hour', '3600', 3_600_000],
    ['more than a day: capped', '86401', 86_400_000],
    ['huge: capped', '9'.repeat(400), 86_400_000],
    ['a date beyond a day: capped', inTheFuture(90_000_000), 86_400_000],
    ['a past date', 'Sun, 06 Nov 1994 08:49:37 GMT', null],
    ['now', '0', null],
    ['negative', '-5', null],
    ['a fraction', '1.5', null],
    ['rubbish', 'soon', null],
    ['rubbish with a year in it', 'soon 2099', null],
    ['a weekday without a date', 'Sunday', null],
    ['empty', '', null],
    ['missing', undefined, null],
  ])('%s', (_, header, expected) => {
    expect(readRetryAfter(header)).toBe(expected);
  });

  test('a date in the obsolete form of RFC 850 too', () => {
    const [weekday, day, month, year, time] = inTheFuture(30_000).replace(',', '').split(' ');
    const long = {
      Sun: 'Sunday',
      Mon: 'Monday',
      Tue: 'Tuesday',
      Wed: 'Wednesday',
      Thu: 'Thursday',
      Fri: 'Friday',
      Sat: 'Saturday',
    };
    const header = `${long[weekday as keyof typeof long]}, ${day}-${month}-${year?.slice(2)} ${time} GMT`;
    expect(readRetryAfter(header)).toBeGreaterThan(20_000);
    expect(readRetryAfter(header)).toBeLessThanOrEqual(30_000);
  });
});

test('S8: a redirect is not followed: prompt and key go nowhere but to the configured endpoint', async () => {
  const seen: string[] = [];
  const elsewhere = createServer((request, response) => {
    seen.push(request.url ?? '');
    response.end('{}');
  });
  await new Promise<void>((resolve) => elsewhere.listen(0, '127.0.0.1', resolve));
  const { port } = elsewhere.address() as AddressInfo;
  const redirecting = await provider((_, response) => {
    response.writeHead(307, { location: `http://127.0.0.1:${port}/stolen` }).end();
  });
  const fault = await faultOf(ask({ industry: 'logistics', horizonMonths: 12 }, { by: redirecting }));
  expect(fault).toMatchObject({ code: 'provider_refused', kind: 'final', httpStatus: 307 });
  expect(seen).toEqual([]);
  elsewhere.close();
});
