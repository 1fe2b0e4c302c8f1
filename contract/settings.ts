import { z } from 'zod';
import { TOKEN_TYPES } from '../domain/catalog.ts';
import { operation } from './operation.ts';

export const SETTINGS_PATH = '/api/v1/organizations/{organizationId}/settings';

/** A capture above its hold: refused, charged as far as the hold goes, or with the rest drawn from the balance. */
const captureAboveHold = z.enum(['refuse', 'cap', 'draw']);
/** Below so many tokens a balance counts as low, and its organization is told once; null: never. */
const lowBalance = z.nullable(z.int().positive());

export const settings = z
  .strictObject({
    captureAboveHold,
    lowBalances: z.record(z.enum(TOKEN_TYPES), lowBalance),
  })
  .meta({ id: 'Settings' });
export type Settings = z.infer<typeof settings>;

/** What is left out stays as it is, token types among the low balances too. */
export const settingsChange = z
  .strictObject({
    captureAboveHold: captureAboveHold.optional(),
    lowBalances: z.partialRecord(z.enum(TOKEN_TYPES), lowBalance).optional(),
  })
  .meta({ id: 'SettingsChange' });
export type SettingsChange = z.infer<typeof settingsChange>;

const ORGANIZATION = { organizationId: 'acme' };

export const getSettings = operation({
  id: 'getSettings',
  method: 'get',
  path: SETTINGS_PATH,
  tag: 'Settings',
  summary: 'How an organization wants it',
  access: { role: 'admin', scopes: ['organization:read'], operators: true },
  answers: { 200: { description: 'All settings.', schema: settings } },
  problems: ['organization_not_found'],
  examples: [{ title: 'All', params: ORGANIZATION, status: 200 }],
});

export const changeSettings = operation({
  id: 'changeSettings',
  method: 'patch',
  path: SETTINGS_PATH,
  tag: 'Settings',
  summary: 'Change some settings',
  access: { role: 'admin', scopes: ['organization:write'], operators: true },
  body: { schema: settingsChange },
  answers: { 200: { description: 'All settings, as they are then.', schema: settings } },
  problems: ['organization_not_found'],
  examples: [
    {
      title: 'Draw the rest from the balance, and tell when goals run low',
      params: ORGANIZATION,
      body: { captureAboveHold: 'draw', lowBalances: { goal_generation: 5 } },
      status: 200,
    },
  ],
});
