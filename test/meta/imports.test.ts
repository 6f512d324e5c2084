/**
 * Imports point down one list of layers (design.md, section 3). Each layer says why it may not know those above it.
 */
import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { suite, test } from 'node:test';

const ROOT = resolve(import.meta.dirname, '../..');

/** Top to bottom; a layer may import itself and what is below it. */
const LAYERS = [
  {
    name: 'cli',
    why: 'what people type is printed from what the layers below return, and nothing below prints for people',
  },
  { name: 'operator', why: 'a failover must work while the operator is down, so no agent may need its code' },
  {
    name: 'agents',
    why: 'a platform starts agents as programs with files; an agent that knew its starter would work on one only',
  },
  { name: 'platform', why: 'how processes run must not decide who leads: the record is the same on every platform' },
  { name: 'coordination', why: 'a store keeps the record and does not know what a record means' },
  {
    name: 'core',
    why: 'decisions are tested by the million; they may know bytes and agreed types, never where these come from',
  },
  { name: 'wire', why: 'bytes to records and back, for whoever needs them' },
  { name: 'api', why: 'what two programs must agree on cannot depend on either' },
  { name: 'base', why: 'small tools that know nothing of PostgreSQL or pgspan' },
] as const;

/** What the pure layers may not touch: with these a decision would depend on more than its arguments. */
const IMPURE = [
  { pattern: /\bawait\b|\basync\b/, what: 'await' },
  { pattern: /\bDate\.now\(|\bnew Date\(\)|\bperformance\.now\(|\bsetTimeout\(|\bsetInterval\(/, what: 'a clock' },
  { pattern: /\bMath\.random\(|\brandomBytes\(|\brandomUUID\(|\brandomInt\(/, what: 'randomness' },
  { pattern: /\bprocess\.(env|stdout|stderr|exit|argv|cwd|pid)\b|\bconsole\./, what: 'the process' },
] as const;

/** Modules of Node that are pure computation. */
const PURE_MODULES = [
  'node:assert',
  'node:assert/strict',
  'node:net',
  'node:path',
  'node:path/posix',
  'node:util',
  'node:crypto',
  'node:buffer',
];

interface Import {
  readonly file: string;
  readonly target: string;
}

const sources = globSync('src/**/*.ts', { cwd: ROOT }).filter((file) => !file.endsWith('.test.ts'));

function importsOf(file: string): Import[] {
  const text = readFileSync(join(ROOT, file), 'utf8');
  const found = text.matchAll(
    /^\s*(?:import|export)\b[^;'"]*?from\s+['"]([^'"]+)['"]|^\s*import\s+['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]/gm,
  );
  return [...found].map((match) => ({ file, target: match[1] ?? match[2] ?? match[3] ?? '' }));
}

function layerOf(path: string): (typeof LAYERS)[number] | undefined {
  return LAYERS.find(({ name }) => path.startsWith(`src/${name}/`));
}

suite('imports', () => {
  test('every source file is in a layer', () => {
    assert.deepEqual(
      sources.filter((file) => layerOf(file) === undefined),
      [],
    );
  });

  for (const layer of LAYERS) {
    test(`${layer.name}/ imports nothing above it: ${layer.why}`, () => {
      const rank = LAYERS.indexOf(layer);
      const upward = sources
        .filter((file) => layerOf(file) === layer)
        .flatMap(importsOf)
        .filter(({ target }) => target.startsWith('.'))
        .map(({ file, target }) => ({ file, target: relative(ROOT, join(ROOT, dirname(file), target)) }))
        .filter(({ target }) => {
          const other = layerOf(target);
          return target.startsWith('src/') && other !== undefined && LAYERS.indexOf(other) < rank;
        });
      assert.deepEqual(
        upward.map(({ file, target }) => `${file} imports ${target}`),
        [],
      );
    });
  }

  test('src/ imports nothing of test/, bench/ or scripts/, which are not in the bundle', () => {
    const outside = sources
      .flatMap(importsOf)
      .filter(
        ({ file, target }) =>
          target.startsWith('.') && !relative(ROOT, join(ROOT, dirname(file), target)).startsWith('src/'),
      )
      .filter(({ target }) => !target.endsWith('/package.json'));
    assert.deepEqual(
      outside.map(({ file, target }) => `${file} imports ${target}`),
      [],
    );
  });

  for (const layer of ['core', 'wire', 'api']) {
    test(`${layer}/ is pure: it uses only modules that compute`, () => {
      const impure = sources
        .filter((file) => file.startsWith(`src/${layer}/`))
        .flatMap(importsOf)
        .filter(({ target }) => target.startsWith('node:') && !PURE_MODULES.includes(target));
      assert.deepEqual(
        impure.map(({ file, target }) => `${file} imports ${target}`),
        [],
      );
    });
  }

  for (const { pattern, what } of IMPURE) {
    test(`core/ uses no ${what.replace(/^an? /, '')}: a decision depends on its arguments alone`, () => {
      const uses = sources
        .filter((file) => file.startsWith('src/core/'))
        .flatMap((file) => codeLines(file).map((line, index) => ({ place: `${file}:${index + 1}`, line })))
        .filter(({ line }) => pattern.test(line))
        .map(({ place, line }) => `${place}: ${line.trim()}`);
      assert.deepEqual(uses, []);
    });
  }
});

/** The lines of a file, with comments and the content of quoted text blanked. */
function codeLines(file: string): string[] {
  const text = readFileSync(join(ROOT, file), 'utf8');
  const blank = (found: string) => found.replaceAll(/[^\n]/g, ' ');
  return text
    .replaceAll(/\/\*[\s\S]*?\*\//g, blank)
    .replaceAll(/'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"/g, blank)
    .replaceAll(/(^|[^:])\/\/.*$/gm, blank)
    .split('\n');
}
