import { randomBytes, randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  type CryptoKey,
  exportJWK,
  exportSPKI,
  generateKeyPair,
  type JWK,
  type JWTPayload,
  jwtVerify,
  SignJWT,
} from 'jose';

/**
 * A stand-in for Supabase's sign-in service: it signs session tokens as a project does, publishes its keys, and answers
 * the user endpoint. Never a part of the product: only dev/ and the tests start it.
 */

export type StandInAlgorithm = 'ES256' | 'RS256' | 'HS256';

export interface SessionWish {
  userId: string;
  algorithm?: StandInAlgorithm;
  /** Replace what a good token has; undefined leaves a claim out. */
  claims?: Partial<Record<keyof JWTPayload | 'role', unknown>>;
}

/** A status, an answer that is no JSON, a redirect to the same path of another origin, or no answer at all. */
export type StandInTrouble = number | 'no_json' | { redirectTo: string } | 'silence';

export interface AuthStandIn {
  /** What SUPABASE_URL is to be. */
  url: string;
  /** What SUPABASE_JWT_SECRET is to be, where it is to be known. */
  jwtSecret: string;
  /** What SUPABASE_ANON_KEY is to be. */
  anonKey: string;
  issueToken(wish: SessionWish): Promise<string>;
  /** The published key of an algorithm as PEM: what an attacker would sign with. */
  publicKeyPem(algorithm: 'ES256' | 'RS256'): Promise<string>;
  /** From now on new tokens are signed by new keys, which are published beside the old ones. */
  rotateKeys(): Promise<void>;
  /** Ends a session before its token's time. */
  revoke(token: string): void;
  /** From now on every request gets this; null ends that. */
  failWith(trouble: StandInTrouble | null): void;
  /** From now on the user endpoint names this user, whosever token it is; null ends that. */
  nameUser(userId: unknown): void;
  requests(path: 'jwks' | 'user'): number;
  stop(): Promise<void>;
}

const LIFETIME_S = 3_600;

interface SigningKey {
  kid: string;
  privateKey: CryptoKey;
  publicKey: CryptoKey;
  published: JWK;
}

export async function startAuthStandIn(options: { port?: number; jwtSecret?: string } = {}): Promise<AuthStandIn> {
  const jwtSecret = options.jwtSecret ?? randomBytes(32).toString('hex');
  const secret = new TextEncoder().encode(jwtSecret);
  const anonKey = `sb_publishable_stand_in_${randomBytes(12).toString('hex')}`;
  const revoked = new Set<string>();
  const requests = { jwks: 0, user: 0 };
  let trouble: StandInTrouble | null = null;
  let namedUser: unknown = null;
  const published: JWK[] = [];
  let keys = await newKeys();

  async function newKeys(): Promise<Record<'ES256' | 'RS256', SigningKey>> {
    const [ES256, RS256] = await Promise.all([newKey('ES256'), newKey('RS256')]);
    published.push(ES256.published, RS256.published);
    return { ES256, RS256 };
  }

  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy());
  });

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = new URL(request.url ?? '/', 'http://stand-in').pathname;
    if (path === '/auth/v1/.well-known/jwks.json') requests.jwks += 1;
    if (path === '/auth/v1/user') requests.user += 1;
    if (trouble !== null) return failAs(trouble, path, response);
    switch (`${request.method} ${path}`) {
      case 'GET /auth/v1/.well-known/jwks.json':
        return reply(response, 200, { keys: published });
      case 'GET /auth/v1/user': {
        const userId = await signedInUser(request);
        return userId === null
          ? reply(response, 401, { msg: 'The stand-in does not know this session.' })
          : reply(response, 200, { id: namedUser ?? userId, aud: 'authenticated', role: 'authenticated' });
      }
      // Anybody signs in, with any password, as whoever stands before the @: it is a stand-in.
      case 'POST /auth/v1/token': {
        const userId = /^([A-Za-z0-9_-]{1,64})@/.exec(String((await readJson(request)).email))?.[1];
        if (userId === undefined)
          return reply(response, 400, { msg: 'The stand-in needs {"email": "dev@example.com"}.' });
        const access_token = await issueToken({ userId, algorithm: 'HS256' });
        return reply(response, 200, {
          access_token,
          token_type: 'bearer',
          expires_in: LIFETIME_S,
          user: { id: userId },
        });
      }
      default:
        return reply(response, 404, { msg: 'The stand-in has no such route.' });
    }
  }

  function issueToken({ userId, algorithm = 'ES256', claims = {} }: SessionWish): Promise<string> {
    const now = Math.floor(Date.now() / 1_000);
    const payload = {
      iss: `${url}/auth/v1`,
      aud: 'authenticated',
      sub: userId,
      role: 'authenticated',
      session_id: randomUUID(),
      iat: now,
      exp: now + LIFETIME_S,
      ...claims,
    };
    const token = new SignJWT(payload as JWTPayload);
    if (algorithm === 'HS256') return token.setProtectedHeader({ alg: 'HS256', typ: 'JWT' }).sign(secret);
    const { kid, privateKey } = keys[algorithm];
    return token.setProtectedHeader({ alg: algorithm, typ: 'JWT', kid }).sign(privateKey);
  }

  async function signedInUser({ headers }: IncomingMessage): Promise<string | null> {
    const token = headers.authorization?.replace(/^Bearer /, '') ?? '';
    if (headers.apikey !== anonKey || revoked.has(token)) return null;
    const verified = await jwtVerify(token, secret, { algorithms: ['HS256'] }).catch(() => null);
    return verified?.payload.sub ?? null;
  }

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, '127.0.0.1', resolve);
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  return {
    url,
    jwtSecret,
    anonKey,
    issueToken,
    publicKeyPem: (algorithm) => exportSPKI(keys[algorithm].publicKey),
    async rotateKeys() {
      keys = await newKeys();
    },
    revoke: (token) => void revoked.add(token),
    failWith(wished) {
      trouble = wished;
    },
    nameUser(userId) {
      namedUser = userId;
    },
    requests: (path) => requests[path],
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function newKey(algorithm: 'ES256' | 'RS256'): Promise<SigningKey> {
  const { privateKey, publicKey } = await generateKeyPair(algorithm, { extractable: true });
  const kid = `stand-in-${randomUUID()}`;
  return {
    kid,
    privateKey,
    publicKey,
    published: { ...(await exportJWK(publicKey)), kid, alg: algorithm, use: 'sig' },
  };
}

async function readJson(request: IncomingMessage): Promise<Record<string, unknown>> {
  let text = '';
  for await (const chunk of request.setEncoding('utf8')) {
    text += chunk;
    if (text.length > 10_000) throw new Error('too large');
  }
  try {
    return Object(JSON.parse(text));
  } catch {
    return {};
  }
}

function failAs(trouble: StandInTrouble, path: string, response: ServerResponse): void {
  if (trouble === 'silence') return;
  if (trouble === 'no_json') {
    response.writeHead(200, { 'Content-Type': 'text/html' });
    response.end('<p>The stand-in was asked to fail.</p>');
  } else if (typeof trouble === 'object') {
    response.writeHead(302, { Location: `${trouble.redirectTo}${path}` });
    response.end();
  } else {
    reply(response, trouble, { msg: 'The stand-in was asked to fail.' });
  }
}

function reply(response: ServerResponse, status: number, body: unknown): void {
  if (response.destroyed) return;
  response.writeHead(status, { 'Content-Type': 'application/json' });
  response.end(JSON.stringify(body));
}

if (import.meta.main) {
  const { AUTH_STAND_IN_PORT: port, AUTH_STAND_IN_SECRET: jwtSecret } = process.env;
  const standIn = await startAuthStandIn({ port: Number(port ?? 0), ...(jwtSecret ? { jwtSecret } : {}) });
  console.log(`The sign-in stand-in listens at ${standIn.url}`);
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => void standIn.stop().then(() => process.exit(0)));
  }
}
