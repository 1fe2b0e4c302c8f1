import { fileURLToPath } from 'node:url';
import { bundleSdk } from './sdkBundle.ts';

/** `npm run build:sdk`: bundles the SDK into dist/sdk, and says how much of it goes over the wire. */
const entries = await bundleSdk(fileURLToPath(new URL('../dist/sdk', import.meta.url)), { write: true });
for (const { name, platform, gzippedBytes } of entries) {
  console.log(
    `${name.padEnd(26)} ${String(gzippedBytes).padStart(6)} bytes gzipped, for ${platform === 'node' ? 'Node' : 'browsers and servers'}`,
  );
}
