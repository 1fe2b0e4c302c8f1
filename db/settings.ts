import type { Pool } from 'pg';
import type { TokenType } from '../domain/catalog.ts';
import { call } from './faults.ts';
import type { Act } from './organizations.ts';
import { readAs } from './tenant.ts';

/** Low balances are whole tokens; null: never low. */
export interface Settings {
  captureAboveHold: 'refuse' | 'cap' | 'draw';
  lowBalances: Record<TokenType, number | null>;
}

export type SettingsChange = { [Name in keyof Settings]?: Partial<Settings[Name]> | undefined };

export function settingsOf(pool: Pool, organizationId: string): Promise<Settings> {
  return readAs(pool, [organizationId], async (client) => {
    const { rows } = await client.query('select tollgate.settings_of($1) as settings', [organizationId]);
    return rows[0].settings;
  });
}

/** An admin changes some settings; answers them all. See migrations/functions/change_settings.sql. */
export async function changeSettings(
  pool: Pool,
  { actor, reason, requestId }: Act,
  organizationId: string,
  changes: SettingsChange,
): Promise<{ outcome: 'changed'; settings: Settings } | { outcome: 'not_an_admin' | 'organization_unknown' }> {
  const { rows } = await call(() =>
    pool.query('select s.outcome, s.settings from tollgate.change_settings($1, $2, $3, $4, $5) s', [
      ...[actor, organizationId, changes, reason, requestId],
    ]),
  );
  return rows[0];
}
