import { z } from 'zod';

/** The process answers. */
export const liveness = z.strictObject({ status: z.literal('alive') });
export type Liveness = z.infer<typeof liveness>;

/** Whether this process can take requests, with each part that it depends on. Only Temporal may be away. */
export const readiness = z.strictObject({
  status: z.enum(['ready', 'not_ready', 'draining']),
  database: z.enum(['reachable', 'unreachable']),
  /** Whether the prices in the database are those of this code. */
  catalogue: z.enum(['matches', 'differs', 'unknown']),
  temporal: z.enum(['reachable', 'unreachable']),
});
export type Readiness = z.infer<typeof readiness>;
