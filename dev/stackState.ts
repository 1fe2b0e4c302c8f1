import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { DatabasePasswords } from './databaseUrls.ts';
import { freePort, isPortFree } from './ports.ts';

export interface StackPorts {
  api: number;
  workerHealth: number;
  postgres: number;
  temporal: number;
  temporalUi: number;
  standIn: number;
  authStandIn: number;
}

/** What a stack keeps from one start to the next, so that URLs and logins stay the same. */
export interface StackState {
  ports: StackPorts;
  passwords: DatabasePasswords;
  /** What the stand-in for sign-in signs with: sessions outlive its restart. */
  sessionSecret: string;
}

const PORT_NAMES = ['api', 'workerHealth', 'postgres', 'temporal', 'temporalUi', 'standIn', 'authStandIn'] as const;

/**
 * Reads the state of the folder and completes it. A port is the one that is configured, else the one of last time, else the one wished for, else a free
 * one; also a free one, said aloud, where somebody else has taken it meanwhile.
 */
export async function readStackState(
  stateDirectory: string,
  wishes: 'free' | Partial<StackPorts>,
  say: (line: string) => void,
  configured: Partial<StackPorts> = {},
): Promise<StackState> {
  const file = join(stateDirectory, 'state.json');
  const known = await readState(file);
  const ports: Partial<StackPorts> = {};
  for (const name of PORT_NAMES) {
    const fixed = configured[name];
    if (fixed !== undefined) {
      if (!(await isPortFree(fixed)))
        throw new Error(`Port ${fixed} (${name}) is taken. Stop what listens there, or configure another.`);
      ports[name] = fixed;
      continue;
    }
    const wanted = wishes === 'free' ? undefined : (known?.ports[name] ?? wishes[name]);
    if (wanted !== undefined && (await isPortFree(wanted))) {
      ports[name] = wanted;
      continue;
    }
    ports[name] = await freePort();
    if (wanted !== undefined) say(`Port ${wanted} (${name}) is taken by something else; using ${ports[name]}`);
  }
  const state: StackState = {
    ports: ports as StackPorts,
    passwords: known?.passwords ?? newPasswords(),
    sessionSecret: known?.sessionSecret ?? randomSecret(),
  };
  // Renamed into place: a start that is killed here must not leave half of the passwords.
  await writeFile(`${file}.new`, JSON.stringify(state, null, 2), { mode: 0o600 });
  await rename(`${file}.new`, file);
  return state;
}

/** 0711: PostgreSQL's user passes through to its data; the files with secrets in them are 0600 each. */
export async function createStateDirectory(stateDirectory: string): Promise<void> {
  await mkdir(join(stateDirectory, 'logs'), { recursive: true, mode: 0o711 });
}

async function readState(file: string): Promise<StackState | undefined> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  return text === undefined ? undefined : (JSON.parse(text) as StackState);
}

function newPasswords(): DatabasePasswords {
  return { owner: randomSecret(), api: randomSecret(), worker: randomSecret(), auditor: randomSecret() };
}

function randomSecret(): string {
  return randomBytes(24).toString('hex');
}
