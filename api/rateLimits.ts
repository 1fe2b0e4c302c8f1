import { RateLimiterMemory, type RateLimiterRes } from 'rate-limiter-flexible';
import type { ApiConfig } from '../config.ts';
import { principalOf } from './caller.ts';
import { headerOf } from './headerOf.ts';
import { problemReply } from './problemReply.ts';
import type { ApiContext } from './requestContext.ts';

export type RateLimitConfig = Pick<
  ApiConfig,
  'RATE_LIMIT_PER_CALLER' | 'RATE_LIMIT_PER_ORGANIZATION' | 'RATE_LIMIT_FAILURES_PER_ADDRESS' | 'FORWARDED_HOPS'
>;

/** Each counts one request, and answers a refusal where that is one too many. */
export interface RateLimits {
  ofCaller(c: ApiContext): Promise<Response | null>;
  ofOrganization(c: ApiContext, organizationId: string): Promise<Response | null>;
  /** A request whose credential proved to be none. One that has a right one is never kept out by those of others. */
  ofFailures(c: ApiContext): Promise<Response | null>;
}

const WINDOW_S = 10;
const FAILURES_WINDOW_S = 60;

/**
 * How often one caller, and all of one organization, may ask this process, in windows of ten seconds; and how often an address may
 * send credentials that are none, in a minute. Counted in the process: with N of them behind a balancer it is N times as much.
 * Headers after draft-ietf-httpapi-ratelimit-headers-10.
 */
export function createRateLimits(config: RateLimitConfig): RateLimits {
  const callers = windowOf('caller', config.RATE_LIMIT_PER_CALLER, WINDOW_S);
  const organizations = windowOf('organization', config.RATE_LIMIT_PER_ORGANIZATION, WINDOW_S);
  const failures = windowOf('failures', config.RATE_LIMIT_FAILURES_PER_ADDRESS, FAILURES_WINDOW_S);
  return {
    ofCaller: (c) => spend(c, callers, principalOf(c.get('caller'))),
    ofOrganization: (c, organizationId) => spend(c, organizations, organizationId),
    ofFailures: (c) => spend(c, failures, addressOf(c, config.FORWARDED_HOPS)),
  };
}

interface Window {
  name: string;
  policy: string;
  limiter: RateLimiterMemory;
}

function windowOf(name: string, points: number, duration: number): Window {
  return { name, policy: `"${name}";q=${points};w=${duration}`, limiter: new RateLimiterMemory({ points, duration }) };
}

async function spend(c: ApiContext, { name, policy, limiter }: Window, key: string): Promise<Response | null> {
  const { isOver, left } = await limiter.consume(key).then(
    (left) => ({ isOver: false, left }),
    (left: RateLimiterRes) => ({ isOver: true, left }),
  );
  const secondsLeft = Math.max(1, Math.ceil(left.msBeforeNext / 1_000));
  const { outgoing } = c.env;
  outgoing.appendHeader('RateLimit-Policy', policy);
  outgoing.appendHeader('RateLimit', `"${name}";r=${left.remainingPoints};t=${secondsLeft}`);
  return isOver ? problemReply(c, 'rate_limited', {}, { 'Retry-After': String(secondsLeft) }) : null;
}

/**
 * Who sent it: the connection's other end, or, behind so many proxies of one's own, the address that the outermost of them saw. What
 * stands before that in X-Forwarded-For was written by the sender, and could be anything.
 */
function addressOf(c: ApiContext, forwardedHops: number): string {
  const remote = c.env.incoming.socket.remoteAddress ?? 'unknown';
  if (forwardedHops === 0) return remote;
  const forwarded = (headerOf(c, 'x-forwarded-for') ?? '').split(',').map((address) => address.trim());
  return forwarded.at(-forwardedHops) || remote;
}
