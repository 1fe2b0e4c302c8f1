import { readFile } from 'node:fs/promises';

const LINES_IN_AN_ERROR = 12;

/** The end of what a process said, from byte `start` of its log on (what an earlier one said is no reason), to be read in an error: the reason is nearly always there. */
export async function logTail(file: string, start = 0): Promise<string> {
  const bytes = await readFile(file).catch(() => Buffer.alloc(0));
  return lastLines(bytes.subarray(start).toString('utf8').trimEnd().split('\n'));
}

export function lastLines(lines: readonly string[]): string {
  return lines.slice(-LINES_IN_AN_ERROR).join('\n');
}
