import type { Hono, MiddlewareHandler } from 'hono';
import type { Operation } from '../contract/operation.ts';
import { type Authentication, authenticated, ownOrganization } from './middleware/authenticated.ts';
import { recordedRead } from './middleware/recordedRead.ts';
import type { ApiContext, ApiEnv } from './requestContext.ts';

type Reply = (c: ApiContext) => Response | Promise<Response>;

/**
 * Answers an operation at its address, behind its own line of who may do what. The organization is in `organizationId` then,
 * unless the body or the query names it. What an operator reads is written down before; what he changes, by the function that does it.
 */
export function mount(
  routes: Hono<ApiEnv>,
  authentication: Authentication,
  operation: Operation,
  ...handlers: [...MiddlewareHandler<ApiEnv>[], Reply]
): void {
  const { method, path, access, organizationIn } = operation;
  const isOfOneOrganization =
    path.includes('{organizationId}') || (typeof access !== 'string' && organizationIn === undefined);
  const isReadByOperators = method === 'get' && access !== 'anyone' && (access === 'operators' || access.operators);
  routes.on(
    method.toUpperCase(),
    [path.replaceAll(/\{(\w+)\}/g, ':$1')],
    authenticated(authentication, operation),
    ...(isOfOneOrganization ? [ownOrganization(authentication, operation)] : []),
    ...(isReadByOperators ? [recordedRead(authentication, operation)] : []),
    ...handlers,
  );
}
