import { expect, inject, test } from 'vitest';
import type { Plant } from './plant.ts';
import { plantedProject, type TestResult } from './plantedProject.ts';
import { PLANTS } from './plants.ts';

/** Of everything that is planted. */
const LEAST_CAUGHT = 0.95;
/** Two cores: more at once would only be slower, and run into the limits of single tests. */
const AT_ONCE = 2;

/**
 * How a test says that a promise is broken. Whatever else makes a run fail (a module that cannot be loaded, SQL that
 * cannot be parsed, a server that is away) says nothing about the promise, and does not count.
 */
const CATCHES =
  /^(AssertionError|Error: (promise resolved|Property failed|The invariants do not hold)|.*violates (check|unique|exclusion) constraint|.*deadlock detected)/;
const RAN_OUT_OF_TIME = /^TestTimeoutError/;

interface Verdict {
  plant: Plant;
  isCaught: boolean;
  seconds: number;
  why: string;
}

test('as it is, the project passes each test that is named for a plant', async () => {
  const sound = await plantedProject(null, services());
  try {
    const files = [...new Set(PLANTS.map(({ caughtBy }) => caughtBy))];
    const { tests, output } = await sound.run(
      files,
      PLANTS.every((plant) => plant.test) ? PLANTS.map((plant) => plant.test!) : [],
    );
    const idle = PLANTS.filter(
      (plant) => !tests.some((result) => result.status === 'passed' && isNamedBy(plant, result)),
    );
    expect(idle, output.slice(-5_000)).toEqual([]);
    expect(tests.filter(({ status }) => status === 'failed')).toEqual([]);
  } finally {
    await sound.remove();
  }
});

test(`of the planted bugs at least ${LEAST_CAUGHT * 100} % are caught, each by the test file that is named for it`, async () => {
  // Those whose sentence contains these words: for whoever writes a new one.
  const { TOLLGATE_PLANTS = '' } = process.env;
  const waiting = PLANTS.filter(({ bug }) => bug.includes(TOLLGATE_PLANTS));
  const verdicts: Verdict[] = [];
  const judge = async () => {
    for (let plant = waiting.shift(); plant !== undefined; plant = waiting.shift())
      verdicts.push(await verdictOn(plant));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, judge));
  const caught = verdicts.filter(({ isCaught }) => isCaught);
  console.log(table(verdicts));
  expect(caught.length / verdicts.length, table(verdicts.filter(({ isCaught }) => !isCaught))).toBeGreaterThanOrEqual(
    LEAST_CAUGHT,
  );
}, 1_200_000);

function services() {
  return {
    superuserUrl: inject('superuserUrl'),
    templateDatabase: inject('templateDatabase'),
    databasePasswords: inject('databasePasswords'),
    temporalAddress: inject('temporalAddress'),
  };
}

function isNamedBy(plant: Plant, { file, fullName }: TestResult): boolean {
  return file === plant.caughtBy && fullName.includes(plant.test ?? '');
}

async function verdictOn(plant: Plant): Promise<Verdict> {
  const start = performance.now();
  const planted = await plantedProject(plant, services());
  try {
    const { tests, output } = await planted.run(
      [plant.caughtBy],
      plant.test === undefined ? [] : [plant.test],
      plant.hangs ? ['--testTimeout=5000'] : [],
    );
    const failures = tests.filter((result) => isNamedBy(plant, result)).flatMap((result) => result.failures);
    const isCaught = failures.some(
      (failure) => CATCHES.test(failure) || (plant.hangs && RAN_OUT_OF_TIME.test(failure)),
    );
    const why =
      failures[0] ?? (tests.some(({ status }) => status === 'passed') ? 'every test passed' : output.slice(-2_000));
    return { plant, isCaught, seconds: (performance.now() - start) / 1_000, why };
  } finally {
    await planted.remove();
  }
}

function table(verdicts: readonly Verdict[]): string {
  const lines = verdicts.map(
    ({ plant, isCaught, seconds, why }) =>
      `${isCaught ? 'caught' : 'MISSED'} ${seconds.toFixed(1).padStart(5)} s  ${plant.bug} (${plant.file}) by ${plant.caughtBy}${isCaught ? '' : `\n       ${why.slice(0, 1_000)}`}`,
  );
  const caught = verdicts.filter(({ isCaught }) => isCaught).length;
  return [...lines, `${caught} of ${verdicts.length} planted bugs caught`].join('\n');
}
