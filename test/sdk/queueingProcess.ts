import { createTollgate } from '@tollgate/sdk';
import { openFileQueue } from '@tollgate/sdk/fileQueue';

/** Works while Tollgate is away, says so once its use is queued, and goes on until it is killed. */
const tollgate = createTollgate({
  url: 'http://127.0.0.1:9',
  attempts: 1,
  whenUnreachable: { generate_goal: 'open' },
  outageQueue: await openFileQueue(process.argv[2]!),
});
await tollgate.withTokens('generate_goal', async (held) => held.use(2));
console.log('queued');
setInterval(() => {}, 1_000);
