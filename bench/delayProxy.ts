import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import {
  isMainThread,
  type MessagePort,
  parentPort,
  receiveMessageOnPort,
  Worker,
  workerData,
} from 'node:worker_threads';

export interface DelayProxy {
  port: number;
  stop(): Promise<void>;
}

/**
 * A TCP proxy that brings what a client sends to the server late, as a network would, and the answer at once: the delay is
 * that of a round trip. In threads of its own: a busy caller must not slow the wire.
 */
export async function startDelayProxy(options: { port: number; delayMs: number }): Promise<DelayProxy> {
  const alarm = new MessageChannel();
  const rings = new Int32Array(new SharedArrayBuffer(4));
  const start = (work: ThreadWork, ...ports: MessagePort[]) =>
    new Worker(new URL(import.meta.url), { workerData: work, transferList: ports });
  const clock = start({ thread: 'alarm', alarm: alarm.port1, rings }, alarm.port1);
  const proxy = start({ thread: 'proxy', alarm: alarm.port2, rings, ...options }, alarm.port2);
  const [port] = await once(proxy, 'message');
  return {
    port,
    stop: async () => {
      await Promise.all([proxy.terminate(), clock.terminate()]);
    },
  };
}

/** Waited on for nothing but the time-out. */
const NEVER_RUNG = new Int32Array(new SharedArrayBuffer(4));

type ThreadWork = { alarm: MessagePort; rings: Int32Array } & (
  | { thread: 'alarm' }
  | { thread: 'proxy'; port: number; delayMs: number }
);

if (!isMainThread) {
  const work: ThreadWork = workerData;
  if (work.thread === 'alarm') ring(work);
  else serve(work);
}

/**
 * Node's timers count whole milliseconds from the beginning of the loop's turn, so that one of 1 ms takes 1.6. This sleeps to
 * the microsecond, and so needs a thread that does nothing else.
 */
function ring({ alarm, rings }: ThreadWork): never {
  for (;;) {
    const heard = Atomics.load(rings, 0);
    const wish: { message: number } | undefined = receiveMessageOnPort(alarm);
    if (!wish) {
      Atomics.wait(rings, 0, heard);
      continue;
    }
    // Dues come in the order of time: each is as late as all others.
    const ms = wish.message - instant();
    if (ms > 0) Atomics.wait(NEVER_RUNG, 0, 0, ms);
    alarm.postMessage(null);
  }
}

function serve({ alarm, rings, port, delayMs }: ThreadWork & { thread: 'proxy' }): void {
  const onTheWay: { to: Socket; chunk: Buffer }[] = [];
  alarm.on('message', () => {
    const { to, chunk } = onTheWay.shift()!;
    to.write(chunk);
  });
  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connect({ port, host: '127.0.0.1', noDelay: true });
    upstream.pipe(client);
    client.on('data', (chunk) => {
      onTheWay.push({ to: upstream, chunk });
      alarm.postMessage(instant() + delayMs);
      Atomics.add(rings, 0, 1);
      Atomics.notify(rings, 0);
    });
    // One end gone is both gone; what is written to it meanwhile is lost, as on a wire.
    for (const one of [client, upstream]) {
      const closeBoth = () => {
        client.destroy();
        upstream.destroy();
      };
      one.on('error', closeBoth).on('close', closeBoth);
    }
  });
  server.listen(0, '127.0.0.1', () => parentPort!.postMessage((server.address() as { port: number }).port));
}

/** The same clock for every thread. */
function instant(): number {
  return performance.timeOrigin + performance.now();
}
