const LOOK_EVERY_MS = 500;

/**
 * Calls `end` when npm is gone: killed with SIGKILL it cannot pass anything on, and this process would run on with nobody
 * to stop it. The scripts of package.json say `exec`, so that npm itself is our parent and not a shell between us. Does
 * nothing where npm did not start us.
 */
export function endWithNpm(end: () => void, environment: NodeJS.ProcessEnv = process.env): void {
  if (environment.npm_lifecycle_event === undefined) return;
  const npm = process.ppid;
  const watch = setInterval(() => {
    if (process.ppid === npm) return;
    clearInterval(watch);
    end();
  }, LOOK_EVERY_MS);
  watch.unref();
}
