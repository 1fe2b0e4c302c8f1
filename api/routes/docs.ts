import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { Hono } from 'hono';
import { DOCS_PATH, getDocs, getDocsFile, getOpenApi, OPEN_API_PATH } from '../../contract/docs.ts';
import { OPERATIONS } from '../../contract/operations.ts';
import { referenceOf } from '../../contract/reference.ts';
import type { Authentication } from '../middleware/authenticated.ts';
import { mount } from '../mount.ts';
import { problemReply } from '../problemReply.ts';
import type { ApiContext, ApiEnv } from '../requestContext.ts';

/** The reference, for programs and for people. All of it is served from here: the page asks no other host for anything. */
export function docsRoutes(authentication: Authentication) {
  const routes = new Hono<ApiEnv>();
  // Made at the first request: a process that nobody asks for it does without.
  const document = once(async () => fileOf('application/json', JSON.stringify(referenceOf(OPERATIONS))));
  const page = fileOf('text/html; charset=utf-8', PAGE);
  const files = new Map(
    Object.entries(FILES).map(([name, read]) => [name, once(async () => fileOf(mediaTypeOf(name), await read()))]),
  );

  mount(routes, authentication, getOpenApi, async (c) => replyWithFile(c, await document()));
  mount(routes, authentication, getDocs, (c) => replyWithFile(c, page, { 'Content-Security-Policy': POLICY }));
  mount(routes, authentication, getDocsFile, async (c) => {
    const file = files.get(c.req.param('file')!);
    return file === undefined ? problemReply(c, 'route_not_found') : replyWithFile(c, await file());
  });

  return routes;
}

interface ServedFile {
  mediaType: string;
  bytes: Uint8Array<ArrayBuffer>;
  eTag: string;
}

function fileOf(mediaType: string, content: string | Uint8Array): ServedFile {
  const bytes = new Uint8Array(Buffer.from(content));
  const digest = createHash('sha256').update(bytes).digest('base64url').slice(0, 22);
  return { mediaType, bytes, eTag: `"${digest}"` };
}

/** It changes with a deploy and at no other time: kept for five minutes, and then asked for by its ETag. */
function replyWithFile(c: ApiContext, file: ServedFile, headers: Record<string, string> = {}): Response {
  const cached = { ETag: file.eTag, 'Cache-Control': 'public, max-age=300', ...headers };
  const known = (c.req.header('if-none-match') ?? '').split(',').map((eTag) => eTag.trim().replace(/^W\//, ''));
  if (known.includes(file.eTag)) return c.body(null, 304, cached);
  return c.body(file.bytes, 200, { 'Content-Type': file.mediaType, ...cached });
}

function once<Value>(make: () => Promise<Value>): () => Promise<Value> {
  let made: Promise<Value> | undefined;
  return () => {
    made ??= make();
    return made;
  };
}

const { resolve } = createRequire(import.meta.url);
const ofSwagger = (name: string) => () => readFile(resolve(`swagger-ui-dist/${name}`));

/** Addresses in the page are relative to `/docs`, so that it also works behind a prefix. */
const PAGE = `<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>Tollgate: the HTTP API</title>
    <link rel="icon" type="image/png" href=".${DOCS_PATH}/favicon-32x32.png">
    <link rel="stylesheet" href=".${DOCS_PATH}/swagger-ui.css">
  </head>
  <body>
    <main id="reference"></main>
    <script src=".${DOCS_PATH}/swagger-ui-bundle.js"></script>
    <script src=".${DOCS_PATH}/start.js"></script>
  </body>
</html>
`;

/** `validatorUrl`: left alone, Swagger UI shows a badge of an outside host. A credential is kept by the page that is open, and nowhere. */
const START = `SwaggerUIBundle({
  url: new URL('.${OPEN_API_PATH}', document.baseURI).href,
  dom_id: '#reference',
  deepLinking: true,
  docExpansion: 'list',
  defaultModelsExpandDepth: 0,
  persistAuthorization: false,
  validatorUrl: null,
});
`;

const FILES: Readonly<Record<string, () => Promise<string | Uint8Array>>> = {
  'swagger-ui.css': ofSwagger('swagger-ui.css'),
  'swagger-ui-bundle.js': ofSwagger('swagger-ui-bundle.js'),
  'favicon-32x32.png': ofSwagger('favicon-32x32.png'),
  'start.js': async () => START,
};

function mediaTypeOf(name: string): string {
  if (name.endsWith('.css')) return 'text/css; charset=utf-8';
  return name.endsWith('.png') ? 'image/png' : 'text/javascript; charset=utf-8';
}

/** Own scripts only, and none in the page; pictures in Swagger UI's style are data. Nothing may frame it, and it talks to us alone. */
const POLICY = [
  ...["default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'"],
  ...["base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"],
].join('; ');
