import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const SDK = fileURLToPath(new URL('../sdk', import.meta.url));

export interface SdkEntry {
  /** As it is imported: `@tollgate/sdk/withTokens`. */
  name: string;
  platform: 'browser' | 'node';
  /** Its own file and the pieces that it takes along, by path. */
  files: { path: string; text: string }[];
  /** Every source that is in it. */
  sources: string[];
  /** What it leaves to be imported from outside. */
  externals: string[];
  gzippedBytes: number;
}

/**
 * The SDK as a bundler makes it for an app: ES modules, minified. Entries that are used together share their pieces, so that
 * there is one configuration and one TollgateError. Entries are those of sdk/package.json; one that needs Node says `fileQueue`.
 */
export async function bundleSdk(folder: string, { write = false } = {}): Promise<SdkEntry[]> {
  const { name, exports } = JSON.parse(await readFile(`${SDK}/package.json`, 'utf8')) as {
    name: string;
    exports: Record<string, string>;
  };
  const entries: SdkEntry[] = [];
  for (const platform of ['browser', 'node'] as const) {
    const own = Object.entries(exports).filter(([entry]) => (entry === './fileQueue') === (platform === 'node'));
    const { outputFiles, metafile } = await build({
      entryPoints: own.map(([, path]) => `${SDK}/${path}`),
      outdir: folder,
      absWorkingDir: SDK,
      platform,
      bundle: true,
      splitting: true,
      minify: true,
      format: 'esm',
      target: 'es2022',
      metafile: true,
      write: false,
    });
    for (const [entry, path] of own) {
      const [root] = Object.entries(metafile.outputs).find(([, { entryPoint }]) => entryPoint === path.slice(2))!;
      const taken = new Set<string>();
      const externals = new Set<string>();
      const take = (output: string) => {
        if (taken.has(output)) return;
        taken.add(output);
        for (const { path: imported, external } of metafile.outputs[output]!.imports) {
          if (external) externals.add(imported);
          else take(imported);
        }
      };
      take(root);
      const files = [...taken].map((output) => {
        const file = outputFiles.find(({ path: written }) => written.endsWith(output.replace(/^(\.\.\/)+/, '')))!;
        return { path: file.path, text: file.text };
      });
      entries.push({
        name: `${name}${entry.slice(1)}`,
        platform,
        files,
        sources: [...taken].flatMap((output) => Object.keys(metafile.outputs[output]!.inputs)),
        externals: [...externals],
        gzippedBytes: gzipSync(files.map(({ text }) => text).join('')).length,
      });
    }
    if (write) await writeAll(outputFiles);
  }
  return entries;
}

async function writeAll(files: { path: string; contents: Uint8Array }[]): Promise<void> {
  for (const { path, contents } of files) {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, contents);
  }
}
