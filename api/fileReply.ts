import type { Logger } from 'pino';
import type { ExportFormat } from '../contract/ledger.ts';
import type { ApiContext } from './requestContext.ts';

const MEDIA_TYPES = { jsonl: 'application/jsonl', csv: 'text/csv; charset=utf-8; header=present' } as const;

/** Answers a file, page by page as it is read. `name` is without its ending, of letters, digits, _ and -. */
export function replyWithFile(
  c: ApiContext,
  { pages, format, name, log }: { pages: AsyncGenerator<string>; format: ExportFormat; name: string; log: Logger },
): Response {
  return c.body(
    streamOf(pages, (error) => log.warn({ requestId: c.get('requestId'), err: error }, 'an export was cut off')),
    200,
    { 'Content-Type': MEDIA_TYPES[format], 'Content-Disposition': `attachment; filename="${name}.${format}"` },
  );
}

/**
 * A page is read when the reader has room for it. A fault in the middle breaks the connection off: what has been sent
 * already cannot be called back, and must not pass for the whole.
 */
function streamOf(pages: AsyncGenerator<string>, onFault: (error: unknown) => void): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await pages.next();
          if (done) controller.close();
          else controller.enqueue(encoder.encode(value));
        } catch (error) {
          onFault(error);
          controller.error(error);
        }
      },
      async cancel() {
        await pages.return(undefined);
      },
    },
    { highWaterMark: 1 },
  );
}
