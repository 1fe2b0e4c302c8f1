/** A bug on purpose: what a test must not let pass. */
export interface Plant {
  /** What is wrong, as a sentence. */
  bug: string;
  /** Where, from the project's root. */
  file: string;
  /** Text that is there exactly once, and what stands there instead. */
  find: string;
  replace: string;
  /** The test file that must catch it, and of its tests those whose names contain these words (left out: all). */
  caughtBy: string;
  test?: string;
  /** The bug shows as a call that waits for ever instead of being refused: running out of time is what catches it. */
  hangs?: true;
}

/** The text with the bug in it. Throws where its place is not there, or there more than once: the plant has gone stale. */
export function withPlant({ bug, file, find, replace }: Plant, text: string): string {
  const places = text.split(find).length - 1;
  if (places !== 1) throw new Error(`${file} has ${places} places for the plant “${bug}”. It looks for: ${find}`);
  return text.replace(find, () => replace);
}
