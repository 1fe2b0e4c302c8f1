import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { isMainThread } from 'node:worker_threads';

/** Who a process runs as, when that is not us. Only root can ask for it. */
export interface ProcessOwner {
  uid: number;
  gid: number;
  /** Capabilities that it keeps although it is not root, as `setpriv` spells them. Linux only. */
  capabilities: string[];
}

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export interface TetheredProcess {
  pid: number;
  /** Resolves when the process is gone, for whatever reason; never rejects. */
  exited: Promise<Exit>;
  /** False when it is gone already. */
  kill(signal: NodeJS.Signals): boolean;
  /** Sends each signal in turn, until one of them has ended the process within its time. */
  stop(steps: readonly StopStep[]): Promise<void>;
}

export interface StopStep {
  signal: NodeJS.Signals;
  withinMs: number;
}

export interface TetheredProcessOptions {
  command: string;
  args: readonly string[];
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  owner?: ProcessOwner | undefined;
  /** What it gets when we die without having stopped it. */
  deathSignal: 'SIGKILL' | 'SIGQUIT';
  /** Where its output goes: appended to a file, or line by line to a function. */
  output: { logFile: string } | { onLine: (line: string) => void };
}

/**
 * Starts a process that ends when we end, even by SIGKILL, which leaves us no moment to stop anything.
 *
 * On Linux the kernel does it (`PR_SET_PDEATHSIG`, through `setpriv`). Elsewhere a shell looks every second whether we
 * still live and ends the process otherwise: best effort, since that shell can be killed too. On Windows nothing does.
 */
export async function spawnTethered(options: TetheredProcessOptions): Promise<TetheredProcess> {
  // The kernel sends the signal when the *thread* that forked ends, so a worker thread would take the process with it.
  if (!isMainThread) throw new Error('spawnTethered must be called on the main thread: the tether is tied to it.');

  const tether = kernelTethers() ? kernelTetheredCommand(options) : { command: options.command, args: options.args };
  const logFile = 'logFile' in options.output ? openSync(options.output.logFile, 'a', 0o600) : undefined;
  const child = spawn(tether.command, tether.args, {
    cwd: options.cwd,
    env: options.env ?? process.env,
    stdio: ['ignore', logFile ?? 'pipe', logFile ?? 'pipe'],
    // A process group of its own: Ctrl-C in a terminal reaches us alone, and we stop the parts in their order.
    detached: process.platform !== 'win32',
    ...(options.owner && !kernelTethers() ? { uid: options.owner.uid, gid: options.owner.gid } : {}),
  });
  const exited = new Promise<Exit>((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
  try {
    await spawned(child, options.command);
  } finally {
    if (logFile !== undefined) closeSync(logFile);
  }

  if ('onLine' in options.output) {
    for (const stream of [child.stdout, child.stderr]) {
      if (stream) createInterface({ input: stream }).on('line', options.output.onLine);
    }
  }
  const pid = child.pid!;
  if (!kernelTethers()) watchFromOutside(pid, options.deathSignal);

  const kill = (signal: NodeJS.Signals) => child.kill(signal);
  return { pid, exited, kill, stop: (steps) => stop({ exited, kill }, options.command, steps) };
}

let kernelTethersAnswer: boolean | undefined;

/** Whether this machine has a `setpriv` that knows the option; the one of BusyBox does not. */
export function kernelTethers(): boolean {
  kernelTethersAnswer ??=
    process.platform === 'linux' && spawnSync('setpriv', ['--pdeathsig', 'KILL', '--', 'true']).status === 0;
  return kernelTethersAnswer;
}

/**
 * Every program of this chain replaces the one before (exec), so the pid stays and we remain the parent. The user is
 * changed first, because a change of credentials clears the death signal. The shell then closes the last gap: had we
 * died before the signal was set, our child would have another parent by now.
 */
function kernelTetheredCommand(options: TetheredProcessOptions): { command: string; args: string[] } {
  const stillOurs = ['sh', '-c', '[ "$PPID" = "$0" ] && exec "$@"', String(process.pid)];
  const tethered = ['setpriv', '--pdeathsig', options.deathSignal.replace('SIG', ''), '--', ...stillOurs];
  const chain = [...asOwner(options.owner), ...tethered, options.command, ...options.args];
  return { command: chain[0]!, args: chain.slice(1) };
}

function asOwner(owner: ProcessOwner | undefined): string[] {
  if (!owner) return [];
  const kept = owner.capabilities.map((capability) => `+${capability}`).join(',');
  const capabilities = kept === '' ? [] : ['--inh-caps', kept, '--ambient-caps', kept];
  return ['setpriv', '--reuid', `${owner.uid}`, '--regid', `${owner.gid}`, '--clear-groups', ...capabilities, '--'];
}

function watchFromOutside(pid: number, deathSignal: 'SIGKILL' | 'SIGQUIT'): void {
  if (process.platform === 'win32') return;
  const watch = 'while kill -0 "$1" && kill -0 "$2"; do sleep 1; done; kill -0 "$1" || kill -"$3" "$2"';
  const args = ['-c', watch, 'tether', String(process.pid), String(pid), deathSignal.replace('SIG', '')];
  spawn('sh', args, { detached: true, stdio: 'ignore' }).unref();
}

function spawned(child: ChildProcess, command: string): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', (cause) => reject(new Error(`${command} could not be started: ${cause.message}`, { cause })));
  });
}

async function stop(
  child: Pick<TetheredProcess, 'exited' | 'kill'>,
  command: string,
  steps: readonly StopStep[],
): Promise<void> {
  for (const { signal, withinMs } of steps) {
    child.kill(signal);
    if (await settlesWithin(child.exited, withinMs)) return;
  }
  throw new Error(`${command} is still running after ${steps.map((step) => step.signal).join(', ')}.`);
}

/** Whether the promise settles in time. The timer is taken back, so that it does not keep the process alive. */
async function settlesWithin(promise: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), ms);
  });
  const inTime = await Promise.race([promise.then(() => true), late]);
  clearTimeout(timer);
  return inTime;
}
