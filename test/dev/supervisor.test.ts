import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { spawnService } from '../../dev/serviceProcess.ts';
import { type SupervisedPart, type SupervisorOptions, supervise } from '../../dev/supervisor.ts';
import { isRunning } from './isRunning.ts';
import { temporaryFolder } from './temporaryFolder.ts';

test('a supervised process that is killed comes back, and one line says so', async () => {
  const lines: string[] = [];
  const part = await supervised({ name: 'Sleeper', start: await sleeper(), say: (line) => lines.push(line) });
  const first = part.pid();

  expect(part.kill('SIGKILL')).toBe(true);
  await part.restarted();

  expect(part.pid()).not.toBe(first);
  expect(isRunning(part.pid())).toBe(true);
  expect(lines).toEqual([
    'Sleeper ended unexpectedly (SIGKILL); starting it again in 200 ms',
    `Sleeper runs again (pid ${part.pid()})`,
  ]);
});

test('"restarted" also answers when it is asked after the restart', async () => {
  const part = await supervised({ name: 'Sleeper', start: await sleeper(), say: () => {} });
  const first = part.pid();
  part.kill('SIGKILL');
  await expect.poll(() => part.pid()).not.toBe(first);
  await part.restarted();
});

test('a start that fails is tried again after a pause that doubles', async () => {
  const start = await sleeper();
  const lines: string[] = [];
  let starts = 0;
  const part = await supervised({
    name: 'Sleeper',
    start: () => {
      starts += 1;
      return starts === 2 || starts === 3 ? Promise.reject(new Error('not yet')) : start();
    },
    say: (line) => lines.push(line),
  });
  part.kill('SIGKILL');
  await part.restarted();
  expect(lines.slice(0, 3)).toEqual([
    'Sleeper ended unexpectedly (SIGKILL); starting it again in 200 ms',
    'Sleeper did not start: not yet; starting it again in 400 ms',
    'Sleeper did not start: not yet; starting it again in 800 ms',
  ]);
});

test('a supervised process that is stopped stays stopped', async () => {
  let starts = 0;
  const start = await sleeper();
  const lines: string[] = [];
  const part = await supervise({
    name: 'Sleeper',
    start: () => {
      starts += 1;
      return start();
    },
    say: (line) => lines.push(line),
  });
  await part.stop();
  expect(isRunning(part.pid())).toBe(false);
  expect({ starts, lines }).toEqual({ starts: 1, lines: [] });
});

test('a part that is stopped while it is being started again leaves nothing running', async () => {
  const start = await sleeper();
  const part = await supervise({ name: 'Sleeper', start, say: () => {} });
  process.kill(part.pid(), 'SIGKILL');
  await expect.poll(() => isRunning(part.pid())).toBe(false);
  await part.stop();
  expect(isRunning(part.pid())).toBe(false);
});

test('a first start that fails is the caller’s to hear of', async () => {
  const start = () => Promise.reject(new Error('no such thing'));
  await expect(supervise({ name: 'Sleeper', start, say: () => {} })).rejects.toThrow('no such thing');
});

async function supervised(options: SupervisorOptions): Promise<SupervisedPart> {
  const part = await supervise(options);
  onTestFinished(() => part.stop());
  return part;
}

async function sleeper(): Promise<SupervisorOptions['start']> {
  const logFile = join(await temporaryFolder(), 'sleeper.log');
  return () => spawnService({ name: 'Sleeper', command: 'sleep', args: ['600'], env: process.env, logFile });
}
