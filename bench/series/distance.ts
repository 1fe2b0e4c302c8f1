import pg from 'pg';
import { type DelayProxy, startDelayProxy } from '../delayProxy.ts';
import { figureOf } from '../figure.ts';
import { median } from '../quantiles.ts';
import { type Bench, CALLERS, HOT, HOT_ORGANIZATIONS, type Measured } from '../series.ts';
import { compareThroughput, pairsOf } from '../throughput.ts';

const ADDED_MS = 1;

/** A database that is not on the same machine: each round trip takes a millisecond more, for ours and for the foil. */
export async function distance(bench: Bench): Promise<Measured> {
  const { isQuick, say } = bench;
  const database = await bench.databases.fresh(HOT_ORGANIZATIONS);
  const port = Number(new URL(database.urls.api).port);
  const through = (proxy: DelayProxy) => (direct: string) => {
    const url = new URL(direct);
    url.port = `${proxy.port}`;
    return url.href;
  };
  const near = await roundTripMs(database.urls.api);
  // The way through the proxy takes time by itself, which is a part of what it shall add.
  const prompt = await startDelayProxy({ port, delayMs: 0 });
  const ownMs = (await roundTripMs(through(prompt)(database.urls.api))) - near;
  await prompt.stop();
  const proxy = await startDelayProxy({ port, delayMs: Math.max(0, ADDED_MS - ownMs) });
  const urlOf = through(proxy);
  const far = await roundTripMs(urlOf(database.urls.api));
  say(`a round trip takes ${near.toFixed(2)} ms, through the proxy ${far.toFixed(2)} ms`);
  const pairs = await compareThroughput(bench, database, { workload: 'hold', organizationOf: () => HOT, urlOf });
  await proxy.stop();
  await database.verify();
  await database.drop();

  const what = `hot organization, ${CALLERS} callers, hold, ${ADDED_MS} ms added to each round trip`;
  return {
    figures: [
      figureOf({
        ...{ id: 'distant-hold', title: what, unit: '/s', isQuick },
        pairs: pairsOf(pairs, 'perSecond'),
        goal: { of: 'ratio', atLeast: 100 },
      }),
      figureOf({ id: 'distant-hold-p99', title: `${what}, p99`, unit: 'ms', pairs: pairsOf(pairs, 'p99'), isQuick }),
    ],
  };
}

async function roundTripMs(url: string): Promise<number> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const times: number[] = [];
  for (let n = 0; n < 300; n++) {
    const began = performance.now();
    await client.query('select');
    times.push(performance.now() - began);
  }
  await client.end();
  return median(times);
}
