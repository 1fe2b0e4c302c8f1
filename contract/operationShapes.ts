import type { z } from 'zod';
import type { Operation } from './operation.ts';

/** What is sent and answered, read off an operation: types only, so whoever uses them takes nothing of the contract with him. */

export type BodyOf<Of extends Operation> = Of extends { body: { schema: infer Schema extends z.ZodType } }
  ? z.input<Schema>
  : never;

/** Numbers may be given as such: a query is text on the wire only. */
export type QueryOf<Of extends Operation> = Of extends { query: infer Schema extends z.ZodType }
  ? { [Name in keyof z.input<Schema>]: Name extends 'limit' ? number | z.input<Schema>[Name] : z.input<Schema>[Name] }
  : never;

/** Of one request: its body as JSON. */
export type AnswerOf<Of extends Operation> = {
  [Status in keyof Of['answers']]: Of['answers'][Status] extends { schema: infer Schema extends z.ZodType }
    ? z.output<Schema>
    : never;
}[keyof Of['answers']];

/** Where an array is taken instead: one of its rows, and what a row that was done is answered. */
export type RowOf<Of extends Operation> = Of extends { body: { rows: infer Schema extends z.ZodType } }
  ? z.input<Schema>
  : never;
export type RowAnswerOf<Of extends Operation> = {
  [Status in keyof Of['answers']]: Of['answers'][Status] extends { rowSchema: infer Schema extends z.ZodType }
    ? z.output<Schema>
    : never;
}[keyof Of['answers']];
