import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { onTestFinished } from 'vitest';

/**
 * Runs the statements in a process of their own, which can then be killed. They must print one line: the pid of what
 * they have started.
 */
export async function startElsewhere(statements: string): Promise<{ parent: number; child: number }> {
  const parent = spawn(process.execPath, ['--input-type=module', '--eval', statements], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => {
    parent.kill('SIGKILL');
  });
  for await (const line of createInterface({ input: parent.stdout }))
    return { parent: parent.pid!, child: Number(line) };
  throw new Error('The other process ended without a line.');
}
