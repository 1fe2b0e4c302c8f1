import type { ApiKey, ApiKeyScope } from '../db/apiKeys.ts';

/** Whoever makes a request: an app by its key, which belongs to one organization, or a signed-in user. */
export type Caller = ({ kind: 'key' } & ApiKey) | { kind: 'user'; id: string };

/** As the money functions know it: `key:ID` or `user:ID`. They look its membership up themselves. */
export function principalOf({ kind, id }: Caller): string {
  return `${kind}:${id}`;
}

/** A key does what its scopes name. A user may do what members may; what he may not, the organization's rows refuse. */
export function mayDo(caller: Caller, scope: ApiKeyScope): boolean {
  return caller.kind === 'user' || caller.scopes.includes(scope);
}
