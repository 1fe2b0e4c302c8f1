import { createServer, type Server } from 'node:http';
import type { Connection } from '@temporalio/client';
import type { NativeConnection, Worker } from '@temporalio/worker';
import type { Pool } from 'pg';

/**
 * `/healthz`: the process answers. `/readyz`: this worker really works: it polls for workflows and for activities,
 * Temporal answers, the database answers. A worker that polls nothing is not ready.
 */
export function serveHealth(options: {
  host: string;
  port: number;
  worker: Worker;
  connection: NativeConnection | Connection;
  pool: Pool;
}): Promise<Server> {
  const { host, port, worker, connection, pool } = options;
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
      answers(connection.withDeadline(Date.now() + 2_000, () => connection.workflowService.getSystemInfo({}))),
      answers(pool.query('select 1')),
    ]).then(([temporal, database]) => {
      const ready = polling && temporal && database;
      reply(ready ? 200 : 503, {
        status: ready ? 'ready' : 'not ready',
        worker: polling ? 'polling' : runState === 'RUNNING' ? 'not polling' : runState.toLowerCase(),
        temporal: temporal ? 'reachable' : 'unreachable',
        database: database ? 'reachable' : 'unreachable',
      });
    });
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, () => resolve(server));
  });
}

function answers(call: Promise<unknown>): Promise<boolean> {
  return call.then(
    () => true,
    () => false,
  );
}
