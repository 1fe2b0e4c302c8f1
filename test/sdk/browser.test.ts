import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename } from 'node:path';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { bundleSdk } from '../../dev/sdkBundle.ts';
import { startTestApi, type TestApi } from '../api/testApi.ts';
import { startBrowser } from '../support/browser.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { expectInvariants } from '../support/invariants.ts';
import { balanceOf, createOrganization } from '../support/organization.ts';

let database: TestDatabase;
let api: TestApi;
let browser: Browser;
beforeAll(async () => {
  database = await freshDatabase();
  api = await startTestApi(database);
  browser = await startBrowser();
});
afterAll(async () => {
  await expectInvariants(database.superuser);
  await browser.close();
  await api.close();
  await database.drop();
});

test('the bundle checks, and holds, works and charges, in a real browser on its app’s own origin', async () => {
  const { organizationId, secret } = await createOrganization(database.superuser);
  const app = await startApp(api.url);
  const page = await browser.newPage();
  await page.goto(app);
  // As text, so that nothing compiles it for another place than the page.
  const seen = await page.evaluate(`(async () => {
    const { createTollgate } = await import('/sdk/tokens.js');
    const tollgate = createTollgate({ url: location.origin, accessToken: async () => ${JSON.stringify(secret)} });
    const check = { organizationId: ${JSON.stringify(organizationId)}, featureUsed: 'generate_goal', action: 'check' };
    const { hasTokens } = await tollgate.tokens.checkBalance(check);
    const result = await tollgate.withTokens('generate_goal', async (held) => {
      await held.grow(2);
      held.use(4);
      return held.tokens;
    });
    const refusal = await tollgate.withTokens('generate_goal', async () => {}, { tokens: 1000 }).catch((error) => error.code);
    return [hasTokens, result, refusal];
  })()`);
  expect(seen).toEqual([true, 5, 'tokens_insufficient']);
  expect(await balanceOf(database.superuser, organizationId, 'goal_generation')).toMatchObject({
    available: 16,
    held: 0,
  });
});

/** An app's server: its page, the SDK, and Tollgate under the same origin, since the API lets no other origin in. */
async function startApp(tollgate: string): Promise<string> {
  const entries = await bundleSdk('/sdk');
  const scripts = new Map(
    entries.flatMap(({ files }) => files.map(({ path, text }) => [`/sdk/${basename(path)}`, text])),
  );
  const server = createServer(async (request, response) => {
    const script = scripts.get(request.url!);
    if (script !== undefined) return void response.writeHead(200, { 'content-type': 'text/javascript' }).end(script);
    if (!request.url!.startsWith('/api/')) {
      return void response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>App</title>');
    }
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const passedOn = ['authorization', 'content-type', 'idempotency-key'].flatMap((name) =>
      request.headers[name] === undefined ? [] : [[name, String(request.headers[name])] as [string, string]],
    );
    const answer = await fetch(new URL(request.url!, tollgate), {
      method: request.method!,
      headers: passedOn,
      ...(chunks.length === 0 ? {} : { body: Buffer.concat(chunks) }),
    });
    response
      .writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? 'application/json' })
      .end(await answer.text());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}
