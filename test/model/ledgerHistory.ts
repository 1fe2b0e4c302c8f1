import { isDeepStrictEqual } from 'node:util';
import { FEATURE_TOKEN_TYPES, isFeature } from '../../domain/catalog.ts';
import { type Answer, type Command, decide, keyOf, type Ledger } from './ledger.ts';
import { explain, type Operation, type SequentialModel } from './linearizable.ts';

/** One call as its caller saw it: one or more rows of one verb. Moments are of one clock; `end` null: no answer came. */
export interface RecordedCall {
  rows: readonly Command[];
  start: number;
  end: number | null;
  answers: readonly Answer[] | null;
  /** See Operation. */
  place?: number;
}

type LedgerOperation = Operation<readonly Command[], readonly Answer[]>;

export interface Finding {
  /** As text for a person; null where there is none. */
  contradiction: string | null;
  /** Searches for an order that were given up: nothing is known of these. */
  givenUp: number;
}

/** What cannot be explained of a history. */
export function findContradiction(initial: Ledger, history: readonly RecordedCall[]): Finding {
  let givenUp = 0;
  for (const operations of objectsOf(initial, history)) {
    const verdict = explain(operations, modelFrom(initial));
    if (verdict.isLinearizable) continue;
    if (verdict.isCertain) return { contradiction: [NO_ORDER, ...verdict.prefix.map(lineOf)].join('\n  '), givenUp };
    givenUp += 1;
  }
  return { contradiction: null, givenUp };
}

/** The first answer of a history without overlaps that is not the model's. */
export function findDifference(initial: Ledger, history: readonly RecordedCall[]): Finding {
  let ledger = initial;
  for (const [index, call] of history.entries()) {
    const expected = decide(ledger, call.rows);
    if (!isSame(expected.answers, call.answers ?? [])) {
      const before = history.slice(0, index).map(lineOf);
      const contradiction = [
        'The last of these is not what the model answers:',
        ...before,
        lineOf(call),
        `model: ${JSON.stringify(expected.answers)}`,
      ].join('\n  ');
      return { contradiction, givenUp: 0 };
    }
    ledger = expected.ledger;
  }
  return { contradiction: null, givenUp: 0 };
}

export const NO_ORDER = 'No order of these calls gives these answers:';

function modelFrom(initial: Ledger): SequentialModel<Ledger, readonly Command[], readonly Answer[]> {
  return {
    initial,
    next: (state, rows) => {
      const { ledger, answers } = decide(state, rows);
      return { state: ledger, answer: answers };
    },
    keyOf,
    isSame,
  };
}

/**
 * A balance is an object of its own: what happens on two of them can be explained apart. They become one object where a
 * hold's id was asked for on both, because an id is taken for the whole organization. Time passes for all of them.
 */
export function objectsOf(initial: Ledger, history: readonly RecordedCall[]): LedgerOperation[][] {
  const objects = joined(history.flatMap(({ rows }) => rows.map((row) => touchedBy(initial, row))));
  return objects.map((object) => {
    const isHere = (row: Command) => {
      const [first] = touchedBy(initial, row);
      return first === undefined || object.has(first);
    };
    return history.flatMap((call) => operationsOf(call, isHere));
  });
}

function touchedBy({ fallbacks }: Ledger, row: Command): string[] {
  switch (row.verb) {
    case 'hold': {
      const types = isFeature(row.feature) ? [FEATURE_TOKEN_TYPES[row.feature], ...(fallbacks[row.feature] ?? [])] : [];
      return [`hold ${row.holdId}`, ...types];
    }
    case 'extend':
    case 'grow':
    case 'capture':
    case 'release':
      return [`hold ${row.holdId}`];
    case 'refund':
      return [`hold ${row.chargeId.replace(/\.\d+$/, '')}`, `refund ${row.key}`];
    case 'elapse':
      return [];
    default:
      return [row.tokenType];
  }
}

/** Sets of names, such that names that stand in one list stand in one set. */
function joined(lists: readonly string[][]): Set<string>[] {
  const sets = new Map<string, Set<string>>();
  for (const list of lists) {
    const whole = new Set(list.flatMap((name) => [name, ...(sets.get(name) ?? [])]));
    for (const name of whole) sets.set(name, whole);
  }
  return [...new Set(sets.values())];
}

/**
 * The rows of a call that concern one object took effect together, with two exceptions. Which balance a hold stands on
 * is looked up before that balance is locked, so an end that found no hold answers for that earlier moment, by itself; and
 * where the answer was lost, any end may be such a one.
 */
function operationsOf(
  { rows, answers, start, end, place }: RecordedCall,
  isHere: (row: Command) => boolean,
): LedgerOperation[] {
  const here = rows.map((row, index) => ({ row, answer: answers?.[index] ?? null })).filter(({ row }) => isHere(row));
  const isApart = ({ row, answer }: (typeof here)[number]) =>
    'holdId' in row &&
    row.verb !== 'hold' &&
    (answer === null || ('outcome' in answer && answer.outcome === 'hold_unknown'));
  const together = here.filter((one) => !isApart(one));
  return [...here.filter(isApart).map((one) => [one]), ...(together.length > 0 ? [together] : [])].map((part) => ({
    call: part.map(({ row }) => row),
    start,
    end,
    answer: end === null ? null : part.map(({ answer }) => answer!),
    ...(place === undefined ? {} : { place }),
  }));
}

function isSame(expected: readonly Answer[], recorded: readonly Answer[]): boolean {
  return isDeepStrictEqual(expected, recorded);
}

function lineOf({ start, end, ...call }: RecordedCall | LedgerOperation): string {
  const [rows, answers] = 'rows' in call ? [call.rows, call.answers] : [call.call, call.answer];
  const lines = rows.map(
    (row, index) => `${JSON.stringify(row)} → ${answers ? JSON.stringify(answers[index]) : '(no answer)'}`,
  );
  return `${start}–${end ?? '…'}: ${lines.join('; ')}`;
}
