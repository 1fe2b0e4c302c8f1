import { spawnSync } from 'node:child_process';
import { readFile, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { PostgresBinaries } from './postgresBinaries.ts';
import { kernelTethers, type ProcessOwner } from './tetheredProcess.ts';

/**
 * Who PostgreSQL runs as: ourselves, unless we are root, as whom it refuses to run. Then it is the user who owns the
 * data folder already, else `postgres`, else `nobody`. No account is created: a development tool has no business in
 * /etc/passwd.
 */
export async function postgresOwner(
  dataDirectory: string,
  binaries: PostgresBinaries,
): Promise<ProcessOwner | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const user = (await ownerOf(dataDirectory)) ?? account('postgres') ?? account('nobody');
  if (!user) {
    throw new Error(
      'PostgreSQL refuses to run as root, and this machine has no user "postgres" or "nobody" to run it as. Run the command as an ordinary user, or create one: useradd postgres',
    );
  }
  return { ...user, capabilities: await capabilitiesToReach([dirname(dataDirectory), binaries.postgres], user) };
}

interface User {
  uid: number;
  gid: number;
}

async function ownerOf(path: string): Promise<User | undefined> {
  const found = await stat(path).catch(() => undefined);
  return found && found.uid !== 0 ? { uid: found.uid, gid: found.gid } : undefined;
}

function account(name: string): User | undefined {
  const [uid, gid] = ['-u', '-g'].map((option) => {
    const answer = spawnSync('id', [option, name], { encoding: 'utf8' });
    return answer.status === 0 ? Number.parseInt(answer.stdout, 10) : undefined;
  });
  return uid === undefined || gid === undefined ? undefined : { uid, gid };
}

/**
 * A checkout below /root (mode 0700) is closed to any other user, and so would be our binaries and the data folder.
 * PostgreSQL is then given the one capability that opens folders, rather than a copy of 60 MB somewhere else.
 */
async function capabilitiesToReach(paths: string[], user: User): Promise<string[]> {
  if (!kernelTethers() || reachable(paths, user)) return [];
  // The weaker of the two first; a container has, by default, only the second.
  const effective = await effectiveCapabilities();
  const choice = [
    { name: 'dac_read_search', bit: 2n },
    { name: 'dac_override', bit: 1n },
  ].find(({ bit }) => (effective >> bit) & 1n);
  if (!choice) {
    throw new Error(
      `PostgreSQL refuses to run as root, and the user it would run as (uid ${user.uid}) cannot reach ${paths.join(' and ')}. Move the checkout out of a closed folder such as /root, or run the command as an ordinary user.`,
    );
  }
  return [choice.name];
}

function reachable(paths: string[], user: User): boolean {
  return paths.every((path) => {
    const as = ['--reuid', `${user.uid}`, '--regid', `${user.gid}`, '--clear-groups', '--'];
    return spawnSync('setpriv', [...as, 'test', '-x', path]).status === 0;
  });
}

async function effectiveCapabilities(): Promise<bigint> {
  const status = await readFile('/proc/self/status', 'utf8');
  return BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
}
