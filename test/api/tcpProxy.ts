import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/**
 * - pass: as if it were not there.
 * - refuse: the other side is down; every connection is cut.
 * - silence: the network swallows everything, and nobody is told.
 * - lose_answers: what is sent arrives, the answers do not.
 * - delay_answers: what is sent arrives, the answers when the mode changes.
 */
export type ProxyMode = 'pass' | 'refuse' | 'silence' | 'lose_answers' | 'delay_answers';

export interface TcpProxy {
  /** host:port to connect to instead of the target. */
  address: string;
  port: number;
  set(mode: ProxyMode): void;
  close(): Promise<void>;
}

/** A network in front of a real server, that a test can break. */
export async function startTcpProxy(target: { host: string; port: number }): Promise<TcpProxy> {
  let mode: ProxyMode = 'pass';
  const sockets = new Set<Socket>();
  const delayed: (() => void)[] = [];
  const cutAll = () => {
    for (const socket of sockets) socket.destroy();
  };

  const server = createServer((near) => {
    if (mode === 'refuse') return near.destroy();
    const far = connect(target);
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => {});
      socket.on('close', () => {
        sockets.delete(socket);
        near.destroy();
        far.destroy();
      });
    }
    near.on('data', (bytes) => mode !== 'silence' && far.write(bytes));
    far.on('data', (bytes) => {
      if (mode === 'pass') near.write(bytes);
      if (mode === 'delay_answers') delayed.push(() => near.write(bytes));
    });
    return undefined;
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    address: `127.0.0.1:${port}`,
    port,
    set: (next) => {
      // Bytes are missing in connections that were broken: they must not be taken up again.
      if (next === 'refuse' || !['pass', 'delay_answers'].includes(mode)) cutAll();
      for (const write of delayed.splice(0)) write();
      mode = next;
    },
    close: async () => {
      cutAll();
      server.close();
      await once(server, 'close');
    },
  };
}
