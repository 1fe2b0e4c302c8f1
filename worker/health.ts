import { createServer, type Server } from 'node:http';
import type { Connection } from '@temporalio/client';
import type { NativeConnection, Worker } from '@temporalio/worker';
import type { Pool } from 'pg';
import type { Dispatcher } from './dispatcher.ts';

/** Less than the 2 s that probes commonly give. */
const PATIENCE_MS = 1_500;

/**
 * `/healthz`: the process answers. `/readyz`: this worker really works: it polls for workflows and for activities,
 * Temporal answers, the database answers. A worker that polls nothing is not ready. How far the outbox's subscribers are
 * behind is told beside it and decides nothing: another worker would be no further.
 */
export function serveHealth(options: {
  host: string;
  port: number;
  worker: Worker;
  connection: NativeConnection | Connection;
  pool: Pool;
  dispatcher: Pick<Dispatcher, 'lag'>;
}): Promise<Server> {
  const { host, port, worker, connection, pool, dispatcher } = options;
  const server = createServer((request, response) => {
    const reply = (status: number, body: unknown) => {
      response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' });
      response.end(JSON.stringify(body));
    };
    if (request.url === '/healthz') return reply(200, { status: 'alive' });
    if (request.url !== '/readyz') return reply(404, { status: 'unknown path; try /healthz or /readyz' });

    const { runState, hasOutstandingWorkflowPoll, hasOutstandingActivityPoll } = worker.getStatus();
    const polling = runState === 'RUNNING' && hasOutstandingWorkflowPoll && hasOutstandingActivityPoll;
    Promise.all([
      answers(connection.withDeadline(Date.now() + PATIENCE_MS, () => connection.workflowService.getSystemInfo({}))),
      answers(withinPatience(pool.query('select 1'))),
      withinPatience(dispatcher.lag()).catch(() => 'unknown'),
    ]).then(([temporal, database, outbox]) => {
      const ready = polling && temporal && database;
      reply(ready ? 200 : 503, {
        status: ready ? 'ready' : 'not ready',
        worker: polling ? 'polling' : runState === 'RUNNING' ? 'not polling' : runState.toLowerCase(),
        temporal: temporal ? 'reachable' : 'unreachable',
        database: database ? 'reachable' : 'unreachable',
        outbox,
      });
    });
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => resolve(server));
  });
}

/** A database that has gone silent answers nothing at all, not even no. */
function withinPatience<T>(call: Promise<T>): Promise<T> {
  const late = new Promise<never>((_, reject) => setTimeout(() => reject(new Error('no answer')), PATIENCE_MS).unref());
  return Promise.race([call, late]);
}

function answers(call: Promise<unknown>): Promise<boolean> {
  return call.then(
    () => true,
    () => false,
  );
}
