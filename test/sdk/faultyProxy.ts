import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/**
 * What happens to one request on its way:
 * - pass: nothing.
 * - lose_answer: it arrives and takes effect; the connection is cut in place of the answer.
 * - cut: it never arrives.
 * - unavailable: Tollgate's own 503, which says that nothing is known.
 * - bad_gateway: a page of a proxy.
 */
export type Fault = 'pass' | 'lose_answer' | 'cut' | 'unavailable' | 'bad_gateway';

export interface SeenRequest {
  method: string;
  path: string;
  key: string | undefined;
}

export interface FaultyProxy {
  url: string;
  seen: SeenRequest[];
  /** Asked for each request; from now on. */
  decide(by: (request: SeenRequest) => Fault | Promise<Fault>): void;
  /** Passes on to another address from now on. */
  retarget(url: string): void;
  close(): Promise<void>;
}

/** A network in front of a real API, that a test breaks request by request. */
export async function startFaultyProxy(target: string): Promise<FaultyProxy> {
  const seen: SeenRequest[] = [];
  let to = target;
  let decide: (request: SeenRequest) => Fault | Promise<Fault> = () => 'pass';
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const key = request.headers['idempotency-key'] as string | undefined;
    const one = { method: request.method!, path: request.url!, key };
    seen.push(one);
    const fault = await decide(one);
    if (fault === 'cut') return void request.socket.destroy();
    if (fault === 'bad_gateway') return void response.writeHead(502).end('<html>');
    if (fault === 'unavailable') {
      response.writeHead(503, { 'content-type': 'application/problem+json' });
      return void response.end(
        JSON.stringify({ code: 'database_unavailable', status: 503, title: '', detail: 'Later.', requestId: 'r' }),
      );
    }
    const { host, connection, 'transfer-encoding': _, 'content-length': __, ...headers } = request.headers;
    const answer = await fetch(new URL(request.url!, to), {
      method: request.method!,
      headers: headers as Record<string, string>,
      ...(chunks.length === 0 ? {} : { body: Buffer.concat(chunks) }),
    }).catch(() => null);
    const text = await answer?.text();
    if (answer === null || fault === 'lose_answer') return void request.socket.destroy();
    const passedOn = ['content-type', 'idempotent-replayed', 'retry-after'].flatMap((name) => {
      const value = answer.headers.get(name);
      return value === null ? [] : [[name, value] as const];
    });
    response.writeHead(answer.status, Object.fromEntries(passedOn)).end(text);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    decide: (by) => {
      decide = by;
    },
    retarget: (url) => {
      to = url;
    },
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
