import { createSessions, type SessionConfig, type Sessions } from '../../api/sessions.ts';
import { createOperator } from '../../db/operators.ts';
import { startAuthStandIn } from '../../dev/authStandIn.ts';
import type { TestDatabase } from '../support/database.ts';
import type { Ask, TestApi } from './testApi.ts';

export interface People {
  /** What the API is to be started with, so that these people can sign in. */
  sessions: Sessions;
  /** A session token of a user; his profile is his own affair. */
  signIn(userId: string): Promise<string>;
  stop(): Promise<void>;
}

/** Users who sign in for real, at the stand-in of the sign-in service. */
export async function startPeople(): Promise<People> {
  const auth = await startAuthStandIn();
  const config: SessionConfig = {
    SUPABASE_URL: auth.url,
    NEXT_PUBLIC_SUPABASE_URL: undefined,
    SUPABASE_JWT_SECRET: undefined,
    SUPABASE_ANON_KEY: undefined,
    NEXT_PUBLIC_SUPABASE_ANON_KEY: undefined,
  };
  return {
    sessions: createSessions(config),
    signIn: (userId) => auth.issueToken({ userId }),
    stop: () => auth.stop(),
  };
}

/** An operator, and how he asks: always with a reason. */
export async function startOperator(database: Pick<TestDatabase, 'superuser'>, api: TestApi, reason = 'ticket 7') {
  const { id, credential } = await createOperator(database.superuser, { name: 'Ann' });
  return {
    id,
    actor: `operator:${id}`,
    credential,
    call: (path: string, ask: Ask = {}) =>
      api.call(path, { key: credential, ...ask, headers: { 'Tollgate-Reason': reason, ...ask.headers } }),
  };
}

/** A user's profile, as an app makes it. */
export async function addProfile(
  { superuser }: Pick<TestDatabase, 'superuser'>,
  userId: string,
  organizationId: string,
  role: 'member' | 'admin',
): Promise<void> {
  await superuser.query('insert into user_profiles (id, organization_id, role) values ($1, $2, $3)', [
    ...[userId, organizationId, role],
  ]);
}
