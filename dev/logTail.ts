import { readFile } from 'node:fs/promises';

const LINES_IN_AN_ERROR = 12;

/** The end of what a process said, to be read in an error: the reason is nearly always there. */
export async function logTail(file: string): Promise<string> {
  const text = await readFile(file, 'utf8').catch(() => '');
  return lastLines(text.trimEnd().split('\n'));
}

export function lastLines(lines: readonly string[]): string {
  return lines.slice(-LINES_IN_AN_ERROR).join('\n');
}
