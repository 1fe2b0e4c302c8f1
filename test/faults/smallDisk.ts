import { execFile, spawnSync } from 'node:child_process';
import { mkdir, open, rm, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** A file system of so few megabytes that it can be filled. */
export interface SmallDisk {
  path: string;
  fill(): Promise<void>;
  /** Takes away what `fill` wrote. */
  clear(): Promise<void>;
  unmount(): Promise<void>;
}

/** Why there can be none here; null if there can. */
export function whyNoSmallDisk(): string | null {
  if (process.platform !== 'linux') return 'a tmpfs is needed, and this is no Linux';
  if (process.getuid?.() !== 0) return 'only root may mount a tmpfs';
  // In a namespace of its own, which ends with it. Containers without CAP_SYS_ADMIN refuse.
  const { status, stderr } = spawnSync('unshare', ['-m', 'mount', '-t', 'tmpfs', '-o', 'size=1m', 'none', '/mnt']);
  return status === 0 ? null : `a tmpfs cannot be mounted: ${stderr?.toString().trim() || 'no unshare'}`;
}

export async function mountSmallDisk(
  path: string,
  megabytes: number,
  owner: { uid: number; gid: number },
): Promise<SmallDisk> {
  await mkdir(path);
  await run('mount', [
    ...['-t', 'tmpfs', '-o', `size=${megabytes}m,uid=${owner.uid},gid=${owner.gid},mode=700`],
    ...['tollgate-test', path],
  ]);
  const ballast = join(path, 'ballast');
  return {
    path,
    fill: async () => {
      const file = await open(ballast, 'w');
      const page = Buffer.alloc(4_096);
      try {
        for (;;) await file.write(page);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      } finally {
        await file.close();
      }
    },
    clear: () => rm(ballast, { force: true }),
    unmount: async () => {
      await run('umount', [path]);
      await rmdir(path);
    },
  };
}
