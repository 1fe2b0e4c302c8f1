import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { freePort } from '../../dev/ports.ts';
import { type ServiceOptions, spawnService } from '../../dev/serviceProcess.ts';
import { isRunning } from './isRunning.ts';
import { startElsewhere } from './startElsewhere.ts';
import { temporaryFolder } from './temporaryFolder.ts';

test('a service is ready once its URL answers 2xx, and its output is in the log file', async () => {
  const port = await freePort();
  const readyUrl = `http://127.0.0.1:${port}/readyz`;
  const logFile = join(await temporaryFolder(), 'service.log');
  await service({
    logFile,
    readyUrl,
    script: `
      let asked = 0;
      require('node:http').createServer((_, response) => {
        asked += 1;
        console.log('asked ' + asked);
        response.writeHead(asked < 3 ? 503 : 200).end();
      }).listen(${port}, '127.0.0.1');`,
  });
  expect(await readFile(logFile, 'utf8')).toBe('asked 1\nasked 2\nasked 3\n');
});

test('a line of an earlier run does not make a service ready', async () => {
  const logFile = join(await temporaryFolder(), 'service.log');
  const script = `console.log('ready'); setInterval(() => {}, 1000);`;
  await (await service({ logFile, readyLine: 'ready', script })).stop();
  await expect(service({ logFile, readyLine: 'ready', script: 'process.exit(3)' })).rejects.toThrow('exit code 3');
});

test('a service that ends before it is ready is reported with what it said', async () => {
  const logFile = join(await temporaryFolder(), 'service.log');
  const script = `console.error('DATABASE_URL is missing'); process.exit(1)`;
  await expect(service({ logFile, readyLine: 'ready', script })).rejects.toThrow(
    /The service ended by itself \(exit code 1\)\..*DATABASE_URL is missing/s,
  );
});

test('a service that ignores SIGTERM for a while is given the time to drain', async () => {
  const logFile = join(await temporaryFolder(), 'service.log');
  const running = await service({
    logFile,
    readyLine: 'ready',
    script: `
      process.on('SIGTERM', () => setTimeout(() => { console.log('drained'); process.exit(0); }, 300));
      setInterval(() => {}, 1000);
      console.log('ready');`,
  });
  await running.stop();
  expect(await running.exited).toEqual({ code: 0, signal: null });
  expect(await readFile(logFile, 'utf8')).toBe('ready\ndrained\n');
});

test('a service dies with the process that started it, even by SIGKILL', async () => {
  const logFile = join(await temporaryFolder(), 'service.log');
  const { parent, child } = await startElsewhere(`
    import { spawnService } from '${new URL('../../dev/serviceProcess.ts', import.meta.url)}';
    const service = await spawnService({ name: 'x', command: 'sleep', args: ['600'], env: process.env, logFile: '${logFile}' });
    console.log(service.pid);
  `);
  expect(isRunning(child)).toBe(true);
  process.kill(parent, 'SIGKILL');
  await expect.poll(() => isRunning(child), { timeout: 10_000 }).toBe(false);
});

async function service({
  script,
  ...options
}: Pick<ServiceOptions, 'logFile' | 'readyUrl' | 'readyLine'> & { script: string }) {
  const running = await spawnService({
    name: 'The service',
    command: process.execPath,
    args: ['--input-type=commonjs', '--eval', script],
    env: process.env,
    ...options,
  });
  onTestFinished(() => running.stop());
  return running;
}
