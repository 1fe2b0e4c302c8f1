import { once } from 'node:events';
import { stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { freePort } from '../../dev/ports.ts';
import { createStateDirectory, readStackState } from '../../dev/stackState.ts';
import { temporaryFolder } from './temporaryFolder.ts';

const quietly = () => {};

test('a second start has the ports and passwords of the first, whatever is wished for then', async () => {
  const folder = await stateFolder();
  const wish = await freePort();
  const first = await readStackState(folder, { api: wish }, quietly);
  expect(first.ports.api).toBe(wish);
  expect(await readStackState(folder, { api: await freePort() }, quietly)).toEqual(first);
});

test('a port that somebody else has taken meanwhile is replaced, and said aloud', async () => {
  const folder = await stateFolder();
  const first = await readStackState(folder, {}, quietly);
  const squatter = createServer().listen(first.ports.api, '127.0.0.1');
  onTestFinished(() => void squatter.close());
  await once(squatter, 'listening');

  const lines: string[] = [];
  const second = await readStackState(folder, {}, (line) => lines.push(line));
  expect(second).toEqual({ ...first, ports: { ...first.ports, api: second.ports.api } });
  expect(second.ports.api).not.toBe(first.ports.api);
  expect(lines).toEqual([`Port ${first.ports.api} (api) is taken by something else; using ${second.ports.api}`]);
});

test('a port that is configured is taken before the one of last time, and refused aloud when it is not free', async () => {
  const folder = await stateFolder();
  await readStackState(folder, 'free', quietly);
  const api = await freePort();
  expect((await readStackState(folder, 'free', quietly, { api })).ports.api).toBe(api);
  const squatter = createServer().listen(api, '127.0.0.1');
  onTestFinished(() => void squatter.close());
  await once(squatter, 'listening');
  await expect(readStackState(folder, 'free', quietly, { api })).rejects.toThrow(`Port ${api} (api) is taken`);
});

test('the passwords are in a file that only we can read', async () => {
  const folder = await stateFolder();
  await readStackState(folder, 'free', quietly);
  expect((await stat(join(folder, 'state.json'))).mode & 0o777).toBe(0o600);
});

async function stateFolder(): Promise<string> {
  const folder = join(await temporaryFolder(), 'state');
  await createStateDirectory(folder);
  return folder;
}
