/** The objects of examples/, one by one. */
import { globSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { isPostgresGroup } from '../../src/api/parse-manifest.ts';

const ROOT = resolve(import.meta.dirname, '../..');

export interface ExampleManifest {
  /** Relative to the clone. */
  readonly file: string;
  /** Of the document in its file, from 0. */
  readonly index: number;
  readonly manifest: Record<string, unknown>;
}

/** Every PostgresGroup. */
export function exampleManifests(): ExampleManifest[] {
  return exampleObjects().filter(({ manifest }) => isPostgresGroup(manifest));
}

/** Every object, of whatever kind. */
export function exampleObjects(): ExampleManifest[] {
  return globSync('examples/**/*.yaml', { cwd: ROOT })
    .toSorted()
    .flatMap((file) =>
      parseAllDocuments(readFileSync(join(ROOT, file), 'utf8')).map((document, index) => ({
        file,
        index,
        manifest: document.toJS() as Record<string, unknown>,
      })),
    );
}
