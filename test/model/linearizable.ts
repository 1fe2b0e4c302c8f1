import { createHash } from 'node:crypto';

/**
 * Whether a recorded concurrent history can be explained by calls that took effect one at a time, each at some moment
 * between its start and its end (Wing & Gong's search, with Lowe's memory of what was tried). What is checked is a set
 * of operations on one object; objects that share nothing are checked one by one, which is as strong and much cheaper.
 */
export interface Operation<Call, Answer> {
  call: Call;
  /** Moments of one clock; no two are the same. */
  start: number;
  /** Null: the answer was lost. It may have taken effect at any time after its start, once, or never. */
  end: number | null;
  answer: Answer | null;
  /** Where it is said to have come among those that changed something. Believed only where it fits: it makes the search short. */
  place?: number;
}

/** What the calls should have done, one at a time. */
export interface SequentialModel<State, Call, Answer> {
  initial: State;
  /** Answers the very state that it was given where the call changes nothing: a read, a refusal, a repeat. */
  next(state: State, call: Call): { state: State; answer: Answer };
  /** Equal for states that nothing later can tell apart. */
  keyOf(state: State): string;
  isSame(expected: Answer, recorded: Answer): boolean;
}

export type Verdict<Call, Answer> =
  | { isLinearizable: true; order: Operation<Call, Answer>[] }
  /** The history up to the first answer that no order explains; not certain where the search was given up. */
  | { isLinearizable: false; prefix: Operation<Call, Answer>[]; isCertain: boolean };

export function explain<State, Call, Answer>(
  history: readonly Operation<Call, Answer>[],
  model: SequentialModel<State, Call, Answer>,
): Verdict<Call, Answer> {
  const { order } = findOrder(history, model);
  if (order !== null) return { isLinearizable: true, order };
  // What cannot be explained stays so whatever is added, so the first answer of that kind is found by halving.
  const ends = history.flatMap(({ end }) => end ?? []).toSorted((a, b) => a - b);
  let [explained, unexplained] = [-1, ends.length - 1];
  while (unexplained - explained > 1) {
    const middle = (explained + unexplained) >> 1;
    if (findOrder(upTo(history, ends[middle]!), model).order === null) unexplained = middle;
    else explained = middle;
  }
  const prefix = upTo(history, ends[unexplained]!);
  return { isLinearizable: false, prefix, isCertain: !findOrder(prefix, model).isGivenUp };
}

/** What was known at a moment: calls in flight have no answer yet. */
function upTo<Call, Answer>(history: readonly Operation<Call, Answer>[], moment: number): Operation<Call, Answer>[] {
  return history
    .filter(({ start }) => start <= moment)
    .map((one) => (one.end !== null && one.end <= moment ? one : { ...one, end: null, answer: null }))
    .toSorted((a, b) => a.start - b.start);
}

/**
 * The search is exponential in the calls that are in flight at once. With the places known, a history that can be explained
 * meets few of these; one that has met this many is given up, and nothing is said about it.
 */
const MOST_DEAD_ENDS = 2_000;

/** An order of the operations that gives the recorded answers, or null when there is none, or none was found in time. */
function findOrder<State, Call, Answer>(
  history: readonly Operation<Call, Answer>[],
  model: SequentialModel<State, Call, Answer>,
): { order: Operation<Call, Answer>[] | null; isGivenUp: boolean } {
  const answered = history.filter(({ end }) => end !== null).length;
  // The one that ended first is the likeliest to have come first.
  const byEnd = history.toSorted((a, b) => (a.end ?? Number.MAX_VALUE) - (b.end ?? Number.MAX_VALUE));
  const likeliest = byEnd.toSorted((a, b) => (a.place ?? 0) - (b.place ?? 0));
  const isDone = new Set<Operation<Call, Answer>>();
  const order: Operation<Call, Answer>[] = [];
  const deadEnds = new Set<string>();

  const search = (state: State, answeredBefore: number): boolean => {
    if (answeredBefore === answered) return true;
    const here = digest(byEnd.map((one) => Number(isDone.has(one))).join('') + model.keyOf(state));
    if (deadEnds.has(here) || deadEnds.size > MOST_DEAD_ENDS) return false;
    // Whatever starts after another has ended comes after it.
    const firstEnd = byEnd.find((one) => !isDone.has(one))!.end!;
    for (const operation of likeliest) {
      if (isDone.has(operation) || operation.start > firstEnd) continue;
      const { state: after, answer } = model.next(state, operation.call);
      const isLost = operation.end === null;
      const changesNothing = after === state;
      if (isLost ? changesNothing : !model.isSame(answer, operation.answer!)) continue;
      isDone.add(operation);
      order.push(operation);
      if (search(after, answeredBefore + (isLost ? 0 : 1))) return true;
      order.pop();
      isDone.delete(operation);
      // If what fits here and changes nothing leads nowhere, then nor does leaving it for later.
      if (changesNothing) break;
    }
    deadEnds.add(here);
    return false;
  };
  const isFound = search(model.initial, 0);
  return { order: isFound ? order : null, isGivenUp: !isFound && deadEnds.size > MOST_DEAD_ENDS };
}

/** Short, because there can be very many. */
function digest(text: string): string {
  return createHash('sha256').update(text).digest('base64');
}
