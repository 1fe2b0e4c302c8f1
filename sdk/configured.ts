import { createTollgate, type Tollgate, type TollgateOptions } from './client.ts';

let configured: Tollgate | undefined;
/** Of the environment, and for which values of it. */
let fromEnvironment: { named: string; tollgate: Tollgate } | undefined;

/** Says, once, where Tollgate is and as whom to call it. Without it `TOLLGATE_URL` and `TOLLGATE_API_KEY` are read. */
export function configureTollgate(configuration: TollgateOptions): void {
  configured = configuration === undefined ? undefined : createTollgate(configuration);
}

/** The client that the functions without one use. */
export function configuredTollgate(): Tollgate {
  if (configured !== undefined) return configured;
  const env = (globalThis as { process?: { env?: Record<string, string | undefined> } }).process?.env ?? {};
  const { TOLLGATE_URL: url, TOLLGATE_API_KEY: apiKey } = env;
  if (!url) {
    throw new Error(
      'Tell where Tollgate is: configureTollgate({ url, apiKey }), or TOLLGATE_URL and TOLLGATE_API_KEY.',
    );
  }
  const named = `${url} ${apiKey}`;
  if (fromEnvironment?.named !== named) {
    fromEnvironment = { named, tollgate: createTollgate({ url, ...(apiKey ? { apiKey } : {}) }) };
  }
  return fromEnvironment.tollgate;
}
