import {
  createRemoteJWKSet,
  decodeJwt,
  decodeProtectedHeader,
  errors,
  type JWTPayload,
  type JWTVerifyGetKey,
  jwtVerify,
  type RemoteJWKSetOptions,
} from 'jose';
import type { ApiConfig } from '../config.ts';
import { ID_PATTERN } from '../domain/ids.ts';
import { createKeptAnswers } from './keptAnswers.ts';
import { createUserEndpoint } from './userEndpoint.ts';

/** `unavailable`: whoever could tell is out of reach, so nothing is known of the session. */
export type SessionVerdict =
  | { outcome: 'signed_in'; userId: string }
  | { outcome: 'refused' }
  | { outcome: 'unavailable'; reason: string };

export interface Sessions {
  /** Who the bearer of a session token is. Never throws, and never repeats the token. */
  verify(token: string): Promise<SessionVerdict>;
}

export type SessionConfig = Pick<
  ApiConfig,
  | 'SUPABASE_URL'
  | 'NEXT_PUBLIC_SUPABASE_URL'
  | 'SUPABASE_JWT_SECRET'
  | 'SUPABASE_ANON_KEY'
  | 'NEXT_PUBLIC_SUPABASE_ANON_KEY'
>;

const LONGEST_TOKEN = 8 * 1024;
/** Base64url and dots only: an odd byte would make fetch refuse the header and repeat the whole token in its complaint. */
const THREE_PARTS = /^[\w-]+\.[\w-]+\.[\w-]+$/;
const CLOCK_TOLERANCE_S = 5;
const TIMEOUT_MS = 3_000;
/** How long what a proven token says is kept: so long may a key that was withdrawn from the project still serve here. */
const VERDICT_MS = 30_000;
const MOST_VERDICTS = 10_000;
/** How long a key that was not found is not looked for again, or forged tokens would have the keys fetched each time. */
const KEYS_COOLDOWN_MS = 30_000;

/** Bounds of what is asked of the sign-in service; tests set them lower. */
export interface SessionBounds {
  timeoutMs?: number;
  keysCooldownMs?: number;
  /** How long a proven token is not proven again. */
  verdictMs?: number;
  /** How long and how many answers of the user endpoint are kept. */
  cacheMs?: number;
  mostCached?: number;
}

/**
 * Checks Supabase's session tokens. The token's own header only chooses the path; each path pins its algorithms and takes
 * its key from the configuration alone, so a public key can never serve as a shared secret:
 *
 * - ES256 and RS256 against the project's published keys,
 * - HS256 against the project's secret, where that is configured,
 * - HS256 otherwise by asking the project's own user endpoint.
 *
 * Issuer, audience and expiry are required on each. Who a user is comes from here; what he may do from `user_profiles`,
 * never from a claim: `user_metadata` is written by the user himself.
 */
export function createSessions(config: SessionConfig, bounds: SessionBounds = {}): Sessions {
  const { timeoutMs = TIMEOUT_MS, keysCooldownMs = KEYS_COOLDOWN_MS, verdictMs = VERDICT_MS, ...cache } = bounds;
  const supabaseUrl = config.SUPABASE_URL ?? config.NEXT_PUBLIC_SUPABASE_URL;
  const supabaseAnonKey = config.SUPABASE_ANON_KEY ?? config.NEXT_PUBLIC_SUPABASE_ANON_KEY;
  const secret = config.SUPABASE_JWT_SECRET;
  if (supabaseUrl === undefined) return { verify: async () => ({ outcome: 'refused' }) };

  const issuer = `${supabaseUrl}/auth/v1`;
  const required = {
    issuer,
    audience: 'authenticated',
    requiredClaims: ['sub', 'exp'],
    clockTolerance: CLOCK_TOLERANCE_S,
  };
  const publishedKeys = publishedKeysOf(new URL(`${issuer}/.well-known/jwks.json`), {
    timeoutDuration: timeoutMs,
    cooldownDuration: keysCooldownMs,
  });
  const sharedSecret = secret === undefined ? null : new TextEncoder().encode(secret);
  const userEndpoint =
    supabaseAnonKey === undefined
      ? null
      : createUserEndpoint({ url: `${issuer}/user`, anonKey: supabaseAnonKey, timeoutMs, ...cache });

  /**
   * A signature that was right is right when it comes again, and checking it costs more than all else that a request does.
   * By the whole token, the newest, never beyond its end.
   */
  const proven = createKeptAnswers<SessionVerdict>(MOST_VERDICTS);
  function keep(token: string, { payload }: { payload: JWTPayload }): SessionVerdict {
    const verdict = whoIs(payload);
    proven.keep(token, verdict, Math.min(Date.now() + verdictMs, (payload.exp! + CLOCK_TOLERANCE_S) * 1_000));
    return verdict;
  }

  async function verdictOn(token: string): Promise<SessionVerdict> {
    const earlier = proven.get(token);
    if (earlier !== undefined) return earlier;
    const { alg } = decodeProtectedHeader(token);
    switch (alg) {
      case 'ES256':
      case 'RS256':
        return keep(token, await jwtVerify(token, publishedKeys, { ...required, algorithms: ['ES256', 'RS256'] }));
      case 'HS256':
        if (sharedSecret !== null) {
          return keep(token, await jwtVerify(token, sharedSecret, { ...required, algorithms: ['HS256'] }));
        }
        return userEndpoint === null ? { outcome: 'refused' } : askUserEndpoint(token);
      default:
        return { outcome: 'refused' };
    }
  }

  /** The claims are not proven here: they only spare the question, and bound how long its answer is kept. */
  async function askUserEndpoint(token: string): Promise<SessionVerdict> {
    const claims = decodeJwt(token);
    const now = Date.now() / 1_000;
    const claimed = whoIs(claims);
    const isPlausible =
      claimed.outcome === 'signed_in' &&
      claims.iss === issuer &&
      [claims.aud].flat().includes('authenticated') &&
      typeof claims.exp === 'number' &&
      claims.exp > now - CLOCK_TOLERANCE_S &&
      (claims.nbf === undefined || claims.nbf <= now + CLOCK_TOLERANCE_S);
    if (!isPlausible) return { outcome: 'refused' };

    const answer = await userEndpoint!.ask(token, claims.exp! * 1_000);
    if (answer.outcome !== 'known') return answer;
    return answer.userId === claimed.userId ? claimed : { outcome: 'refused' };
  }

  return {
    async verify(token) {
      if (token.length > LONGEST_TOKEN || !THREE_PARTS.test(token)) return { outcome: 'refused' };
      try {
        return await verdictOn(token);
      } catch (error) {
        return error instanceof KeysUnavailable
          ? { outcome: 'unavailable', reason: error.message }
          : { outcome: 'refused' };
      }
    },
  };
}

/** Supabase's other roles sign in too: `anon` is nobody, and `service_role` is a server's key and no session of a user. */
function whoIs({ sub, role }: JWTPayload): SessionVerdict {
  const isUser = sub !== undefined && ID_PATTERN.test(sub) && role === 'authenticated';
  return isUser ? { outcome: 'signed_in', userId: sub } : { outcome: 'refused' };
}

/** The published keys could not be had, so nothing is known of the token. */
class KeysUnavailable extends Error {}

/** A key that the project does not publish is a fault of the token; everything else on the way to the keys is not. */
function publishedKeysOf(url: URL, bounds: RemoteJWKSetOptions): JWTVerifyGetKey {
  // It follows no redirect: keys from elsewhere are not the project's.
  const keys = createRemoteJWKSet(url, bounds);
  return (header, token) =>
    keys(header, token).catch((error: Error) => {
      const isOfToken = error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWKSMultipleMatchingKeys;
      throw isOfToken ? error : new KeysUnavailable(error.message);
    });
}
