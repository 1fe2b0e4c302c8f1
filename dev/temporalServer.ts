import { mkdir } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Connection } from '@temporalio/client';
import { SEARCH_ATTRIBUTES } from '../domain/searchAttributes.ts';
import { lastLines, logTail } from './logTail.ts';
import { freePort, isPortFree } from './ports.ts';
import { findTemporalBinary } from './temporalBinary.ts';
import { type Exit, type StopStep, spawnTethered, type TetheredProcess } from './tetheredProcess.ts';

export interface TemporalServer {
  /** host:port of its gRPC service; the namespace is `default`. */
  address: string;
  /** Absent when it was started without the web UI. */
  uiUrl?: string;
  pid: number;
  exited: Promise<Exit>;
  /** False when it is gone already. */
  kill(signal: NodeJS.Signals): boolean;
  stop(): Promise<void>;
}

export interface TemporalServerOptions {
  /** A free one when not named. */
  port?: number | undefined;
  /** No web UI when not named. */
  uiPort?: number | undefined;
  /** Workflows live in memory when not named. */
  databaseFile?: string | undefined;
  logFile?: string | undefined;
  /** Path of the Temporal CLI; found or fetched when not named. */
  binary?: string | undefined;
  say: (line: string) => void;
}

/** The types of search attributes as the CLI spells them. */
const CLI_TYPES = { KEYWORD: 'Keyword', INT: 'Int' } as const;

const READY_TIMEOUT_MS = 30_000;
const FORCED_STOP: StopStep[] = [{ signal: 'SIGKILL', withinMs: 5_000 }];
const CLEAN_STOP: StopStep[] = [{ signal: 'SIGTERM', withinMs: 10_000 }, ...FORCED_STOP];

/**
 * Starts Temporal's dev server on 127.0.0.1 and waits until it serves the namespace and our search attributes. It dies
 * with us, and starts again on the same database file whatever ended it.
 */
export async function startTemporalServer(options: TemporalServerOptions): Promise<TemporalServer> {
  const binary = options.binary ?? (await findTemporalBinary({ say: options.say })).path;
  const port = options.port ?? (await freePort());
  // Whoever listens there might well be a Temporal server, and would be taken for ours.
  if (!(await isPortFree(port))) {
    throw new Error(`Port ${port}, meant for Temporal, is taken. Stop what listens there, or name another port.`);
  }
  if (options.databaseFile) await mkdir(dirname(options.databaseFile), { recursive: true });

  const lines: string[] = [];
  const server = await spawnTethered({
    command: binary,
    args: [
      ...['server', 'start-dev', '--ip', '127.0.0.1', '--port', `${port}`, '--namespace', 'default'],
      ...(options.uiPort === undefined
        ? ['--headless']
        : ['--ui-port', `${options.uiPort}`, '--ui-disable-news-fetch']),
      ...(options.databaseFile ? ['--db-filename', options.databaseFile] : []),
      ...Object.entries(SEARCH_ATTRIBUTES).flatMap(([name, type]) => [
        '--search-attribute',
        `${name}=${CLI_TYPES[type]}`,
      ]),
      // Somebody's own Temporal profile must not reach into our server.
      ...['--disable-config-env', '--disable-config-file', '--color', 'never'],
    ],
    deathSignal: 'SIGKILL',
    output: options.logFile
      ? { logFile: options.logFile }
      : {
          onLine: (line) => lines.push(line),
        },
  });

  const address = `127.0.0.1:${port}`;
  const problem = await waitUntilItServes(server, port, address);
  if (problem !== undefined) {
    await server.stop(FORCED_STOP);
    const log = options.logFile ? await logTail(options.logFile) : lastLines(lines);
    throw new Error(`The Temporal dev server on ${address} ${problem}. It says:\n${log}`);
  }
  return {
    address,
    ...(options.uiPort === undefined ? {} : { uiUrl: `http://127.0.0.1:${options.uiPort}` }),
    pid: server.pid,
    exited: server.exited,
    kill: server.kill,
    // A clean end takes 1.3 s, and without a file there is nothing to end cleanly.
    stop: () => server.stop(options.databaseFile ? CLEAN_STOP : FORCED_STOP),
  };
}

async function waitUntilItServes(server: TetheredProcess, port: number, address: string): Promise<string | undefined> {
  let exit: Exit | undefined;
  void server.exited.then((how) => {
    exit = how;
  });
  const deadline = performance.now() + READY_TIMEOUT_MS;
  while (performance.now() < deadline) {
    if (exit) return `ended by itself (${exit.signal ?? exit.code})`;
    // The port first: a gRPC channel that finds it closed waits a second before it looks again.
    if ((await accepts(port)) && (await serves(address))) return undefined;
    await pause(25);
  }
  return `did not serve within ${READY_TIMEOUT_MS / 1_000} s`;
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    const answer = (accepted: boolean) => {
      socket.destroy();
      resolve(accepted);
    };
    socket.once('connect', () => answer(true));
    socket.once('error', () => answer(false));
  });
}

/** Its port opens before the search attributes are there, and a start that uses one of them would be refused. */
async function serves(address: string): Promise<boolean> {
  let connection: Connection | undefined;
  try {
    connection = await Connection.connect({ address, connectTimeout: 2_000 });
    await connection.workflowService.describeNamespace({ namespace: 'default' });
    const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace: 'default' });
    return Object.keys(SEARCH_ATTRIBUTES).every((name) => name in (customAttributes ?? {}));
  } catch {
    return false;
  } finally {
    await connection?.close();
  }
}
