import { open, stat } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';
import { logTail } from './logTail.ts';
import { isPortFree } from './ports.ts';
import type { RunningPart } from './supervisor.ts';
import { type Exit, spawnTethered, type TetheredProcess } from './tetheredProcess.ts';

export interface ServiceOptions {
  /** As people call it: "the API". */
  name: string;
  command: string;
  args: readonly string[];
  /** The whole environment of the process: nothing of ours is added. */
  env: NodeJS.ProcessEnv;
  cwd?: string | undefined;
  /** Its output is appended here. */
  logFile: string;
  /** Ready once this answers 2xx. Its port must be free before the start. */
  readyUrl?: string | undefined;
  /** Ready once a line of its output contains this. */
  readyLine?: string | undefined;
}

/** Longer than our own processes wait for what they need, so that the reason they then give is in the log. */
const READY_TIMEOUT_MS = 90_000;
/** A drain in good order: requests answered, activities ended or handed back. */
const DRAIN_TIMEOUT_MS = 20_000;

/** Starts one of our own processes and waits until it is ready. It dies with us. */
export async function spawnService(options: ServiceOptions): Promise<RunningPart> {
  // Whoever listens there already would be taken for ours.
  if (options.readyUrl && !(await isPortFree(Number(new URL(options.readyUrl).port)))) {
    throw new Error(
      `The port of ${options.readyUrl} is taken. Stop what listens there, or give ${options.name} another port.`,
    );
  }
  const logStart = await stat(options.logFile).then(
    (found) => found.size,
    () => 0,
  );
  const service = await spawnTethered({
    command: options.command,
    args: options.args,
    env: options.env,
    ...(options.cwd ? { cwd: options.cwd } : {}),
    deathSignal: 'SIGKILL',
    output: { logFile: options.logFile },
  });
  const problem = await waitUntilReady(service, options, logStart);
  if (problem !== undefined) {
    await service.stop([{ signal: 'SIGKILL', withinMs: 5_000 }]);
    throw new Error(
      `${options.name} ${problem}. It says (${options.logFile}):\n${await logTail(options.logFile, logStart)}`,
    );
  }
  return {
    pid: service.pid,
    exited: service.exited,
    kill: service.kill,
    stop: () =>
      service.stop([
        { signal: 'SIGTERM', withinMs: DRAIN_TIMEOUT_MS },
        { signal: 'SIGKILL', withinMs: 5_000 },
      ]),
  };
}

async function waitUntilReady(
  service: TetheredProcess,
  { readyUrl, readyLine, logFile }: ServiceOptions,
  logStart: number,
): Promise<string | undefined> {
  let exit: Exit | undefined;
  void service.exited.then((how) => {
    exit = how;
  });
  const deadline = performance.now() + READY_TIMEOUT_MS;
  while (performance.now() < deadline) {
    if (exit) return `ended by itself (${exit.signal ?? `exit code ${exit.code}`})`;
    const isReady =
      (readyUrl === undefined || (await answers(readyUrl))) &&
      (readyLine === undefined || (await textFrom(logFile, logStart)).includes(readyLine));
    if (isReady) return undefined;
    await pause(50);
  }
  return `was not ready within ${READY_TIMEOUT_MS / 1_000} s`;
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(2_000) });
    await response.arrayBuffer();
    return response.ok;
  } catch {
    return false;
  }
}

async function textFrom(file: string, start: number): Promise<string> {
  const handle = await open(file, 'r');
  try {
    const { size } = await handle.stat();
    const { buffer, bytesRead } = await handle.read({
      buffer: Buffer.alloc(Math.max(size - start, 0)),
      position: start,
    });
    return buffer.toString('utf8', 0, bytesRead);
  } finally {
    await handle.close();
  }
}
