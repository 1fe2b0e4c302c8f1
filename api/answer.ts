import type { ProblemCode, ProblemMembers } from '../contract/problems.ts';
import { problemReply } from './problemReply.ts';
import type { ApiContext } from './requestContext.ts';

/** What a call came to, before it is known whether it is a reply of its own or a row of one. */
export type Answer<Body> = { body: Body; isRepeat: boolean } | Refused;
export type Refused = { code: ProblemCode; members?: ProblemMembers };

export function refused(code: ProblemCode, members?: ProblemMembers): Refused {
  return members === undefined ? { code } : { code, members };
}

/** As a reply of its own. */
export function replyWith(c: ApiContext, answer: Answer<object>, status: 200 | 201 = 200): Response {
  if ('code' in answer) return problemReply(c, answer.code, answer.members);
  if (answer.isRepeat) c.header('Idempotent-Replayed', 'true');
  return c.json(answer.body, status);
}
