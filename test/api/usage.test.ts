import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { usageLine, usagePage, usageSeries, usageSourceList } from '../../contract/usage.ts';
import { beginJob, commitJob, storeResult } from '../../db/jobs.ts';
import { readAs } from '../../db/tenant.ts';
import { usageSeries as readSeries, usageLines } from '../../db/usage.ts';
import { seededRandom } from '../../dev/seededRandom.ts';
import { parseCsv } from '../support/csv.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { elapse } from '../support/elapse.ts';
import { holderOf } from '../support/holder.ts';
import { expectInvariants } from '../support/invariants.ts';
import { admitTestJob } from '../support/jobWorker.ts';
import { createOrganization, type TestOrganization } from '../support/organization.ts';
import { changesOf, type Line, seriesOf } from '../support/usageOracle.ts';
import { startTestApi, type TestApi } from './testApi.ts';

let database: TestDatabase;
let api: TestApi;
/** What these did is told in `liveAWeek`. */
let organization: TestOrganization;
let other: TestOrganization;

beforeAll(async () => {
  database = await freshDatabase();
  api = await startTestApi(database);
  organization = await createOrganization(database.superuser, 'enterprise');
  other = await createOrganization(database.superuser);
  await liveAWeek();
});
afterAll(async () => {
  await expectInvariants(database.auditor);
  await api.close();
  await database.drop();
});

/** A user of whom a spreadsheet would make a formula, and metadata of an app's own. */
const ANN = '=1+1';
const METADATA = { campaign: 'a "b", c\r\nd', jobId: 'of the app' };

async function liveAWeek() {
  const { superuser, worker } = database;
  const { organizationId } = organization;
  await superuser.query('insert into user_profiles (id, organization_id) values ($1, $2)', [ANN, organizationId]);
  const byKey = holderOf(database.api, organization);
  const byAnn = holderOf(database.api, { ...organization, principal: `user:${ANN}` });
  await byKey.hold('key-1', 7);
  await byKey.capture('key-1', 2, { key: 'part', isLast: false });
  await byKey.capture('key-1', 4, { key: 'rest', isLast: true });
  await elapse(superuser, organizationId, '2 days');
  await byAnn.hold('ann-1', 5, { feature: 'forecast_revenue' });
  await byAnn.capture('ann-1', 5);
  await byKey.refund('key-1.2', 3);
  await elapse(superuser, organizationId, '3 hours');
  await api.call('/api/v1/tokens/check-balance', {
    key: organization.secret,
    json: { organizationId, featureUsed: 'generate_insight', action: 'deduct', metadata: METADATA },
  });
  const jobId = await admitTestJob(database.api, organization);
  await beginJob(worker, organizationId, jobId);
  await storeResult(worker, organizationId, jobId, { title: 'a goal' }, {});
  await commitJob(worker, organizationId, jobId);
  // Delivered, and nothing is left to pay it with: a debt.
  const late = await admitTestJob(database.api, organization);
  await beginJob(worker, organizationId, late);
  await storeResult(worker, organizationId, late, { title: 'a goal' }, {});
  await elapse(superuser, organizationId, '2 days');
  await superuser.query(
    `update ai_tokens set balance = 0 where organization_id = $1 and token_type = 'goal_generation'`,
    [organizationId],
  );
  await commitJob(worker, organizationId, late);
  await holderOf(database.api, other).hold('theirs', 9);
  await holderOf(database.api, other).capture('theirs');
}

const get = (path: string, { secret }: TestOrganization = organization) => api.call(path, { key: secret });

async function raw(path: string) {
  const reply = await fetch(new URL(path, api.url), { headers: { Authorization: `Bearer ${organization.secret}` } });
  expect(reply.status).toBe(200);
  return { headers: reply.headers, text: await reply.text() };
}

const DAY_MS = 86_400_000;
const ago = (ms: number) => new Date(Date.now() - ms).toISOString();
const lastMonth = () => `from=${ago(30 * DAY_MS)}&to=${ago(-DAY_MS)}`;

async function series(query: string) {
  const reply = await get(`/api/v1/usage?${query}`);
  expect(reply.status, reply.text).toBe(200);
  return usageSeries.parse(reply.body);
}

async function wholeLog(query = '') {
  const lines = [];
  for (let cursor: string | null = ''; cursor !== null; ) {
    const reply = await get(`/api/v1/usage/log?limit=2${query}${cursor === '' ? '' : `&cursor=${cursor}`}`);
    expect(reply.status, reply.text).toBe(200);
    const page = usagePage.parse(reply.body);
    lines.push(...page.lines);
    cursor = page.nextCursor;
  }
  return lines;
}

const used = (buckets: { group: string | null; tokens: number; refunded: number; count: number }[]) => {
  const byGroup: Record<string, [number, number, number]> = {};
  for (const { group, tokens, refunded, count } of buckets) {
    const sums = byGroup[String(group)] ?? [0, 0, 0];
    byGroup[String(group)] = sums;
    sums[0] += tokens;
    sums[1] += refunded;
    sums[2] += count;
  }
  return byGroup;
};

describe('a series of usage', () => {
  test.each([
    ['', { null: [15, 3, 6] }],
    [
      '&by=tokenType',
      { lead_generation: [3, 3, 2], forecast: [5, 0, 1], general: [1, 0, 1], goal_generation: [6, 0, 2] },
    ],
    [
      '&by=feature',
      { generate_leads: [3, 3, 2], forecast_revenue: [5, 0, 1], generate_insight: [1, 0, 1], generate_goal: [6, 0, 2] },
    ],
    ['&by=user', { [ANN]: [5, 0, 1], null: [10, 3, 5] }],
    ['&by=feature&user=%3D1%2B1', { forecast_revenue: [5, 0, 1] }],
    ['&by=user&tokenType=forecast&feature=forecast_revenue', { [ANN]: [5, 0, 1] }],
    ['&tokenType=forecast&feature=generate_goal', { null: [0, 0, 0] }],
    ['&by=user&tokenType=forecast&feature=generate_goal', {}],
  ] as const)('%s: net of refunds, which are told apart; count is of charges', async (query, expected) => {
    const { buckets, totals } = await series(`interval=day&${lastMonth()}${query}`);
    const sums = used(buckets);
    expect(sums).toEqual(expected);
    const all = Object.values(sums).reduce((sum, of) => of.map((n, i) => n + sum[i]!) as typeof sum, [0, 0, 0]);
    expect([totals.tokens, totals.refunded, totals.count]).toEqual(all);
  });

  test('by key names its id, and narrowed to it is the same', async () => {
    const keyId = organization.principal.slice(4);
    const byKey = await series(`interval=day&${lastMonth()}&by=key`);
    expect(used(byKey.buckets)).toEqual({ [keyId]: [10, 3, 5], null: [5, 0, 1] });
    const narrowed = await series(`interval=day&${lastMonth()}&key=${keyId}`);
    expect(used(narrowed.buckets)).toEqual({ null: [10, 3, 5] });
  });

  test('adds up to the usage log, and to what the ledger captured, took up as debt and refunded', async () => {
    const { totals } = await series(`interval=hour&${lastMonth()}`);
    const { rows } = await database.superuser.query(
      `select (select sum(l.tokens_deducted)::integer from ai_token_usage_log l where l.organization_id = $1) as logged,
              sum(e.amount) filter (where e.to_account = 'consumed')::integer as consumed,
              sum(e.amount) filter (where e.from_account = 'consumed')::integer as returned
         from tollgate.ledger_entries e where e.organization_id = $1`,
      [organization.organizationId],
    );
    const [{ logged, consumed, returned }] = rows;
    expect([totals.tokens, totals.refunded]).toEqual([logged, returned]);
    expect(totals.tokens + totals.refunded).toBe(consumed);
  });

  test('has every bucket, zeros included, and counts a refund when it was made', async () => {
    const from = ago(10 * DAY_MS);
    const { buckets } = await series(`interval=day&from=${from}&to=${ago(-1)}&tokenType=lead_generation`);
    expect(buckets.length).toBeGreaterThanOrEqual(11);
    expect(Date.parse(buckets[0]!.startsAt)).toBe(Date.parse(from));
    const spent = buckets.filter(({ tokens, refunded }) => tokens !== 0 || refunded !== 0);
    expect(spent.map(({ tokens, refunded, count }) => [tokens, refunded, count])).toEqual([
      [6, 0, 2],
      [-3, 3, 0],
    ]);
  });

  test('is cut in the zone of the organization unless another is named', async () => {
    const cycles = 'update tollgate.billing_cycles set time_zone = $2 where organization_id = $1';
    await database.superuser.query(cycles, [organization.organizationId, 'Asia/Kathmandu']);
    try {
      const days = 'interval=day&from=2025-01-01T00:00:00Z&to=2025-01-02T00:00:00Z';
      expect(await series(days)).toMatchObject({
        timeZone: 'Asia/Kathmandu',
        buckets: [{ startsAt: '2025-01-01T00:00:00.000000Z' }, { startsAt: '2025-01-01T18:15:00.000000Z' }],
      });
      expect(await series(`${days}&timeZone=UTC`)).toMatchObject({
        timeZone: 'UTC',
        buckets: [{ startsAt: '2025-01-01T00:00:00.000000Z' }],
      });
    } finally {
      await database.superuser.query(cycles, [organization.organizationId, 'UTC']);
    }
  });

  test.each([
    ['a day of 23 hours', 'Europe/Berlin', 'hour', '2025-03-29T23:00:00Z', '2025-03-30T22:00:00Z', 23],
    [
      'a day of 25, the hour that comes twice being two',
      'Europe/Berlin',
      'hour',
      '2025-10-25T22:00:00Z',
      '2025-10-26T23:00:00Z',
      25,
    ],
    [
      'a clock that moves by half an hour: 01:30 comes again',
      'Australia/Lord_Howe',
      'hour',
      '2025-04-05T13:00:00Z',
      '2025-04-06T13:30:00Z',
      25,
    ],
    [
      'and is put forward from 02:00 to 02:30',
      'Australia/Lord_Howe',
      'hour',
      '2025-10-04T13:30:00Z',
      '2025-10-05T13:00:00Z',
      24,
    ],
    ['hours that begin at :45 of UTC', 'Asia/Kathmandu', 'hour', '2025-01-01T00:15:00Z', '2025-01-01T02:15:00Z', 2],
    ['days over both changes', 'America/New_York', 'day', '2025-01-01T05:00:00Z', '2026-01-01T05:00:00Z', 365],
    ['a midnight that comes twice', 'America/Havana', 'day', '2025-11-01T04:00:00Z', '2025-11-04T05:00:00Z', 3],
    ['a midnight that is skipped', 'America/Sao_Paulo', 'day', '2018-11-03T03:00:00Z', '2018-11-06T02:00:00Z', 3],
    [
      'a midnight inside the time that is skipped',
      'America/Toronto',
      'day',
      '1919-03-30T05:00:00Z',
      '1919-04-01T04:00:00Z',
      2,
    ],
    ['a day that was skipped', 'Pacific/Apia', 'day', '2011-12-28T10:00:00Z', '2012-01-01T10:00:00Z', 4],
    [
      'a day that came twice, which is one',
      'Pacific/Kwajalein',
      'day',
      '1969-09-29T13:00:00Z',
      '1969-10-02T12:00:00Z',
      2,
    ],
    ['months', 'America/New_York', 'month', '2025-01-01T05:00:00Z', '2026-01-01T05:00:00Z', 12],
  ] as const)('knows %s', async (_, timeZone, interval, from, to, count) => {
    const { buckets } = await series(`interval=${interval}&from=${from}&to=${to}&timeZone=${timeZone}`);
    expect(buckets).toHaveLength(count);
    const oracle = seriesOf([], { timeZone, interval, from: Date.parse(from), to: Date.parse(to), by: null });
    expect(buckets.map(({ startsAt }) => Date.parse(startsAt))).toEqual(oracle.map(({ startsAt }) => startsAt));
  });

  test('equals an independent oracle, over random zones and instants', async () => {
    const ZONES = [
      ...['UTC', 'Europe/Berlin', 'America/New_York', 'America/Havana', 'America/Sao_Paulo', 'America/Santiago'],
      ...['Asia/Beirut', 'Africa/Cairo', 'Asia/Kathmandu', 'Australia/Lord_Howe', 'Antarctica/Troll', 'Pacific/Apia'],
      ...[
        'Africa/Casablanca',
        'America/Asuncion',
        'America/Nuuk',
        'Pacific/Chatham',
        'Atlantic/Azores',
        'America/Scoresbysund',
      ],
    ];
    const changes = Object.fromEntries(
      ZONES.map((zone) => [zone, changesOf(zone, Date.UTC(2011, 10, 1), Date.UTC(2024, 0, 1))]),
    );
    const moments = Object.values(changes).flat();
    const random = seededRandom(6);
    const pick = <T>(of: readonly T[]): T => of[Math.floor(random() * of.length)]!;
    const planted = await createOrganization(database.superuser);
    const lines: Line[] = Array.from({ length: 4_000 }, () => ({
      at: pick(moments) + Math.round((random() - 0.5) * 4 * DAY_MS),
      feature: pick(['generate_goal', 'generate_leads', 'analyze_strategy']),
      tokens: Math.ceil(random() * 9) * (random() < 0.2 ? -1 : 1),
      user: pick(['ann', 'bob', null]),
    }));
    // A quarter at the changes themselves, and in the millisecond before.
    for (const line of lines.slice(0, 1_000)) line.at = pick(moments) - Math.floor(random() * 2);
    await database.superuser.query(
      `insert into ai_token_usage_log (organization_id, user_id, feature_used, tokens_deducted, created_at, token_type, charge_id, principal)
       select $1, u.user_id, u.feature, u.tokens, to_timestamp(u.at / 1000.0), 'general', 'planted.1', 'sql:planted'
         from unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[]) as u (user_id, feature, tokens, at)`,
      [
        planted.organizationId,
        lines.map(({ user }) => user),
        lines.map(({ feature }) => feature),
        lines.map(({ tokens }) => tokens),
        lines.map(({ at }) => at),
      ],
    );
    try {
      await fc.assert(
        fc.asyncProperty(
          fc.constantFrom(...ZONES),
          fc.constantFrom('hour', 'day', 'month'),
          fc.constantFrom('feature', 'user', null),
          fc.nat(),
          fc.integer({ min: -3 * DAY_MS, max: 3 * DAY_MS }),
          fc.double({ min: 0.001, max: 1, noNaN: true }),
          async (timeZone, interval, by, at, shift, length) => {
            const most = { hour: 6 * DAY_MS, day: 60 * DAY_MS, month: 500 * DAY_MS }[interval];
            const near = changes[timeZone]!.length > 0 ? changes[timeZone]! : moments;
            const from = near[at % near.length]! + Math.round(shift / 60_000) * 60_000;
            const to = from + Math.max(1, Math.round(length * most));
            const answer = await readSeries(database.api, {
              organizationId: planted.organizationId,
              ...{ timeZone, interval, by: by ?? undefined, mostBuckets: 1_000, mostGroups: 50 },
              ...{ from: new Date(from).toISOString(), to: new Date(to).toISOString() },
            });
            if (typeof answer === 'string') throw new Error(answer);
            const buckets = answer.buckets.map((bucket) => ({ ...bucket, startsAt: Date.parse(bucket.startsAt) }));
            expect(buckets).toEqual(seriesOf(lines, { timeZone, interval, from, to, by }));
          },
        ),
        { numRuns: 100 },
      );
    } finally {
      await forget(planted);
    }
  });

  const A_DAY = 'interval=day&from=2025-01-01T00:00:00Z&to=2025-01-02T00:00:00Z';
  const ZONELESS = ['CET', '%2B02:00', 'Mars/Olympus', 'Europe/Berlin%00', '../etc/passwd', ''];
  test.each<[string, string, RegExp]>([
    ['interval=hour&from=2025-01-01T00:00:00Z&to=2025-02-11T16:00:00.000001Z', 'interval', /more than 1000 buckets/],
    ['interval=day&from=0001-01-01T00:00:00Z&to=9999-12-31T23:59:59Z', 'interval', /longer interval/],
    ['interval=day&from=2025-01-02T00:00:00Z&to=2025-01-02T00:00:00Z', 'to', /after from/],
    ['interval=week&from=2025-01-01T00:00:00Z&to=2025-01-02T00:00:00Z', 'interval', /./],
    ['interval=day&from=0000-01-01T00:00:00Z&to=2025-01-02T00:00:00Z', 'from', /year 0/],
    [`interval=day&from=2025-01-01T00:00:00.${'1'.repeat(300)}Z&to=2025-01-02T00:00:00Z`, 'from', /nine digits/],
    ['interval=day&from=2025-01-01T00:00:00Z&to=9999-12-31T23:59:59.9999995Z', 'to', /year 10000/],
    ['interval=day&from=yesterday&to=2025-01-02T00:00:00Z', 'from', /instant in UTC/],
    ['interval=day&to=2025-01-02T00:00:00Z', 'from', /./],
    ...ZONELESS.map((zone): [string, string, RegExp] => [`${A_DAY}&timeZone=${zone}`, 'timeZone', /IANA/]),
    ['interval=day&from=2025-01-01T00:00:00Z&to=2025-01-02T00:00:00Z&user=%00', 'user', /NUL/],
    ['interval=day&from=2025-01-01T00:00:00Z&to=2025-01-02T00:00:00Z&by=weekday', 'by', /./],
    ['interval=day&interval=hour&from=2025-01-01T00:00:00Z&to=2025-01-02T00:00:00Z', 'interval', /./],
    ['interval=day&from=2025-01-01T00:00:00Z&to=2025-01-02T00:00:00Z&plan=pro', 'plan', /./],
  ])('%s is refused, with what to change', async (query, path, message) => {
    const reply = await get(`/api/v1/usage?${query}`);
    expect(reply.status).toBe(400);
    expect(reply.body).toMatchObject({
      code: 'invalid_request',
      errors: [{ path, message: expect.stringMatching(message) }],
    });
  });

  test('of just 1,000 buckets is answered, of 51 groups it is refused and of 50 answered', async () => {
    const hours = await series('interval=hour&from=2025-01-01T00:00:00Z&to=2025-02-11T16:00:00Z');
    expect(hours.buckets).toHaveLength(1_000);
    const crowded = await createOrganization(database.superuser);
    await database.superuser.query(
      `insert into ai_token_usage_log (organization_id, user_id, feature_used, tokens_deducted, created_at, token_type, charge_id, principal)
       select $1, 'user-' || n, 'generate_goal', 1, '2025-01-01'::timestamptz + n * interval '1 hour', 'general', 'planted.1', 'user:' || n
         from generate_series(0, 50) n`,
      [crowded.organizationId],
    );
    try {
      const byUser = (to: string) =>
        get(`/api/v1/usage?interval=day&by=user&from=2024-12-31T00:00:00Z&to=${to}`, crowded);
      const reply = await byUser('2025-01-09T00:00:00Z');
      expect(reply.body).toMatchObject({
        errors: [{ path: 'by', message: expect.stringMatching(/more than 50 groups/) }],
      });
      expect((await byUser('2025-01-03T02:00:00Z')).status).toBe(200);
    } finally {
      await forget(crowded);
    }
  });

  test('as CSV is one header row and the buckets, texts made inert', async () => {
    const { text, headers } = await raw(`/api/v1/usage?interval=month&by=user&${lastMonth()}&format=csv`);
    expect(headers.get('content-type')).toBe('text/csv; charset=utf-8; header=present');
    expect(headers.get('content-disposition')).toBe('attachment; filename="usage.csv"');
    const [names, ...rows] = parseCsv(text);
    expect(names).toEqual(['startsAt', 'group', 'tokens', 'refunded', 'count']);
    const { buckets } = await series(`interval=month&by=user&${lastMonth()}`);
    expect(rows.map((row) => [row[1], row[2]])).toEqual(
      buckets.map(({ group, tokens }) => [group === null ? '' : `'${group}`, String(tokens)]),
    );
  });
});

describe('the usage log', () => {
  test('has every charge and refund, oldest first or newest, in pages that meet', async () => {
    const oldest = await wholeLog('&order=oldest');
    expect(oldest.map(({ feature, tokens, chargeId }) => [feature, tokens, chargeId.slice(0, 5)])).toEqual([
      ['generate_leads', 2, 'key-1'],
      ['generate_leads', 4, 'key-1'],
      ['forecast_revenue', 5, 'ann-1'],
      ['generate_leads', -3, 'key-1'],
      ['generate_insight', 1, expect.any(String)],
      ['generate_goal', 3, expect.any(String)],
      ['generate_goal', 3, 'debt:'],
    ]);
    expect(await wholeLog()).toEqual(oldest.toReversed());
    const { rows } = await database.superuser.query(
      'select id from ai_token_usage_log where organization_id = $1 order by id',
      [organization.organizationId],
    );
    expect(oldest.map(({ id }) => id)).toEqual(rows.map(({ id }) => id));
  });

  test('says who, for which hold and job, and gives metadata back as the app sent it', async () => {
    const [first, , ann, refund, app, job, debt] = await wholeLog('&order=oldest');
    const key = organization.principal.slice(4);
    expect(first).toMatchObject({ user: null, key, holdId: 'key-1', chargeId: 'key-1.1', jobId: null, metadata: {} });
    expect(ann).toMatchObject({ user: ANN, key: null, holdId: 'ann-1' });
    expect(refund).toMatchObject({ tokens: -3, key, holdId: 'key-1', chargeId: 'key-1.2' });
    // The app's own word is no job's id.
    expect(app).toMatchObject({ metadata: METADATA, jobId: null });
    expect(job).toMatchObject({ jobId: expect.stringMatching(/^[0-9a-f-]{36}$/), holdId: job!.jobId });
    expect(debt).toMatchObject({ holdId: null, chargeId: `debt:${debt!.jobId}` });
  });

  test('is narrowed by times and by every filter', async () => {
    const lines = await wholeLog('&order=oldest');
    const middle = lines[2]!.at;
    expect(await wholeLog(`&order=oldest&from=${middle}`)).toEqual(lines.slice(2));
    expect(await wholeLog(`&order=oldest&to=${middle}`)).toEqual(lines.slice(0, 2));
    expect(await wholeLog('&order=oldest&feature=generate_leads')).toEqual([lines[0], lines[1], lines[3]]);
    expect(await wholeLog('&tokenType=forecast')).toEqual([lines[2]]);
    expect(await wholeLog('&user=%3D1%2B1')).toEqual([lines[2]]);
    expect(await wholeLog(`&key=${organization.principal.slice(4)}&tokenType=general`)).toEqual([lines[4]]);
  });

  test('pages meet also where one instant has more lines than a page', async () => {
    const holder = holderOf(database.api, other);
    for (const id of ['same-1', 'same-2', 'same-3', 'same-4', 'same-5']) {
      await holder.hold(id, 1, { feature: 'analyze_strategy' });
      await holder.capture(id);
    }
    await asReplica(
      `update ai_token_usage_log set created_at = '2026-01-01' where organization_id = '${other.organizationId}'`,
    );
    for (const order of ['oldest', 'newest'] as const) {
      const seen: number[] = [];
      for (let after = null as { at: string; id: number } | null; ; ) {
        const lines = await usageLines(database.api, { organizationId: other.organizationId, order, after, limit: 2 });
        seen.push(...lines.map(({ id }) => id));
        if (lines.length < 2) break;
        after = lines.at(-1)!;
      }
      expect(seen).toHaveLength(6);
      expect(seen).toEqual([...new Set(seen)].sort((a, b) => (order === 'oldest' ? a - b : b - a)));
    }
  });

  test('takes no cursor of another list, and no damaged one', async () => {
    const { body } = await get('/api/v1/usage/log?limit=2');
    for (const path of [
      `limit=2&order=oldest&cursor=${body.nextCursor}`,
      `limit=2&feature=generate_goal&cursor=${body.nextCursor}`,
      `limit=2&from=2025-01-01T00:00:00Z&cursor=${body.nextCursor}`,
      `limit=2&cursor=${body.nextCursor.slice(0, -3)}`,
      'cursor=x',
    ]) {
      expect((await get(`/api/v1/usage/log?${path}`)).body).toMatchObject({ errors: [{ path: 'cursor' }] });
    }
    expect((await get(`/api/v1/usage/log?limit=2&cursor=${body.nextCursor}`, other)).status).toBe(400);
  });

  test('as JSON Lines is the same lines, over many pages', async () => {
    const { text, headers } = await raw('/api/v1/usage/log/export?format=jsonl');
    expect(headers.get('content-type')).toBe('application/jsonl');
    const lines = text
      .trimEnd()
      .split('\n')
      .map((line) => usageLine.parse(JSON.parse(line)));
    expect(lines).toEqual(await wholeLog('&order=oldest'));

    const busy = await createOrganization(database.superuser);
    await database.superuser.query(
      `insert into ai_token_usage_log (organization_id, feature_used, tokens_deducted, created_at, token_type, charge_id, principal)
       select $1, 'generate_goal', 1, '2025-01-01'::timestamptz + n / 3 * interval '1 second', 'general', 'planted.1', 'key:k'
         from generate_series(1, 2500) n`,
      [busy.organizationId],
    );
    try {
      const reply = await fetch(new URL('/api/v1/usage/log/export?format=csv&to=2025-01-01T00:13:20Z', api.url), {
        headers: { Authorization: `Bearer ${busy.secret}` },
      });
      const [, ...rows] = parseCsv(await reply.text());
      expect(rows).toHaveLength(2_399);
      expect(new Set(rows.map(([id]) => id)).size).toBe(2_399);
    } finally {
      await forget(busy);
    }
  });

  test('as CSV makes texts inert and leaves numbers numbers', async () => {
    const { text, headers } = await raw('/api/v1/usage/log/export?format=csv');
    expect(headers.get('content-disposition')).toBe(
      `attachment; filename="usage-log-${organization.organizationId}.csv"`,
    );
    const [names, ...rows] = parseCsv(text);
    expect(names).toEqual([
      ...['id', 'at', 'feature', 'tokenType', 'tokens', 'user', 'key', 'chargeId', 'holdId', 'jobId', 'metadata'],
    ]);
    const lines = await wholeLog('&order=oldest');
    expect(rows.map((row) => row[4])).toEqual(lines.map(({ tokens }) => String(tokens)));
    expect(rows[2]![5]).toBe(`'${ANN}`);
    expect(JSON.parse(rows[4]![10]!)).toEqual(METADATA);
    expect(rows[0]![9]).toBe('');
  });
});

describe('why these tokens', () => {
  test('names the grants that paid, or that were paid back, and they add up to the line', async () => {
    for (const { id, tokens, chargeId, tokenType } of await wholeLog()) {
      const reply = await get(`/api/v1/usage/${id}/sources`);
      const { sources, ...line } = usageSourceList.parse(reply.body);
      expect(line).toEqual({ usageId: id, chargeId, tokenType, tokens });
      if (chargeId.startsWith('debt:')) expect(sources).toEqual([]);
      else expect(sources.reduce((sum, source) => sum + source.tokens, 0)).toBe(tokens);
    }
  });

  test('is not told of other organizations’ lines, nor of none', async () => {
    const [line] = await wholeLog();
    for (const id of [line!.id, '0', '-1', 'x', '999999999999999', '99999999999999999999']) {
      const reply = await get(`/api/v1/usage/${id}/sources`, other);
      expect([reply.status, reply.body.code]).toEqual([404, 'usage_not_found']);
    }
  });
});

test('no read walks the lines of other organizations, however many there are', async () => {
  const neighbour = await createOrganization(database.superuser);
  await database.superuser.query(
    `insert into ai_token_usage_log (organization_id, feature_used, tokens_deducted, token_type, charge_id, principal)
     select $1, 'generate_goal', 1, 'general', 'planted.1', 'key:k' from generate_series(1, 5000)`,
    [neighbour.organizationId],
  );
  const [from, to] = [ago(30 * DAY_MS), ago(-DAY_MS)];
  const reads = [
    [`select * from tollgate.usage_series($1, $2, $3, array[$2::timestamptz], 'feature', null, null, null, null)`, 7],
    [`select * from tollgate.list_usage($1, true,  $2, $3, null, null, null, null, null, null, 4)`, 4],
    [`select * from tollgate.list_usage($1, false, $2, $3, null, null, null, null, null, null, 4)`, 4],
  ] as const;
  try {
    // Both before the first analyze and after it.
    for (const analyze of ['select 1', 'analyze ai_token_usage_log']) {
      await database.superuser.query(analyze);
      for (const [read, atMost] of reads) {
        const walked = await readAs(database.api, [organization.organizationId], async (client) => {
          const counted = `select seq_scan, idx_tup_fetch from pg_stat_xact_user_tables where relid = 'public.ai_token_usage_log'::regclass`;
          const before = (await client.query(counted)).rows[0];
          await client.query(read, [organization.organizationId, from, to]);
          const after = (await client.query(counted)).rows[0];
          return [after.seq_scan - before.seq_scan, after.idx_tup_fetch - before.idx_tup_fetch];
        });
        expect(walked[0], read).toBe(0);
        // A line more may be looked at to see whether it has the same instant.
        expect(walked[1], read).toBeLessThanOrEqual(atMost + 1);
        expect(walked[1], read).toBeGreaterThan(0);
      }
    }
  } finally {
    await forget(neighbour);
  }
});

test('another organization sees nothing of it', async () => {
  const { body } = await get(`/api/v1/usage?interval=day&by=user&${lastMonth()}&user=%3D1%2B1`, other);
  expect(body.totals).toEqual({ tokens: 0, refunded: 0, count: 0 });
  expect((await get('/api/v1/usage/log?user=%3D1%2B1', other)).body.lines).toEqual([]);
});

test('the guide’s lines run, and do what it says', async () => {
  const guide = await readFile(new URL('../../docs/guides/USAGE.md', import.meta.url), 'utf8');
  const script = [...guide.matchAll(/```sh\n(.*?)```/gs)].map(([, text]) => text!.replace(' > usage.csv', ''));
  const [newest] = await wholeLog('&feature=generate_leads');
  const answers: string[] = [];
  for (const lines of script) {
    const { stdout } = await promisify(execFile)('sh', ['-euc', lines], {
      env: {
        ...process.env,
        ...{ TOLLGATE_URL: api.url, TOLLGATE_KEY: organization.secret, ORGANIZATION_ID: organization.organizationId },
        ...{ FROM: ago(30 * DAY_MS), TO: ago(-DAY_MS), USAGE_ID: String(newest!.id) },
      },
    });
    answers.push(stdout);
  }
  const [chart, log, csv, sources, retention, ...more] = answers;
  expect(more).toEqual([]);
  expect(JSON.parse(chart!)).toMatchObject({
    timeZone: 'Europe/Berlin',
    totals: { tokens: 15, refunded: 3, count: 6 },
  });
  expect(JSON.parse(log!).lines[0]).toEqual(newest);
  expect(parseCsv(csv!)).toHaveLength(8);
  expect(JSON.parse(sources!)).toMatchObject({ usageId: newest!.id, tokens: newest!.tokens });
  expect(JSON.parse(retention!)).toEqual({ promptDays: 30, resultDays: 365, idempotencyDays: 90 });
});

/** Takes planted lines away: no charge stands behind them. */
const forget = ({ organizationId }: TestOrganization) =>
  asReplica(`delete from ai_token_usage_log where organization_id = '${organizationId}'`);

async function asReplica(sql: string) {
  const client = await database.superuser.connect();
  try {
    await client.query(`begin; set local session_replication_role = 'replica'; ${sql}; commit`);
  } finally {
    client.release();
  }
}
