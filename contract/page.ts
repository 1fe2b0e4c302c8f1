import { z } from 'zod';

/** What asks for a page of a list: how many at most, and where the page before ended. A cursor belongs to the list that gave it. */
export function pageQuery({ most, usual }: { most: number; usual: number }) {
  return {
    limit: z
      .string()
      .regex(new RegExp(`^[1-9]\\d{0,${String(most).length - 1}}$`), `must be a whole number from 1 to ${most}`)
      .transform(Number)
      .refine((limit) => limit <= most, `must be at most ${most}`)
      .default(usual),
    cursor: z.string().max(512).optional(),
  };
}
