import { z } from 'zod';

/** A line or two that a customer wrote: trimmed, not empty, bounded. */
export const line = z.string().trim().min(1).max(200);

/** A paragraph that a customer wrote: trimmed, not empty, bounded. */
export const paragraph = z.string().trim().min(1).max(4_000);

/** Text out of an AI's answer. Bounded loosely: a long answer is still an answer. */
export const answerText = z
  .string()
  .min(1)
  .max(4_000)
  // PostgreSQL stores neither: an answer with one in it could be paid for, but not delivered.
  .refine((text) => !text.includes('\0') && text.isWellFormed(), 'must be text without NUL and half characters');
