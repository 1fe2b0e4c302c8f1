import { once } from 'node:events';
import { connect } from 'node:net';

/**
 * One keep-alive connection that asks, waits for the answer and asks again. Node's own client would take more of the two
 * cores than the servers that are measured. Reads answers with a Content-Length, which is what both sides send.
 */
export interface HttpCaller {
  /** Answers the body; throws on any status but 200. */
  ask(request: Buffer): Promise<string>;
  close(): void;
}

export function postOf(options: { path: string; body: unknown; headers: Record<string, string> }): Buffer {
  const body = JSON.stringify(options.body);
  const headers = {
    Host: 'localhost',
    'Content-Type': 'application/json',
    'Content-Length': Buffer.byteLength(body),
    ...options.headers,
  };
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
  return Buffer.from(`POST ${options.path} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n${body}`);
}

export async function openHttpCaller(port: number): Promise<HttpCaller> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  await once(socket, 'connect');
  let received = '';
  let waiting: { resolve: (body: string) => void; reject: (error: Error) => void } | undefined;
  // One byte, one character: what is asked here is answered in ASCII.
  socket.setEncoding('latin1');
  socket.on('data', (chunk: string) => {
    received += chunk;
    const headerEnd = received.indexOf('\r\n\r\n');
    if (headerEnd < 0) return;
    const length = /\r\ncontent-length: *(\d+)/i.exec(received.slice(0, headerEnd))?.[1];
    if (length === undefined) return fail(new Error(`no Content-Length in ${received}`));
    if (received.length < headerEnd + 4 + Number(length)) return;
    const answer = received;
    received = '';
    const body = answer.slice(headerEnd + 4);
    if (answer.startsWith('HTTP/1.1 200 ')) waiting?.resolve(body);
    else fail(new Error(answer));
  });
  socket.on('error', fail).on('close', () => fail(new Error('the server closed the connection')));
  function fail(error: Error) {
    waiting?.reject(error);
  }
  return {
    ask: (request) =>
      new Promise((resolve, reject) => {
        waiting = { resolve, reject };
        socket.write(request);
      }),
    close: () => socket.destroy(),
  };
}
