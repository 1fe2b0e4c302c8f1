/** Answers that are kept for a while, the newest `most`: each until its own end, in milliseconds since 1970. */
export function createKeptAnswers<Answer>(most: number) {
  const kept = new Map<string, { answer: Answer; until: number }>();
  return {
    get(key: string): Answer | undefined {
      const found = kept.get(key);
      return found !== undefined && found.until > Date.now() ? found.answer : undefined;
    },
    keep(key: string, answer: Answer, until: number): void {
      // The oldest goes first: a map keeps the order in which it was filled.
      kept.delete(key);
      kept.set(key, { answer, until });
      if (kept.size > most) kept.delete(kept.keys().next().value!);
    },
    /** Only if it is still that answer. */
    forget(key: string, answer: Answer): void {
      if (kept.get(key)?.answer === answer) kept.delete(key);
    },
  };
}
