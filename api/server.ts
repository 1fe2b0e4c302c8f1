import { randomUUID } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import type { Hono } from 'hono';
import { PROBLEM_MEDIA_TYPE, PROBLEMS, type ProblemCode, problemBody } from '../contract/problems.ts';
import type { ApiEnv } from './requestContext.ts';

export interface ApiServer {
  url: string;
  /** Takes no new connections, lets requests in flight finish within `graceMs`, then cuts what is left. */
  close(graceMs: number): Promise<void>;
}

/** Serves the app over HTTP. Port 0 takes a free one. */
export async function serve(
  app: Hono<ApiEnv>,
  { host, port, limits = LIMITS }: { host: string; port: number; limits?: typeof LIMITS },
): Promise<ApiServer> {
  const server = createServer(limits, getRequestListener(app.fetch, { errorHandler: unusableRequest }));
  server.on('clientError', answerBrokenRequest);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  const { port: boundPort } = server.address() as AddressInfo;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${boundPort}`,
    close: (graceMs) => close(server, graceMs),
  };
}

/** Bounds of what a caller may make us wait for, in ms, and of the headers, in bytes. A long `wait` for a job is no request in arrival, so none of them ends it. */
export const LIMITS = {
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  connectionsCheckingInterval: 2_000,
  // Longer than the idle time-out of common load balancers, so that it is they who end an idle connection.
  keepAliveTimeout: 65_000,
  maxHeaderSize: 16 * 1024,
};

/** A request that cannot even be put before the app: no Host header, or an address that is none. */
function unusableRequest(): Response {
  const body = problemBody('invalid_request', randomUUID(), {
    errors: [{ path: '', message: 'The Host header or the address of the request is not valid.' }],
  });
  return new Response(JSON.stringify(body), { status: body.status, headers: { 'Content-Type': PROBLEM_MEDIA_TYPE } });
}

const BROKEN_REQUESTS: Readonly<Record<string, ProblemCode>> = {
  ERR_HTTP_REQUEST_TIMEOUT: 'request_timeout',
  HPE_HEADER_OVERFLOW: 'headers_too_large',
};

/** What Node could not read as HTTP, or not in time. */
function answerBrokenRequest(
  error: NodeJS.ErrnoException,
  socket: Socket & { _httpMessage?: { headersSent: boolean } },
) {
  // Something of an answer is on its way: a second one would be read as a part of it.
  if (!socket.writable || error.code === 'ECONNRESET' || socket._httpMessage?.headersSent) {
    socket.destroy();
    return;
  }
  const code = BROKEN_REQUESTS[error.code ?? ''] ?? 'invalid_request';
  const body = JSON.stringify(problemBody(code, randomUUID()));
  socket.end(
    [
      `HTTP/1.1 ${PROBLEMS[code].status} ${PROBLEMS[code].title}`,
      `Content-Type: ${PROBLEM_MEDIA_TYPE}`,
      `Content-Length: ${Buffer.byteLength(body)}`,
      'Connection: close',
      '',
      body,
    ].join('\r\n'),
  );
}

async function close(server: Server, graceMs: number): Promise<void> {
  const closed = new Promise((resolve) => server.close(resolve));
  // A connection that becomes idle from now on would be kept open for its next request.
  const reaper = setInterval(() => server.closeIdleConnections(), 50);
  const cut = setTimeout(() => server.closeAllConnections(), graceMs);
  await closed;
  clearInterval(reaper);
  clearTimeout(cut);
}
