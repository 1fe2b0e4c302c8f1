import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { createContext, runInContext } from 'node:vm';
import { build } from 'esbuild';
import { beforeAll, expect, onTestFinished, test } from 'vitest';
import { bundleSdk, type SdkEntry } from '../../dev/sdkBundle.ts';

const SDK = fileURLToPath(new URL('../../sdk', import.meta.url));
/** Of each entry with all that it takes along. A dependency that slips in is far above it. */
const MOST_GZIPPED_BYTES = 12_000;

let entries: SdkEntry[];
beforeAll(async () => {
  entries = await bundleSdk('/bundle');
});

test('no entry takes a package or the contract along, and none but the file queue needs Node', () => {
  expect(entries.map(({ name, platform }) => `${name} ${platform}`).toSorted()).toEqual([
    '@tollgate/sdk browser',
    '@tollgate/sdk/fileQueue node',
    '@tollgate/sdk/withTokens browser',
  ]);
  for (const { name, platform, sources, externals, files, gzippedBytes } of entries) {
    const foreign = sources.filter((source) => !/^([A-Za-z]+\.ts|\.\.\/domain\/[A-Za-z]+\.ts)$/.test(source));
    expect([name, foreign]).toEqual([name, []]);
    expect([name, externals.every((external) => platform === 'node' && external.startsWith('node:'))]).toEqual([
      name,
      true,
    ]);
    expect(files.some(({ text }) => /\bzod\b|ZodType|node:/.test(text))).toBe(platform === 'node');
    expect(gzippedBytes).toBeLessThan(MOST_GZIPPED_BYTES);
  }
});

test('a bundle that takes zod along is noticed', async () => {
  const { outputFiles } = await build({
    stdin: {
      contents: "import { holdRequest } from '../contract/holds.ts'; console.log(holdRequest)",
      resolveDir: SDK,
    },
    bundle: true,
    minify: true,
    write: false,
    format: 'esm',
  });
  expect(outputFiles[0]!.text).toMatch(/\bzod\b|ZodType/);
});

test('it runs where there is nothing but what a browser has', async () => {
  const { outputFiles } = await build({
    entryPoints: [`${SDK}/tokens.ts`],
    bundle: true,
    write: false,
    platform: 'browser',
    format: 'iife',
    globalName: 'tollgateSdk',
  });
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    response.end('{"status":"alive"}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const browser = createContext({
    ...{
      fetch,
      crypto,
      performance,
      AbortController,
      AbortSignal,
      DOMException,
      URLSearchParams,
      setTimeout,
      clearTimeout,
    },
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
  });
  const found = runInContext(
    `${outputFiles[0]!.text}
     tollgateSdk.createTollgate({ url, accessToken: () => 'token' }).health.alive().then((answer) =>
       JSON.stringify([answer, typeof process, tollgateSdk.TOKEN_COSTS.generate_goal]))`,
    browser,
  );
  expect(JSON.parse(await found)).toEqual([{ status: 'alive' }, 'undefined', 3]);
  expect(asked).toEqual(['GET /healthz']);
  const unconfigured = runInContext("tollgateSdk.getTokenStats('org').catch((error) => error.message)", browser);
  expect(await unconfigured).toContain('Tell where Tollgate is');
});
