import type { ApiKey } from '../db/credentials.ts';
import type { KeyScope } from '../domain/keyScopes.ts';

/** Whoever makes a request: an app by its key, which belongs to one organization, a signed-in user, or an operator. */
export type Caller = ({ kind: 'key' } & ApiKey) | { kind: 'user'; id: string } | { kind: 'operator'; id: string };

/** As the money functions and the audit log know it: `key:ID`, `user:ID` or `operator:ID`. They look its rights up themselves. */
export function principalOf({ kind, id }: Caller): string {
  return `${kind}:${id}`;
}

/** A key does what its scopes name. A user may do what his role may; what he may not, the organization's rows refuse. */
export function mayDo(caller: Caller, scope: KeyScope): boolean {
  return caller.kind !== 'key' || caller.scopes.includes(scope);
}
