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
import { replyWithFile } from '../fileReply.ts';
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
    c.header('Link', `<${LEDGER_PATH}/heads>; rel="related"`);
    return replyWithFile(c, { pages, format, name, log });
  });

  return routes;
}
