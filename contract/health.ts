import { z } from 'zod';
import { operation } from './operation.ts';

/** The process answers. */
export const liveness = z.strictObject({ status: z.literal('alive') }).meta({ id: 'Liveness' });
export type Liveness = z.infer<typeof liveness>;

/** Whether this process can take requests, with each part that it depends on. Only Temporal may be away. */
export const readiness = z
  .strictObject({
    status: z.enum(['ready', 'not_ready', 'draining']),
    database: z.enum(['reachable', 'unreachable']),
    /** Whether the prices in the database are those of this code. */
    catalogue: z.enum(['matches', 'differs', 'unknown']),
    temporal: z.enum(['reachable', 'unreachable']),
  })
  .meta({ id: 'Readiness' });
export type Readiness = z.infer<typeof readiness>;

export const getLiveness = operation({
  id: 'getLiveness',
  method: 'get',
  path: '/healthz',
  tag: 'Service',
  summary: 'The process answers',
  access: 'anyone',
  answers: { 200: { description: 'It does.', schema: liveness } },
  problems: [],
  examples: [{ title: 'Alive', status: 200, answer: { status: 'alive' } }],
});

export const getReadiness = operation({
  id: 'getReadiness',
  method: 'get',
  path: '/readyz',
  tag: 'Service',
  summary: 'Whether requests can be taken, part by part',
  access: 'anyone',
  answers: {
    200: { description: 'Ready.', schema: readiness },
    503: { description: 'Not ready, or about to end.', schema: readiness },
  },
  problems: [],
  examples: [
    {
      title: 'Ready',
      status: 200,
      answer: { status: 'ready', database: 'reachable', catalogue: 'matches', temporal: 'reachable' },
    },
  ],
});
