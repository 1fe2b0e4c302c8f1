import { readFile } from 'node:fs/promises';
import { seededRandom } from '../dev/seededRandom.ts';

/** One request to a model, as a production service saw it. */
export interface TracedRequest {
  /** After the first one. */
  atMs: number;
  contextTokens: number;
  generatedTokens: number;
}

const HEADER = 'TIMESTAMP,ContextTokens,GeneratedTokens';

/** Reads a CSV in the form of the Azure LLM inference traces. */
export async function readTrace(file: string): Promise<TracedRequest[]> {
  const [header, ...lines] = (await readFile(file, 'utf8')).trim().split(/\r?\n/);
  if (header !== HEADER) throw new Error(`${file} does not begin with ${HEADER}`);
  const rows = lines.map((line, n) => {
    const [timestamp = '', context, generated] = line.split(',');
    // Date reads milliseconds; a trace has seven digits.
    const at = Date.parse(`${timestamp.slice(0, 23).replace(' ', 'T')}Z`);
    const row = { at, contextTokens: Number(context), generatedTokens: Number(generated) };
    const isRow = Number.isFinite(at) && [row.contextTokens, row.generatedTokens].every(Number.isSafeInteger);
    if (!isRow) throw new Error(`${file}, line ${n + 2}: "${line}" is no request`);
    return row;
  });
  const sorted = rows.toSorted((a, b) => a.at - b.at);
  return sorted.map(({ at, ...tokens }) => ({ ...tokens, atMs: at - sorted[0]!.at }));
}

/**
 * An hour of a code-completion service from a seed. Gaps and sizes are drawn from the quantiles of the Azure trace of 2023
 * ("code"): most requests come within a tenth of a second, a few after minutes of silence.
 */
export function synthesizeTrace(seed: number, requests = 8_819): TracedRequest[] {
  const random = seededRandom(seed);
  let atMs = 0;
  return Array.from({ length: requests }, (_, n) => {
    if (n > 0) atMs += draw(GAP_MS, random());
    return {
      atMs,
      contextTokens: Math.round(draw(CONTEXT_TOKENS, random())),
      generatedTokens: Math.round(draw(GENERATED_TOKENS, random())),
    };
  });
}

type Quantiles = readonly (readonly [share: number, value: number])[];
const GAP_MS: Quantiles = [
  [0, 0.01],
  [0.1, 0.209],
  [0.25, 2.08],
  [0.5, 63.8],
  [0.75, 104],
  [0.9, 273],
  [0.99, 2205],
  [0.995, 10124],
  [0.999, 82752],
  [1, 217169],
];
const CONTEXT_TOKENS: Quantiles = [
  [0, 3],
  [0.1, 147],
  [0.25, 578],
  [0.5, 1469],
  [0.75, 2745],
  [0.9, 5194],
  [0.99, 7436],
  [0.995, 7436],
  [0.999, 7437],
  [1, 7437],
];
const GENERATED_TOKENS: Quantiles = [
  [0, 6],
  [0.1, 7],
  [0.25, 9],
  [0.5, 13],
  [0.75, 24],
  [0.9, 55],
  [0.99, 252],
  [0.995, 361],
  [0.999, 831],
  [1, 1899],
];

/** The value at that share, between its two neighbours on a scale of ratios: the tails are long. */
function draw(quantiles: Quantiles, share: number): number {
  const after = quantiles.findIndex(([up]) => up > share);
  const [[from, low], [to, high]] = [quantiles[after - 1]!, quantiles[after]!];
  return low * (high / low) ** ((share - from) / (to - from));
}
