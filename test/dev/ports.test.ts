import { once } from 'node:events';
import { createServer } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { freePort, isPortFree } from '../../dev/ports.ts';

test('ports that are asked for at the same time all differ', async () => {
  const ports = await Promise.all(Array.from({ length: 200 }, freePort));
  expect(new Set(ports).size).toBe(ports.length);
});

test.each(['127.0.0.1', '0.0.0.0'])('a port on which something listens at %s is not free', async (host) => {
  const server = createServer().listen(await freePort(), host);
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  expect(await isPortFree(port)).toBe(false);
});
