/**
 * Makes what the image holds under /opt/pgspan: `node scripts/image/make-program.ts FOLDER`. Runs in the image's build stage.
 *
 *   bin/      start scripts (scripts/image/bin)
 *   program/  the bundle
 *   flags/    one file a verb: the flags of Node that it runs with
 *   lib/      the libraries of this machine's Node, and their loader as ld.so: with them it runs in any image of this processor
 *   stamp     digest of all that
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { NODE_FLAGS, type ProgramKind } from '../../src/platform/program.ts';
import { bundle } from '../bundle.ts';

const KINDS: Readonly<Record<string, ProgramKind>> = {
  instance: 'agent',
  proxy: 'proxy',
  operator: 'operator',
  dns: 'dns',
};

const folder = resolve(process.argv[2] ?? '/opt/pgspan');
mkdirSync(folder, { recursive: true });
await bundle(join(folder, 'program'));
cpSync(join(import.meta.dirname, 'bin'), join(folder, 'bin'), { recursive: true });
mkdirSync(join(folder, 'flags'));
for (const [verb, kind] of Object.entries(KINDS)) {
  writeFileSync(join(folder, 'flags', verb), `${NODE_FLAGS[kind].join(' ')}\n`);
}
mkdirSync(join(folder, 'lib'));
for (const library of librariesOf(process.execPath)) {
  copyFileSync(library, join(folder, 'lib', basename(library).startsWith('ld-linux') ? 'ld.so' : basename(library)));
}
writeFileSync(join(folder, 'stamp'), `${digestOf(folder)}\n`);

/** Absolute paths, the loader's among them. */
function librariesOf(program: string): string[] {
  const lines = execFileSync('ldd', [program], { encoding: 'utf8' }).split('\n');
  const paths = lines.flatMap((line) => /(\/\S+) \(0x/.exec(line)?.[1] ?? []);
  if (!paths.some((path) => basename(path).startsWith('ld-linux'))) {
    throw new Error(`Cannot find the loader of "${program}": ldd says ${lines.join(' | ')}`);
  }
  return paths;
}

function digestOf(root: string): string {
  const hash = createHash('sha256').update(process.version);
  const files = readdirSync(root, { recursive: true, withFileTypes: true }).filter((file) => file.isFile());
  for (const path of files.map((file) => join(file.parentPath, file.name)).sort()) {
    hash.update(`${path}\0`).update(readFileSync(path));
  }
  return hash.digest('hex').slice(0, 16);
}
