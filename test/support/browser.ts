import { mkdir, mkdtemp, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import chromium, { inflate } from '@sparticuz/chromium';
import { type Browser, chromium as driver } from 'playwright-core';

/**
 * A real Chromium, from npm, without the arguments that its package would give it: they switch off what keeps origins apart. It resolves no name of any host, so a page that needs one fails; what it asked for all the same, the
 * test hears of by `page.on('request')`.
 */
export async function startBrowser(): Promise<Browser> {
  const folder = await unpackedChromium();
  return driver.launch({
    executablePath: join(folder, 'chromium'),
    args: [...ARGUMENTS, '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1'],
    env: {
      ...process.env,
      // After the machine's own: a bare one lacks libnss3, which the package brings.
      LD_LIBRARY_PATH: [process.env.LD_LIBRARY_PATH, join(folder, 'al2023', 'lib')].filter(Boolean).join(':'),
      FONTCONFIG_PATH: join(folder, 'fonts'),
    },
  });
}

const ARGUMENTS = ['--no-sandbox', '--no-zygote', '--disable-gpu', '--disable-quic', '--disable-dev-shm-usage'];

/** Unpacked once for this machine. The package unpacks into the folder for temporary files, where two at once would meet a half. */
async function unpackedChromium(): Promise<string> {
  const entry = createRequire(import.meta.url).resolve('@sparticuz/chromium');
  const packageFolder = dirname(dirname(dirname(entry)));
  const { version } = createRequire(import.meta.url)(join(packageFolder, 'package.json')) as { version: string };
  const cache = join(homedir(), '.cache', 'tollgate');
  const folder = join(cache, `chromium-${version}`);
  if (await stat(folder).catch(() => null)) return folder;

  await mkdir(cache, { recursive: true });
  const unpacking = await mkdtemp(join(cache, 'unpacking-'));
  const before = process.env.TMPDIR;
  process.env.TMPDIR = unpacking;
  try {
    await chromium.executablePath();
    await inflate(join(packageFolder, 'bin', 'al2023.tar.br'));
    // The package's own names folders that are not ours, and Chromium ends where it finds no font.
    await writeFile(join(unpacking, 'fonts', 'fonts.conf'), fontsConf(join(folder, 'fonts')));
  } finally {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
  }
  // Whoever comes second throws his away.
  await rename(unpacking, folder).catch(() => rm(unpacking, { recursive: true, force: true }));
  return folder;
}

function fontsConf(folder: string): string {
  return `<?xml version="1.0"?><fontconfig><dir>${folder}</dir><cachedir>${folder}-cache</cachedir></fontconfig>`;
}
