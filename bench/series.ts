import type { Databases } from './databases.ts';
import type { Figure } from './figure.ts';

/** What a series is given. */
export interface Bench {
  databases: Databases;
  isQuick: boolean;
  /** Of each part of the endurance run. */
  minutes: number;
  /** A CSV with the columns TIMESTAMP, ContextTokens, GeneratedTokens; a synthetic trace without it. */
  traceFile: string | undefined;
  say: (line: string) => void;
}

export interface Measured {
  figures: Figure[];
  /** Ours and the foil over the number of callers, for the plot. */
  curve?: CurvePoint[];
}

export interface CurvePoint {
  callers: number;
  ours: { perSecond: number; p99: number };
  foil: { perSecond: number; p99: number };
}

export type Series = (bench: Bench) => Promise<Measured>;

export const CALLERS = 256;
/** A hot balance is one of many all the same. */
export const HOT_ORGANIZATIONS = 100;
export const HOT = 'org-1';
export const UNIFORM_ORGANIZATIONS = 10_000;
