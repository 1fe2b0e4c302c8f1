import { createServer } from 'node:net';

/**
 * Ports are taken from below the range from which the kernel gives local ports to outgoing connections (32768–60999 on
 * Linux, 49152–65535 elsewhere). A port of that range can be lost while its server restarts: to any outgoing
 * connection, or to a client that retries on loopback until the kernel connects it to itself.
 */
const FIRST_PORT = 20_000;
const LAST_PORT = 31_999;
const MAX_ATTEMPTS = 200;

/** What this process has handed out already. Its taker may not listen yet, so the kernel would call it free again. */
const handedOut = new Set<number>();

/** A loopback port on which nothing listens now; never the same one twice from one process. */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
    const port = FIRST_PORT + Math.floor(Math.random() * (LAST_PORT - FIRST_PORT + 1));
    if (handedOut.has(port)) continue;
    handedOut.add(port);
    if (await isPortFree(port)) return port;
  }
  throw new Error(
    `No free port found on 127.0.0.1 between ${FIRST_PORT} and ${LAST_PORT} after ${MAX_ATTEMPTS} attempts. Stop what listens there, or name the ports yourself.`,
  );
}

/** Asks the kernel by listening for a moment, which also sees a server that listens on all addresses. */
export function isPortFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen({ host: '127.0.0.1', port, exclusive: true }, () => probe.close(() => resolve(true)));
  });
}
