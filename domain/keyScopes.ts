/** What an API key may be allowed to do. `organization:…` is what admins do: members, keys, limits, settings. */
export const KEY_SCOPES = [
  'jobs:read',
  'jobs:write',
  'tokens:read',
  'tokens:write',
  'organization:read',
  'organization:write',
] as const;
export type KeyScope = (typeof KEY_SCOPES)[number];
