import { Validator } from '@seriousme/openapi-schema-validator';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { problemsOf } from '../../contract/operation.ts';
import { OPERATIONS } from '../../contract/operations.ts';
import { PROBLEMS } from '../../contract/problems.ts';
import { type JsonObject, referenceOf } from '../../contract/reference.ts';
import { startBrowser } from '../support/browser.ts';
import { freshDatabase, type TestDatabase } from '../support/database.ts';
import { startTestApi, type TestApi } from './testApi.ts';

let database: TestDatabase;
let api: TestApi;
beforeAll(async () => {
  database = await freshDatabase();
  api = await startTestApi(database);
});
afterAll(async () => {
  await api.close();
  await database.drop();
});

// biome-ignore lint/suspicious/noExplicitAny: a document is walked by its paths
const document = referenceOf(OPERATIONS) as any;

describe('the document', () => {
  test('is OpenAPI 3.1, by a validator, and every reference in it leads somewhere', async () => {
    expect(await errorsIn(document)).toBeUndefined();
    for (const ref of JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)) {
      const found = ref[1]!.split('/').reduce((part, name) => part?.[name], document);
      expect(found, ref[1]).toBeDefined();
    }
  });

  test('the validator refuses a document with a mistake', async () => {
    const broken = structuredClone(document);
    delete broken.paths['/api/v1/holds'].post.responses;
    broken.paths['/api/v1/holds'].post.parameters = [{ name: 'x' }];
    expect(await errorsIn(broken)).toBeDefined();
  });

  test('names every operation once, with each status and code that it may have', () => {
    const described = Object.values(document.paths as Record<string, Record<string, JsonObject>>).flatMap((path) =>
      Object.values(path),
    );
    expect(described.map(({ operationId }) => operationId).sort()).toEqual(OPERATIONS.map(({ id }) => id).sort());
    for (const operation of OPERATIONS) {
      const { responses } = document.paths[operation.path][operation.method];
      const problems = problemsOf(operation);
      const statuses = [...Object.keys(operation.answers), ...problems.map((code) => String(PROBLEMS[code].status))];
      expect(Object.keys(responses).sort(), operation.id).toEqual([...new Set(statuses)].sort());
      for (const code of problems)
        expect(JSON.stringify(responses[PROBLEMS[code].status]), code).toContain(`"${code}"`);
    }
  });

  test('has no schema twice: what several answers share stands among the components', () => {
    const { schemas } = document.components;
    for (const [name, schema] of Object.entries(schemas)) {
      const same = Object.keys(schemas).filter((other) => JSON.stringify(schemas[other]) === JSON.stringify(schema));
      expect(same, 'give it one meta({ id })').toEqual([name]);
    }
  });

  test('is served with an ETag, and not sent again to who has it', async () => {
    const first = await api.call('/openapi.json');
    expect(first.body).toEqual(JSON.parse(JSON.stringify(document)));
    expect(first.headers.get('cache-control')).toBe('public, max-age=300');
    const eTag = first.headers.get('etag')!;
    const again = await api.call('/openapi.json', { headers: { 'If-None-Match': `"another", W/${eTag}` } });
    expect([again.status, again.text]).toEqual([304, '']);
  });
});

describe('the page', () => {
  test('shows every operation in a real browser, sends a request of one, and asks no other host for anything', async () => {
    const browser = await startBrowser();
    try {
      const page = await browser.newPage();
      page.setDefaultTimeout(30_000);
      const asked: string[] = [];
      const complaints: string[] = [];
      page.on('request', (request) => asked.push(request.url()));
      page.on('console', (message) => {
        if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
      });
      page.on('pageerror', (error) => complaints.push(error.message));
      await page.goto(new URL('/docs', api.url).href);
      await page.waitForSelector('.opblock');
      const summaries = await page.locator('.opblock-summary-description').allTextContents();
      expect(summaries.sort()).toEqual(OPERATIONS.map(({ summary }) => summary).sort());

      const liveness = page.locator('#operations-Service-getLiveness');
      await liveness.locator('.opblock-summary-control').click();
      await liveness.getByRole('button', { name: 'Try it out' }).click();
      await liveness.getByRole('button', { name: 'Execute' }).click();
      await liveness.locator('.live-responses-table .response .highlight-code').getByText('alive').first().waitFor();

      expect(complaints).toEqual([]);
      expect(asked.filter((url) => !url.startsWith(`${api.url}/`) && !url.startsWith('data:'))).toEqual([]);
      expect(asked).toContain(`${api.url}/healthz`);
    } finally {
      await browser.close();
    }
  }, 120_000);

  test('may run no script of its own text and be framed by nobody', async () => {
    const { headers } = await fetch(new URL('/docs', api.url));
    const policy = headers.get('content-security-policy')!;
    expect(policy).toContain("script-src 'self'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).not.toContain('unsafe-eval');
  });
});

async function errorsIn(of: object): Promise<unknown> {
  const { valid, errors } = await new Validator().validate(structuredClone(of) as Record<string, unknown>);
  return valid ? undefined : errors;
}
