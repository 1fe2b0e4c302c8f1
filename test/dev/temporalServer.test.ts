import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { defineSearchAttributeKey, TypedSearchAttributes } from '@temporalio/common';
import { expect, onTestFinished, test } from 'vitest';
import { startTemporalServer, type TemporalServerOptions } from '../../dev/temporalServer.ts';
import { isRunning } from './isRunning.ts';
import { startElsewhere } from './startElsewhere.ts';
import { temporaryFolder } from './temporaryFolder.ts';

test('the Temporal server dies with the process that started it, even by SIGKILL', async () => {
  // With a log file of its own: a server that writes to us would end by the broken pipe, tethered or not.
  const logFile = join(await temporaryFolder(), 'temporal.log');
  const { parent, child } = await startElsewhere(`
    import { startTemporalServer } from '${new URL('../../dev/temporalServer.ts', import.meta.url)}';
    const server = await startTemporalServer({ logFile: '${logFile}', say: () => {} });
    console.log(server.pid);
  `);
  expect(isRunning(child)).toBe(true);
  process.kill(parent, 'SIGKILL');
  await expect.poll(() => isRunning(child), { timeout: 10_000 }).toBe(false);
});

test('a killed Temporal server starts again on the same file with its workflows and search attributes', async () => {
  const databaseFile = join(await temporaryFolder(), 'temporal.db');
  const first = await start({ databaseFile });
  const organization = defineSearchAttributeKey('OrganizationId', 'KEYWORD');
  await withClient(first.address, (client) =>
    client.workflow.start('nobodyRunsIt', {
      workflowId: 'kept',
      taskQueue: 'nobody',
      typedSearchAttributes: new TypedSearchAttributes([{ key: organization, value: 'org-1' }]),
    }),
  );

  process.kill(first.pid, 'SIGKILL');
  await first.exited;

  const second = await start({ databaseFile, port: Number(first.address.split(':')[1]) });
  expect(second.address).toBe(first.address);
  const kept = await withClient(second.address, (client) => client.workflow.getHandle('kept').describe());
  expect(kept.status.name).toBe('RUNNING');
  expect(kept.typedSearchAttributes.get(organization)).toBe('org-1');
});

test('a port that is taken is refused, rather than taking its listener for ours', async () => {
  const first = await start({});
  const port = Number(first.address.split(':')[1]);
  await expect(start({ port })).rejects.toThrow(`Port ${port}, meant for Temporal, is taken.`);
});

async function start(options: Omit<TemporalServerOptions, 'say'>) {
  const server = await startTemporalServer({ ...options, say: () => {} });
  onTestFinished(() => server.stop());
  return server;
}

async function withClient<T>(address: string, work: (client: Client) => Promise<T>): Promise<T> {
  const connection = await Connection.connect({ address });
  try {
    return await work(new Client({ connection }));
  } finally {
    await connection.close();
  }
}
