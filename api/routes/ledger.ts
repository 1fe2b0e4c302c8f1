import type { KeyObject } from 'node:crypto';
import { Hono } from 'hono';
import {
  exportLedger as exportOperation,
  LEDGER_PATH,
  type LedgerHeadList,
  type LedgerPage,
  ledgerExportQuery,
  ledgerHeadQuery,
  ledgerQuery,
  listLedger,
  listLedgerHeads,
} from '../../contract/ledger.ts';
import { ledgerHeads, pageOfEntries } from '../../db/ledger.ts';
import { fieldErrors } from '../fieldErrors.ts';
import { readLedgerCursor, writeLedgerCursor } from '../ledgerCursor.ts';
import { exportLedger } from '../ledgerExport.ts';
import { createHeadSigner } from '../ledgerSignature.ts';
import { refuseCursor } from '../listCursor.ts';
import type { Authentication } from '../middleware/authenticated.ts';
import { settled } from '../middleware/settled.ts';
import { mount } from '../mount.ts';
import { problemReply } from '../problemReply.ts';
import { queryOf } from '../queryOf.ts';
import type { ApiEnv } from '../requestContext.ts';

const MEDIA_TYPES = { jsonl: 'application/jsonl', csv: 'text/csv; charset=utf-8; header=present' } as const;

/** The ledger of the caller's organization: entry by entry, sealed heads, and all of it as a file. */
export function ledgerRoutes(authentication: Authentication, signingKey: KeyObject | undefined) {
  const { pool, log } = authentication;
  const signHead = createHeadSigner(signingKey);
  const routes = new Hono<ApiEnv>();
  mount(routes, authentication, listLedger, settled(pool), async (c) => {
    const organizationId = c.get('organizationId');
    const query = ledgerQuery.safeParse(queryOf(c));
    if (!query.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(query.error) });
    const { tokenType, limit, order, cursor } = query.data;
    const list = [organizationId, tokenType, order];
    const after = cursor === undefined ? null : readLedgerCursor(list, cursor);
    if (cursor !== undefined && after === null) return refuseCursor(c);
    const { entries, hasMore } = await pageOfEntries(pool, { organizationId, tokenType, order, limit, after });
    const nextCursor = hasMore ? writeLedgerCursor(list, entries.at(-1)!.entryNumber) : null;
    return c.json({ entries, nextCursor } satisfies LedgerPage);
  });

  mount(routes, authentication, listLedgerHeads, settled(pool), async (c) => {
    const query = ledgerHeadQuery.safeParse(queryOf(c));
    if (!query.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(query.error) });
    const heads = await ledgerHeads(pool, c.get('organizationId'), query.data.tokenType);
    return c.json({ heads: heads.map(signHead) } satisfies LedgerHeadList);
  });

  mount(routes, authentication, exportOperation, settled(pool), async (c) => {
    const organizationId = c.get('organizationId');
    const query = ledgerExportQuery.safeParse(queryOf(c));
    if (!query.success) return problemReply(c, 'invalid_request', { errors: fieldErrors(query.error) });
    const { tokenType, format } = query.data;
    const pages = exportLedger({ pool, organizationId, tokenType, format, signHead });
    const name = ['ledger', organizationId, ...(tokenType === undefined ? [] : [tokenType])].join('-');
    return c.body(
      streamOf(pages, (error) => log.warn({ requestId: c.get('requestId'), err: error }, 'an export was cut off')),
      200,
      {
        'Content-Type': MEDIA_TYPES[format],
        'Content-Disposition': `attachment; filename="${name}.${format}"`,
        Link: `<${LEDGER_PATH}/heads>; rel="related"`,
      },
    );
  });

  return routes;
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
