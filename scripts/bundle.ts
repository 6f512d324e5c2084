/**
 * Builds what agents and images run: `src/cli/main.ts` and all that it imports, as a few plain JavaScript files.
 *
 *   node scripts/bundle.ts OUT-FOLDER       (or `npm run bundle`: into dist/)
 *
 * OUT-FOLDER/pgspan.mjs is the entry; each verb is a chunk of its own, so that an agent loads only its own code.
 * Measured (docs/decisions/agent-memory.md): an agent's libraries take 30 MiB less resident memory bundled than from sources.
 * The folder appears whole or not at all: it is built beside and renamed.
 */
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { build, type Plugin } from 'esbuild';

const ROOT = resolve(import.meta.dirname, '..');

/** Some dependencies are CommonJS and call `require` for Node's own modules. */
const REQUIRE_BANNER = `import { createRequire as __createRequire } from 'node:module';
const require = __createRequire(import.meta.url);`;

/**
 * Node's own modules that have properties which load much when they are read. An `import` of such a module reads all of them, whatever is
 * imported; `http` then loads the whole of undici for `WebSocket`. As an object, which this makes of it, it does not: measured in
 * docs/decisions/agent-memory.md.
 */
const LAZY_MODULES = ['http'];

const lazyModules: Plugin = {
  name: 'lazy modules of Node',
  setup({ onResolve, onLoad }) {
    const filter = new RegExp(`^(node:)?(${LAZY_MODULES.join('|')})$`);
    onResolve({ filter }, ({ path }) => ({ path: path.replace(/^node:/, ''), namespace: 'lazy-module' }));
    onLoad({ filter: /.*/, namespace: 'lazy-module' }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule('node:${path}');`,
    }));
  },
};

/** Builds into `outFolder`, replacing it. Throws esbuild's error, which names file and line. */
export async function bundle(outFolder: string): Promise<void> {
  // Other users read it, whatever the caller's umask is.
  process.umask(0o022);
  mkdirSync(dirname(outFolder), { recursive: true });
  const building = join(dirname(outFolder), `.${basename(outFolder)}.${process.pid}`);
  rmSync(building, { recursive: true, force: true });
  try {
    await build({
      absWorkingDir: ROOT,
      entryPoints: { pgspan: 'src/cli/main.ts' },
      outdir: building,
      outExtension: { '.js': '.mjs' },
      bundle: true,
      splitting: true,
      format: 'esm',
      platform: 'node',
      target: 'node24',
      // Identifiers keep their names: a stack trace in a log must be readable without the source map.
      minifySyntax: true,
      minifyWhitespace: true,
      sourcemap: 'linked',
      sourcesContent: false,
      legalComments: 'linked',
      banner: { js: REQUIRE_BANNER },
      define: { __PGSPAN_BUNDLED__: 'true' },
      // pg tries this optional native driver; it is not ours.
      external: ['pg-native'],
      plugins: [lazyModules],
      logLevel: 'silent',
    });
    publish(building, outFolder);
  } finally {
    rmSync(building, { recursive: true, force: true });
  }
}

function publish(building: string, outFolder: string): void {
  const old = `${building}.old`;
  if (existsSync(outFolder)) renameSync(outFolder, old);
  renameSync(building, outFolder);
  rmSync(old, { recursive: true, force: true });
}

if (import.meta.main) await bundle(resolve(process.argv[2] ?? join(ROOT, 'dist')));
