import { z } from 'zod';
import { operation } from './operation.ts';

export const OPEN_API_PATH = '/openapi.json';
export const DOCS_PATH = '/docs';

/** Everything that can be asked for here, as OpenAPI 3.1. What it looks like inside is OpenAPI's to say. */
export const openApi = z.looseObject({ openapi: z.string() }).meta({ id: 'OpenApi' });

const notModified = { description: 'What you have, by its ETag in If-None-Match, is what there is.' };

export const getOpenApi = operation({
  id: 'getOpenApi',
  method: 'get',
  path: OPEN_API_PATH,
  tag: 'Service',
  summary: 'This reference, as OpenAPI 3.1',
  access: 'anyone',
  answers: { 200: { description: 'With an ETag.', schema: openApi }, 304: notModified },
  problems: [],
  examples: [{ title: 'The document', status: 200 }],
});

export const getDocs = operation({
  id: 'getDocs',
  method: 'get',
  path: DOCS_PATH,
  tag: 'Service',
  summary: 'This reference, as a page',
  access: 'anyone',
  answers: { 200: { description: 'The page.', mediaTypes: ['text/html'] }, 304: notModified },
  problems: [],
  examples: [{ title: 'The page', status: 200 }],
});

export const getDocsFile = operation({
  id: 'getDocsFile',
  method: 'get',
  path: `${DOCS_PATH}/{file}`,
  tag: 'Service',
  summary: 'What the page is made of',
  access: 'anyone',
  answers: {
    200: { description: 'A file.', mediaTypes: ['text/css', 'text/javascript', 'image/png'] },
    304: notModified,
  },
  problems: ['route_not_found'],
  examples: [{ title: 'Its style', params: { file: 'swagger-ui.css' }, status: 200 }],
});
