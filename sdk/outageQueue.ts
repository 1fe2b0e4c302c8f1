import type { Feature } from '../domain/catalog.ts';

/** What work used and could not be charged for when it was done. */
export interface QueuedUse {
  /** Of the call: everything that is sent for this use goes under it, or under keys that follow from it. */
  idempotencyKey: string;
  feature: Feature;
  /** What is to be charged. */
  tokens: number;
  /** What the call's hold asked for or has, and its id where Tollgate has answered it. */
  heldTokens: number;
  lifetimeSeconds: number;
  holdId: string | null;
  /** By the clock of this machine, ISO 8601 UTC. */
  usedAt: string;
}

/** A use that Tollgate will not charge, and why. It stays until somebody has dealt with it. */
export interface RefusedUse extends QueuedUse {
  code: string;
  detail: string;
}

/**
 * Where uses wait to be charged, in the order in which they came. Once `add` has answered, a use is kept as well as the queue can;
 * it leaves by `remove` alone: when it is charged, or when whoever looked at `refused` takes it out.
 */
export interface OutageQueue {
  add(use: QueuedUse): Promise<void>;
  waiting(): Promise<readonly QueuedUse[]>;
  refuse(idempotencyKey: string, why: { code: string; detail: string }): Promise<void>;
  refused(): Promise<readonly RefusedUse[]>;
  remove(idempotencyKey: string): Promise<void>;
}

/** Keeps uses for as long as the process lives. A server's are safer in a file: `@tollgate/sdk/fileQueue`. */
export function createMemoryQueue(): OutageQueue {
  const waiting = new Map<string, QueuedUse>();
  const refused = new Map<string, RefusedUse>();
  return {
    add: async (use) => void waiting.set(use.idempotencyKey, use),
    waiting: async () => [...waiting.values()],
    refuse: async (key, why) => {
      const use = waiting.get(key);
      if (use !== undefined) refused.set(key, { ...use, ...why });
      waiting.delete(key);
    },
    refused: async () => [...refused.values()],
    remove: async (key) => {
      waiting.delete(key);
      refused.delete(key);
    },
  };
}
