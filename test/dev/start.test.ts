import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test, vi } from 'vitest';
import type { StackUrls } from '../../dev/stack.ts';
import { isRunning } from './isRunning.ts';
import { temporaryFolder } from './temporaryFolder.ts';

// Whole stacks, on a machine that may be busy with other tests.
vi.setConfig({ testTimeout: 120_000 });

test('npm start says what to try, a second one in the folder is told of it, and SIGTERM stops everything', async () => {
  const { process: started, output, stackFile, folder } = await start();
  const { pid, ...urls } = JSON.parse(await readFile(stackFile, 'utf8')) as { pid: number } & StackUrls;
  expect((await stat(stackFile)).mode & 0o777).toBe(0o600);
  expect(pid).toBe(started.pid);
  for (const url of [urls.api, urls.temporalUi!, urls.databases.owner]) expect(output()).toContain(url);
  expect(output()).toMatch(/Development key +tg_live_/);
  expect(output()).toMatch(/Operator +tg_op_/);
  expect(output()).toContain(`curl -s '${urls.api}/api/v1/jobs`);
  const key = /Development key +(\S+)/.exec(output())![1];
  const operator = /Operator +(\S+)/.exec(output())![1];
  expect(output()).toContain(`export TOLLGATE_URL='${urls.api}' TOLLGATE_KEY='${key}' OPERATOR='${operator}'`);

  const parts = childrenOf(pid);
  expect(parts).toHaveLength(6);

  const second = run(folder);
  expect(await once(second.process, 'exit')).toEqual([1, null]);
  expect(second.output()).toContain(`Tollgate already runs in ${folder} (pid ${pid})`);

  started.kill('SIGTERM');
  expect(await once(started, 'exit')).toEqual([0, null]);
  expect(parts.filter(isRunning)).toEqual([]);
  await expect(stat(stackFile)).rejects.toThrow('ENOENT');
});

test('npm start that is killed by SIGKILL leaves nothing behind, and starts again', async () => {
  const first = await start();
  const parts = childrenOf(first.process.pid!);
  expect(parts).toHaveLength(6);
  first.process.kill('SIGKILL');
  await expect.poll(() => parts.filter(isRunning), { timeout: 10_000 }).toEqual([]);
  await start(first.folder);
});

async function start(folder?: string) {
  const stateDirectory = folder ?? join(await temporaryFolder(), 'state');
  const started = run(stateDirectory);
  await expect.poll(started.output, { timeout: 60_000 }).toContain('Ctrl-C stops it.');
  return { ...started, folder: stateDirectory, stackFile: join(stateDirectory, 'stack.json') };
}

function run(folder: string): { process: ChildProcess; output: () => string } {
  const started = spawn(process.execPath, [fileURLToPath(new URL('../../dev/start.ts', import.meta.url)), folder]);
  let text = '';
  for (const stream of [started.stdout, started.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
  }
  onTestFinished(async () => {
    if (started.exitCode !== null || started.signalCode !== null) return;
    started.kill('SIGTERM');
    await once(started, 'exit');
  });
  return { process: started, output: () => text };
}

function childrenOf(pid: number): number[] {
  const listed = execFileSync('pgrep', ['-P', String(pid)], { encoding: 'utf8' });
  return listed.trim().split('\n').map(Number);
}
