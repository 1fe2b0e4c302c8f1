import { Client, Connection } from '@temporalio/client';
import { defaultPayloadConverter } from '@temporalio/common';
import { NativeConnection } from '@temporalio/worker';
import { afterAll, beforeAll, expect, inject, it, onTestFinished } from 'vitest';
import { createOrganizationSignals } from '../../activities/organizationSignals.ts';
import { organizationWorkflowId } from '../../domain/ids.ts';
import { startDispatcher } from '../../worker/dispatcher.ts';
import { startTcpProxy } from '../api/tcpProxy.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { elapse } from '../support/elapse.ts';
import { createOrganization } from '../support/organization.ts';
import { until } from '../support/until.ts';

let database: TestDatabase;
let connection: NativeConnection;
let observer: Client;
beforeAll(async () => {
  database = await freshDatabase();
  connection = await NativeConnection.connect({ address: inject('temporalAddress') });
  observer = new Client({ connection: await Connection.connect({ address: inject('temporalAddress') }) });
});
afterAll(async () => {
  await connection.close();
  await observer.connection.close();
  await database.drop();
});

const dispatch = (client: Client) => {
  const warnings: object[] = [];
  const dispatcher = startDispatcher({
    pool: database.worker,
    subscribers: [createOrganizationSignals({ client })],
    retentionMs: 86_400_000,
    log: { warn: (fields) => warnings.push(fields) },
  });
  onTestFinished(() => dispatcher.stop());
  return Object.assign(dispatcher, { warnings });
};
const lag = async (dispatcher: ReturnType<typeof dispatch>) => (await dispatcher.lag()).organizationSignals!;
const isThrough = async (dispatcher: ReturnType<typeof dispatch>) =>
  (await lag(dispatcher)).oldestUndeliveredMs === null;

/** Stands where an organization's workflow will: no worker runs it, its history keeps what it was told. */
async function startListener(organizationId: string) {
  const handle = await observer.workflow.start('organizationBilling', {
    workflowId: organizationWorkflowId(organizationId),
    taskQueue: 'nobody-polls-this',
  });
  onTestFinished(() =>
    handle.terminate().then(
      () => {},
      () => {},
    ),
  );
  return {
    handle,
    signals: async () => {
      const { events } = await handle.fetchHistory();
      return (events ?? []).flatMap(({ workflowExecutionSignaledEventAttributes: signal }) =>
        signal
          ? [
              {
                name: signal.signalName,
                args: (signal.input?.payloads ?? []).map((one) => defaultPayloadConverter.fromPayload(one)),
              },
            ]
          : [],
      );
    },
  };
}

async function setPlan(organizationId: string, plan: string): Promise<void> {
  await database.superuser.query('update organizations set plan = $2 where id = $1', [organizationId, plan]);
}
async function eventsOf(
  organizationId: string,
): Promise<{ eventId: number; kind: string; subjectId: string | null }[]> {
  const { rows } = await database.superuser.query(
    `select o.id as "eventId", o.kind, o.subject_id as "subjectId" from tollgate.outbox o where o.organization_id = $1 order by o.id`,
    [organizationId],
  );
  return rows;
}

it('tells an organization’s workflow of its plan, its refresh and its low balance, in order, in ids alone', async () => {
  const { organizationId } = await createOrganization(database.superuser, 'starter');
  const listener = await startListener(organizationId);
  await setPlan(organizationId, 'pro');
  await database.superuser.query(`select tollgate.set_low_balance($1, 'lead_generation', 1000)`, [organizationId]);
  await elapse(database.superuser, organizationId, '31 days');
  await setPlan(organizationId, 'enterprise');
  const expected = await eventsOf(organizationId);
  expect(new Set(expected.map(({ kind }) => kind))).toEqual(
    new Set(['plan_changed', 'balance_low', 'allowance_refreshed']),
  );

  const dispatcher = dispatch(new Client({ connection }));
  await until(() => isThrough(dispatcher));
  expect(await listener.signals()).toEqual(expected.map((event) => ({ name: 'organizationEvent', args: [event] })));
});

it('puts nothing of an event’s content into Temporal, and tells of no other kind', async () => {
  const { organizationId } = await createOrganization(database.superuser);
  const listener = await startListener(organizationId);
  await database.superuser.query(
    `insert into tollgate.outbox (organization_id, kind, subject_id, content)
     values ($1, 'plan_changed', null, '{"by": "jane@example.com"}'), ($1, 'job_ended', 'job-1', '{"by": "jane@example.com"}')`,
    [organizationId],
  );
  const dispatcher = dispatch(new Client({ connection }));
  await until(() => isThrough(dispatcher));
  expect((await listener.signals()).map(({ args }) => args)).toEqual([
    [{ eventId: expect.any(Number), kind: 'plan_changed', subjectId: null }],
  ]);
  expect(JSON.stringify(await listener.handle.fetchHistory())).not.toContain('jane');
});

it('a workflow that never was, or has ended, does not listen: nothing waits for it', async () => {
  const [never, ended] = [await createOrganization(database.superuser), await createOrganization(database.superuser)];
  const listener = await startListener(ended.organizationId);
  await listener.handle.terminate();
  for (const { organizationId } of [never, ended]) await setPlan(organizationId, 'enterprise');
  const dispatcher = dispatch(new Client({ connection }));
  await until(() => isThrough(dispatcher));
  expect(dispatcher.warnings).toEqual([]);
});

it('C7: while Temporal is away events stay, and are told when it is back', async () => {
  const [host, port] = inject('temporalAddress').split(':') as [string, string];
  const network = await startTcpProxy({ host, port: Number(port) });
  onTestFinished(() => network.close());
  const shaky = await NativeConnection.connect({ address: network.address });
  onTestFinished(() => shaky.close());
  const { organizationId } = await createOrganization(database.superuser);
  const listener = await startListener(organizationId);

  network.set('refuse');
  await setPlan(organizationId, 'enterprise');
  const dispatcher = dispatch(new Client({ connection: shaky }));
  await until(async () => (await lag(dispatcher)).failingOrganizations === 1, 30_000);
  expect(await listener.signals()).toEqual([]);

  network.set('pass');
  await elapse(database.superuser, organizationId, '5 minutes');
  await until(() => isThrough(dispatcher), 30_000);
  expect((await listener.signals()).map(({ args }) => args)).toContainEqual(await eventsOf(organizationId));
  // The listener is ended before the connection closes; the dispatcher, before both.
  await dispatcher.stop();
}, 90_000);

it('a namespace that is not there is a fault, not an absent listener', async () => {
  const { organizationId } = await createOrganization(database.superuser);
  await setPlan(organizationId, 'enterprise');
  const dispatcher = dispatch(new Client({ connection, namespace: 'mistyped' }));
  await until(async () => (await lag(dispatcher)).failingOrganizations === 1);
  expect(await isThrough(dispatcher)).toBe(false);
});
