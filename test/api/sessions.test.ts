import { createHmac } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { createSessions, type SessionBounds, type SessionConfig, type Sessions } from '../../api/sessions.ts';
import { type AuthStandIn, type SessionWish, type StandInAlgorithm, startAuthStandIn } from '../../dev/authStandIn.ts';

let auth: AuthStandIn;
beforeAll(async () => {
  auth = await startAuthStandIn();
});
beforeEach(() => {
  auth.failWith(null);
  auth.nameUser(null);
});
afterAll(() => auth.stop());

const USER = '5a0f8f7e-9c39-4b7c-9b52-0d6f0c9f3a51';
const SIGNED_IN = { outcome: 'signed_in', userId: USER };
const REFUSED = { outcome: 'refused' };

/** The three ways to know a session. A configuration per way, and what its project signs with. */
const PATHS: { name: string; algorithm: StandInAlgorithm; config: () => SessionConfig }[] = [
  { name: 'published keys, ES256', algorithm: 'ES256', config: () => configOf({}) },
  { name: 'published keys, RS256', algorithm: 'RS256', config: () => configOf({}) },
  { name: 'the shared secret', algorithm: 'HS256', config: () => configOf({ SUPABASE_JWT_SECRET: auth.jwtSecret }) },
  { name: 'the user endpoint', algorithm: 'HS256', config: () => configOf({ SUPABASE_ANON_KEY: auth.anonKey }) },
];

function configOf(fields: Partial<SessionConfig>): SessionConfig {
  return {
    SUPABASE_URL: auth.url,
    NEXT_PUBLIC_SUPABASE_URL: undefined,
    SUPABASE_JWT_SECRET: undefined,
    SUPABASE_ANON_KEY: undefined,
    NEXT_PUBLIC_SUPABASE_ANON_KEY: undefined,
    ...fields,
  };
}

const inSeconds = (seconds: number) => Math.floor(Date.now() / 1_000) + seconds;
const base64url = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
const parts = (token: string) => token.split('.') as [string, string, string];
const bodyOf = (token: string) => JSON.parse(Buffer.from(parts(token)[1], 'base64url').toString());

describe.each(PATHS)('by $name', ({ algorithm, config }) => {
  let sessions: Sessions;
  beforeAll(() => {
    sessions = createSessions(config());
  });
  const issue = (claims: SessionWish['claims'] = {}) => auth.issueToken({ userId: USER, algorithm, claims });
  const verdictOn = async (claims: SessionWish['claims']) => sessions.verify(await issue(claims));

  test('a session of the project is taken for its user', async () => {
    expect(await sessions.verify(await issue())).toEqual(SIGNED_IN);
    expect(await verdictOn({ aud: ['other', 'authenticated'] })).toEqual(SIGNED_IN);
  });

  test.each<[string, SessionWish['claims']]>([
    ['expired', { exp: inSeconds(-60) }],
    ['without an expiry', { exp: undefined }],
    ['with a text for its expiry', { exp: '9999999999' }],
    ['not yet valid', { nbf: inSeconds(600) }],
    ['for another audience', { aud: 'somebody-else' }],
    ['without an audience', { aud: undefined }],
    ['of another issuer', { iss: 'https://other.supabase.co/auth/v1' }],
    ['without an issuer', { iss: undefined }],
    ['of nobody', { sub: undefined }],
    ['of a user whose id is none', { sub: "x' or true --" }],
    ['of a server', { role: 'service_role' }],
    ['of the public API key', { role: 'anon' }],
    ['without a role', { role: undefined }],
  ])('S1 one %s is refused', async (_, claims) => {
    expect(await verdictOn(claims)).toEqual(REFUSED);
  });

  test('S1 one that was altered is refused', async () => {
    const [header, , signature] = parts(await issue());
    const other = base64url({ ...bodyOf(await issue()), sub: 'somebody-else' });
    expect(await sessions.verify(`${header}.${other}.${signature}`)).toEqual(REFUSED);
  });

  test('S1 one without a signature, with alg none in any spelling, is refused', async () => {
    const [, body, signature] = parts(await issue());
    for (const alg of ['none', 'None', 'NONE', '', undefined, 'HS512', 'PS256', 'EdDSA']) {
      for (const end of ['', signature]) {
        expect(await sessions.verify(`${base64url({ alg, typ: 'JWT' })}.${body}.${end}`)).toEqual(REFUSED);
      }
    }
  });

  test('S1 key confusion: one signed with a public key as if it were the secret is refused', async () => {
    const body = parts(await auth.issueToken({ userId: USER, algorithm: 'HS256' }))[1];
    const pem = await auth.publicKeyPem('RS256');
    for (const key of [pem, pem.trim(), '', auth.url]) {
      const signed = `${base64url({ alg: 'HS256', typ: 'JWT' })}.${body}`;
      const signature = createHmac('sha256', key).update(signed).digest('base64url');
      expect(await sessions.verify(`${signed}.${signature}`)).toEqual(REFUSED);
    }
  });

  test('S1 one of another project with the same claims is refused', async () => {
    const other = await startAuthStandIn();
    onTestFinished(() => other.stop());
    const claims = { iss: `${auth.url}/auth/v1` };
    expect(await sessions.verify(await other.issueToken({ userId: USER, algorithm, claims }))).toEqual(REFUSED);
  });

  test('S1 what is no token is refused', async () => {
    const token = await issue();
    for (const garbage of [
      '',
      '.',
      '..',
      'a.b.c',
      'a.b',
      `${token}.x`,
      token.slice(1),
      `${'x'.repeat(9_000)}.a.b`,
      '\0',
      `${token}\0`,
      `${token}\n`,
      `${token}☃`,
    ]) {
      expect(await sessions.verify(garbage)).toEqual(REFUSED);
    }
    // Good in everything but its length.
    expect(await verdictOn({ jti: 'x'.repeat(9_000) })).toEqual(REFUSED);
  });
});

describe('the published keys', () => {
  test('out of reach or broken, nothing is known of a session: not refused, and taken once they are back', async () => {
    const sessions = createSessions(configOf({}));
    const token = await auth.issueToken({ userId: USER });
    auth.failWith(500);
    expect(await sessions.verify(token)).toEqual({ outcome: 'unavailable', reason: expect.any(String) });
    auth.failWith(null);
    expect(await sessions.verify(token)).toEqual(SIGNED_IN);

    const nowhere = createSessions(configOf({ SUPABASE_URL: 'http://127.0.0.1:9' }));
    expect(await nowhere.verify(token)).toMatchObject({ outcome: 'unavailable' });
  });

  test('that are no keys, come from elsewhere or never come leave a session unknown', async () => {
    const elsewhere = await startAuthStandIn();
    onTestFinished(() => elsewhere.stop());
    // Signed by the keys that the redirect leads to: whoever follows it takes a stranger's word.
    const token = await elsewhere.issueToken({ userId: USER, claims: { iss: `${auth.url}/auth/v1` } });
    for (const trouble of ['no_json', 'silence', { redirectTo: elsewhere.url }] as const) {
      auth.failWith(trouble);
      expect(await createSessions(configOf({}), { timeoutMs: 200 }).verify(token)).toMatchObject({
        outcome: 'unavailable',
      });
    }
    expect(elsewhere.requests('jwks')).toBe(0);
    // Below the 5 s that jose would wait by itself.
  }, 3_000);

  test('are fetched once for many sessions', async () => {
    const sessions = createSessions(configOf({}));
    const before = auth.requests('jwks');
    const tokens = await Promise.all(Array.from({ length: 20 }, () => auth.issueToken({ userId: USER })));
    for (const token of tokens) expect(await sessions.verify(token)).toEqual(SIGNED_IN);
    expect(auth.requests('jwks') - before).toBe(1);
  });

  test('that come by rotation are found, and sessions of the old ones stay good', async () => {
    const sessions = createSessions(configOf({}), { keysCooldownMs: 0 });
    const old = await auth.issueToken({ userId: USER });
    expect(await sessions.verify(old)).toEqual(SIGNED_IN);
    await auth.rotateKeys();
    expect(await sessions.verify(await auth.issueToken({ userId: USER }))).toEqual(SIGNED_IN);
    expect(await sessions.verify(old)).toEqual(SIGNED_IN);
  });

  test('are not fetched again for every token of an unknown key', async () => {
    const other = await startAuthStandIn();
    onTestFinished(() => other.stop());
    const sessions = createSessions(configOf({}));
    const before = auth.requests('jwks');
    for (let n = 0; n < 10; n += 1) {
      const forged = await other.issueToken({ userId: USER, claims: { iss: `${auth.url}/auth/v1` } });
      expect(await sessions.verify(forged)).toEqual(REFUSED);
    }
    expect(auth.requests('jwks') - before).toBe(1);
  });
});

describe('the user endpoint', () => {
  const byEndpoint = (bounds: SessionBounds = {}) =>
    createSessions(configOf({ SUPABASE_ANON_KEY: auth.anonKey }), bounds);
  const issue = (claims = {}) => auth.issueToken({ userId: USER, algorithm: 'HS256', claims });

  test('is asked once for a session that is used many times at once and after', async () => {
    const sessions = byEndpoint();
    const token = await issue();
    const before = auth.requests('user');
    await Promise.all(Array.from({ length: 50 }, () => sessions.verify(token)));
    expect(await sessions.verify(token)).toEqual(SIGNED_IN);
    expect(auth.requests('user') - before).toBe(1);
  });

  test('is not asked about what cannot be a session of ours', async () => {
    const sessions = byEndpoint();
    const before = auth.requests('user');
    for (const claims of [
      { exp: inSeconds(-60) },
      { exp: '9999999999' },
      { nbf: inSeconds(600) },
      { iss: 'https://other.example' },
      { aud: 'somebody-else' },
      { role: 'service_role' },
    ]) {
      expect(await sessions.verify(await issue(claims))).toEqual(REFUSED);
    }
    expect(auth.requests('user') - before).toBe(0);
  });

  test('that a session was ended at is believed once the kept answer is over', async () => {
    const remembers = byEndpoint();
    const forgets = byEndpoint({ cacheMs: 0 });
    const token = await issue();
    for (const sessions of [remembers, forgets]) expect(await sessions.verify(token)).toEqual(SIGNED_IN);
    auth.revoke(token);
    expect(await remembers.verify(token)).toEqual(SIGNED_IN);
    expect(await forgets.verify(token)).toEqual(REFUSED);
  });

  test('in trouble makes a session unavailable, and the trouble is not kept', async () => {
    const sessions = byEndpoint();
    const token = await issue();
    for (const status of [500, 502, 429, 404]) {
      auth.failWith(status);
      expect(await sessions.verify(token)).toEqual({
        outcome: 'unavailable',
        reason: expect.stringContaining(`${status}`),
      });
    }
    auth.failWith('no_json');
    expect(await sessions.verify(token)).toMatchObject({ outcome: 'unavailable' });
    auth.failWith(null);
    expect(await sessions.verify(token)).toEqual(SIGNED_IN);
  });

  test('that does not answer is waited for only so long', async () => {
    auth.failWith('silence');
    expect(await byEndpoint({ timeoutMs: 100 }).verify(await issue())).toMatchObject({ outcome: 'unavailable' });
  });

  test('that leads elsewhere is not followed there with the session', async () => {
    const elsewhere = await startAuthStandIn({ jwtSecret: auth.jwtSecret });
    onTestFinished(() => elsewhere.stop());
    auth.failWith({ redirectTo: elsewhere.url });
    expect(await byEndpoint().verify(await issue())).toMatchObject({ outcome: 'unavailable' });
    expect(elsewhere.requests('user')).toBe(0);
  });

  test('that refuses with 401 or 403 is believed, and for a while not asked again', async () => {
    for (const status of [401, 403]) {
      const sessions = byEndpoint();
      const token = await issue();
      auth.failWith(status);
      expect(await sessions.verify(token)).toEqual(REFUSED);
      auth.failWith(null);
      expect(await sessions.verify(token)).toEqual(REFUSED);
    }
  });

  test('that names another user than the token, or none, refuses it', async () => {
    for (const named of ['somebody-else', 5, { id: USER }, '']) {
      auth.nameUser(named);
      expect(await byEndpoint().verify(await issue())).toEqual(REFUSED);
    }
  });

  test('has no answer kept beyond the end of the session', async () => {
    const sessions = byEndpoint();
    // Past its end, and within what clocks may differ by: still asked about.
    const token = await issue({ exp: inSeconds(-2) });
    const before = auth.requests('user');
    for (let n = 0; n < 3; n += 1) await sessions.verify(token);
    expect(auth.requests('user') - before).toBe(3);
  });

  test('has only so many answers kept, the newest', async () => {
    const sessions = byEndpoint({ mostCached: 2 });
    const tokens = await Promise.all(['a', 'b', 'c'].map((jti) => issue({ jti })));
    for (const token of tokens) await sessions.verify(token);
    const before = auth.requests('user');
    for (const token of tokens.slice(1)) expect(await sessions.verify(token)).toEqual(SIGNED_IN);
    expect(auth.requests('user') - before).toBe(0);
    expect(await sessions.verify(tokens[0]!)).toEqual(SIGNED_IN);
    expect(auth.requests('user') - before).toBe(1);
  });

  test('with a wrong public key refuses, so nobody signs in by mistake', async () => {
    const sessions = createSessions(configOf({ SUPABASE_ANON_KEY: 'sb_publishable_of_another_project' }));
    expect(await sessions.verify(await issue())).toEqual(REFUSED);
  });
});

describe('clocks that differ by a few seconds', () => {
  test.each(PATHS.slice(0, 3))('cost nobody his session by $name', async ({ algorithm, config }) => {
    const sessions = createSessions(config());
    for (const claims of [{ exp: inSeconds(-2) }, { nbf: inSeconds(3) }]) {
      expect(await sessions.verify(await auth.issueToken({ userId: USER, algorithm, claims }))).toEqual(SIGNED_IN);
    }
  });
});

describe('a developer', () => {
  test('signs in at the stand-in over HTTP, and his session is taken', async () => {
    const response = await fetch(`${auth.url}/auth/v1/token?grant_type=password`, {
      method: 'POST',
      body: JSON.stringify({ email: `${USER}@example.com`, password: 'any' }),
    });
    const { access_token } = (await response.json()) as { access_token: string };
    for (const { config } of PATHS.slice(2)) {
      expect(await createSessions(config()).verify(access_token)).toEqual(SIGNED_IN);
    }
  });
});

describe('what is not configured', () => {
  test('nothing: no session is taken', async () => {
    const sessions = createSessions(configOf({ SUPABASE_URL: undefined }));
    for (const algorithm of ['ES256', 'RS256', 'HS256'] as const) {
      expect(await sessions.verify(await auth.issueToken({ userId: USER, algorithm }))).toEqual(REFUSED);
    }
  });

  test('neither secret nor public key: no HS256 session is taken', async () => {
    const sessions = createSessions(configOf({}));
    expect(await sessions.verify(await auth.issueToken({ userId: USER, algorithm: 'HS256' }))).toEqual(REFUSED);
  });

  test('the own names go before those of a Next.js app', async () => {
    const sessions = createSessions(
      configOf({
        NEXT_PUBLIC_SUPABASE_URL: 'http://127.0.0.1:9',
        SUPABASE_ANON_KEY: auth.anonKey,
        NEXT_PUBLIC_SUPABASE_ANON_KEY: 'another',
      }),
    );
    for (const algorithm of ['ES256', 'HS256'] as const) {
      expect(await sessions.verify(await auth.issueToken({ userId: USER, algorithm }))).toEqual(SIGNED_IN);
    }
  });

  test('the names that a Next.js app has do as well', async () => {
    const sessions = createSessions(
      configOf({
        SUPABASE_URL: undefined,
        NEXT_PUBLIC_SUPABASE_URL: auth.url,
        NEXT_PUBLIC_SUPABASE_ANON_KEY: auth.anonKey,
      }),
    );
    for (const algorithm of ['ES256', 'HS256'] as const) {
      expect(await sessions.verify(await auth.issueToken({ userId: USER, algorithm }))).toEqual(SIGNED_IN);
    }
  });
});
