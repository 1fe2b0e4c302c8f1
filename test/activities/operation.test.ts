import { inspect } from 'node:util';
import { ApplicationFailure } from '@temporalio/activity';
import { defaultFailureConverter, defaultPayloadConverter } from '@temporalio/common';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger, type LogEntry } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Generation } from '../../activities/generation.ts';
import { createOperation } from '../../activities/operation.ts';
import { beginJob, commitJob, refundJob } from '../../db/jobs.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { expectInvariants } from '../support/invariants.ts';
import { admitTestJob } from '../support/jobWorker.ts';
import { createOrganization } from '../support/organization.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await freshDatabase();
});
afterAll(async () => {
  await expectInvariants(database.superuser);
  await database.drop();
});

const CANARY = 'canary-c41f';

/** A job that runs, and the operation with a bug planted where the provider is asked. */
async function runWithBug(bug: (input: string) => unknown) {
  const organization = await createOrganization(database.superuser);
  const { organizationId } = organization;
  const jobId = await admitTestJob(database.api, organization, { input: { industry: CANARY, horizonMonths: 12 } });
  await beginJob(database.worker, organizationId, jobId);

  const entries: LogEntry[] = [];
  const environment = new MockActivityEnvironment(
    { attempt: 1 },
    { logger: new DefaultLogger('TRACE', (entry) => entries.push(entry)) },
  );
  const generation: Generation = {
    generate: async ({ input }) => {
      throw bug(JSON.stringify(input));
    },
  };
  const { runOperation } = createOperation({ pool: database.worker, generation });
  const failure: unknown = await environment.run(runOperation, { organizationId, jobId }).catch((error) => error);
  // It may be tried again until the time is up; here its tokens go back at once.
  await refundJob(database.worker, organizationId, jobId, 'operation_failed');
  return {
    failure,
    inTemporal: inspect(defaultFailureConverter.errorToFailure(failure, defaultPayloadConverter), { depth: null }),
    errors: entries.filter((entry) => entry.level === 'ERROR'),
    log: inspect(entries, { depth: null, maxStringLength: null }),
  };
}

test('an answer that could not be stored is booked with what it cost, and the next attempt delivers', async () => {
  const organization = await createOrganization(database.superuser);
  const { organizationId } = organization;
  const jobId = await admitTestJob(database.api, organization);
  await beginJob(database.worker, organizationId, jobId);
  const usage = { inputTokens: 7, outputTokens: 5, cachedInputTokens: null, reasoningTokens: null, totalTokens: 12 };
  const generation: Generation = {
    generate: async () => ({ result: { title: 'x' }, usage, model: 'm', providerRequestId: 'r' }),
  };
  const { runOperation } = createOperation({ pool: database.worker, generation });
  const attempt = (number: number) =>
    new MockActivityEnvironment({ attempt: number }).run(runOperation, { organizationId, jobId });

  const store = 'execute on function tollgate.store_result(text, text, jsonb, jsonb)';
  await database.superuser.query(`revoke ${store} from tollgate_worker`);
  try {
    await expect(attempt(1)).rejects.toThrow('store_result: the database refused the call (SQLSTATE 42501)');
  } finally {
    await database.superuser.query(`grant ${store} to tollgate_worker`);
  }
  expect(await attempt(2)).toEqual({ outcome: 'delivered' });
  const { rows } = await database.superuser.query(
    'select a.attempt, a.outcome, a.model, a.usage from tollgate.job_attempts a where a.job_id = $1 order by a.attempt',
    [jobId],
  );
  expect(rows).toEqual([
    { attempt: 1, outcome: 'not_stored', model: 'm', usage },
    { attempt: 2, outcome: 'delivered', model: 'm', usage },
  ]);
  await commitJob(database.worker, organizationId, jobId);
});

class UnheardOf extends Error {
  override name = CANARY;
}

describe('a bug in the operation', () => {
  test.each<[string, string, (input: string) => unknown]>([
    ['an error that quotes the input', 'TypeError', (input) => new TypeError(`cannot read ${input}`)],
    [
      'the parser, which quotes what it read',
      'SyntaxError',
      (input) => thrownBy(() => JSON.parse(`${CANARY}${input}`)),
    ],
    ['a message of several lines', 'Error', (input) => new Error(`${input}\n    at ${input}\n${input}`)],
    [
      'a message set later',
      'RangeError',
      (input) => Object.assign(new RangeError(input), { message: `later ${input}` }),
    ],
    [
      'a cause and fields that quote it',
      'Error',
      (input) => Object.assign(new Error(input, { cause: new Error(input) }), { input }),
    ],
    ['a name that quotes it', 'UnheardOf', (input) => new UnheardOf(input)],
    ['text', 'string', (input) => input],
    ['an object', 'object', (input) => ({ input })],
    ['nothing', 'undefined', () => undefined],
  ])('stands in Temporal as its class only, without the input (S7): %s', async (_, className, bug) => {
    const { failure, inTemporal, log, errors } = await runWithBug(bug);
    expect(failure).toBeInstanceOf(ApplicationFailure);
    expect(failure).toMatchObject({
      message: `${className} in the operation; see the worker's log.`,
      type: className,
      nonRetryable: false,
    });
    expect(inTemporal).not.toContain(CANARY);
    expect(log).not.toContain(CANARY);
    expect(errors).toHaveLength(1);
    expect(errors[0]?.message).toMatch(new RegExp(`^${className} in the operation`));
  });

  test('stands in the worker’s log with where it was thrown', async () => {
    const { errors } = await runWithBug(() => new TypeError(`cannot read ${CANARY}`));
    expect(errors[0]?.message).toMatch(/^TypeError in the operation\n {4}at .*operation\.test\.ts/);
    expect(errors[0]?.message).toContain('activities/operation.ts');
  });
});

function thrownBy(run: () => unknown): unknown {
  try {
    return run();
  } catch (error) {
    return error;
  }
}
