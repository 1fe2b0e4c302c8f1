import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { lockState } from '../../dev/stateLock.ts';
import { temporaryFolder } from './temporaryFolder.ts';

test('a second stack in the same folder is refused, until the first has given it free', async () => {
  const folder = await temporaryFolder();
  const unlock = await lockState(folder);
  await expect(lockState(folder)).rejects.toThrow(`Tollgate already runs in ${folder} (pid ${process.pid})`);
  await unlock();
  await lockState(folder);
});

test.each([
  ['a process that is gone', JSON.stringify({ pid: 2 ** 22 + 1, began: '1' })],
  ['a process whose pid was given to another since', JSON.stringify({ pid: process.pid, began: 'long ago' })],
  ['a process that was killed while it wrote the lock', '{"pid":'],
])('the lock of %s is taken over', async (_, left) => {
  const folder = await temporaryFolder();
  await writeFile(join(folder, 'lock'), left);
  await lockState(folder);
  await expect(lockState(folder)).rejects.toThrow('already runs');
});
