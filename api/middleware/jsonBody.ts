import type { HttpBindings } from '@hono/node-server';
import { createMiddleware } from 'hono/factory';
import type { FieldError } from '../../contract/problems.ts';
import { fieldPath } from '../fieldErrors.ts';
import { headerOf } from '../headerOf.ts';
import { inadmissibleJson } from '../inadmissibleJson.ts';
import { problemReply } from '../problemReply.ts';
import type { ApiEnv } from '../requestContext.ts';

export const MAX_BODY_BYTES = 64 * 1024;
/** Room for the longest thousand rows that pass: a key of 255 characters and an id each, without escapes. */
export const MAX_ROWS_BYTES = 512 * 1024;

/**
 * Reads the body as JSON and leaves it in `body`. The bytes are counted while they arrive, so a chunked body without a
 * Content-Length is bounded too; a compressed one is refused unread, so nothing can inflate.
 */
export const jsonBody = jsonOf({ maxBytes: MAX_BODY_BYTES, isByRow: false });

/**
 * The same where an array may be sent: a larger one, and what is not admissible in one row is left in `rowErrors`, for that
 * row's answer.
 */
export const jsonRows = jsonOf({ maxBytes: MAX_ROWS_BYTES, isByRow: true });

function jsonOf({ maxBytes, isByRow }: { maxBytes: number; isByRow: boolean }) {
  return createMiddleware<ApiEnv>(async (c, next) => {
    if (!isPlainJson(headerOf(c, 'content-type'), headerOf(c, 'content-encoding'))) {
      return problemReply(c, 'unsupported_media_type');
    }
    if (Number(headerOf(c, 'content-length') ?? 0) > maxBytes) return problemReply(c, 'payload_too_large');

    const bytes = await readBounded(c.env.incoming, maxBytes);
    if (bytes === 'too_large') return problemReply(c, 'payload_too_large');
    const parsed = bytes === 'cut_off' ? 'malformed' : parse(bytes);
    if (parsed === 'malformed') return problemReply(c, 'malformed_json');

    const rowErrors = new Map<number, FieldError>();
    for (const { row, error } of inadmissibleJson(parsed.text)) {
      if (row === null || !isByRow) {
        const path = row === null ? error.path : [fieldPath([row]), error.path].filter((part) => part !== '').join('.');
        return problemReply(c, 'invalid_request', { errors: [{ ...error, path }] });
      }
      if (!rowErrors.has(row)) rowErrors.set(row, error);
    }
    c.set('body', parsed.body);
    c.set('rowErrors', rowErrors);
    return next();
  });
}

function isPlainJson(contentType: string | undefined, contentEncoding: string | undefined): boolean {
  const isJson = /^application\/json\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?$/i.test(contentType ?? '');
  return isJson && (contentEncoding === undefined || contentEncoding.toLowerCase() === 'identity');
}

/** From the socket's own stream: the web stream around it costs more than all the rest of a small request. */
function readBounded(incoming: HttpBindings['incoming'], maxBytes: number): Promise<Buffer | 'too_large' | 'cut_off'> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let size = 0;
    incoming
      .on('data', (chunk: Buffer) => {
        size += chunk.byteLength;
        if (size <= maxBytes) chunks.push(chunk);
        else resolve('too_large');
      })
      .once('end', () => resolve(Buffer.concat(chunks)))
      // The caller left in mid-body: nobody reads what is answered.
      .once('error', () => resolve('cut_off'))
      .once('close', () => resolve('cut_off'));
  });
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function parse(bytes: Buffer): { text: string; body: unknown } | 'malformed' {
  try {
    const text = decoder.decode(bytes);
    return { text, body: JSON.parse(text) };
  } catch {
    return 'malformed';
  }
}
