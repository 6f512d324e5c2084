/**
 * `-f FILE|FOLDER|-`: from manifests on disk or stdin to the groups of one global cluster. Every verb that takes `-f` uses
 * loadManifests. Each field is checked in src/api, what must fit between groups in core/topology/validate.ts.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type Document, parseAllDocuments } from 'yaml';
import { ManifestError, type ManifestProblem } from '../api/manifest-error.ts';
import { parsePostgresGroup } from '../api/parse-manifest.ts';
import { KIND, type PostgresGroup } from '../api/postgres-group.ts';
import { UserError } from '../base/user-error.ts';
import { validateGroups } from '../core/topology/validate.ts';

/** A manifest is a few kilobytes; certificates of 31 peers fit in 2 MiB. */
const MANIFEST_BYTES_MAX = 4 * 1024 * 1024;
const DOCUMENTS_MAX = 64;
const FILES_MAX = 64;

/**
 * @param source a file, a folder (its `*.yaml`, `*.yml` and `*.json`, by name), or `-` for stdin.
 * @returns groups in the order of the documents.
 * @throws UserError MANIFEST_NOT_FOUND, MANIFEST_UNREADABLE, MANIFEST_EMPTY; ManifestError MANIFEST_INVALID.
 */
export async function loadManifests(source: string): Promise<PostgresGroup[]> {
  const texts = source === '-' ? [{ file: 'stdin', text: await readStdin() }] : await readManifestFiles(source);
  const groups: PostgresGroup[] = [];
  const problems: ManifestProblem[] = [];
  for (const { file, text } of texts) {
    for (const parsed of parseManifestText(text, file)) {
      if (parsed.kind === 'accepted') groups.push(parsed.group);
      else problems.push(...parsed.problems);
    }
  }
  const name = source === '-' ? 'stdin' : source;
  if (problems.length > 0) throw new ManifestError(`accept "${name}"`, problems);
  if (groups.length === 0) {
    throw new UserError({
      code: 'MANIFEST_EMPTY',
      kind: 'usage',
      message: `Cannot accept "${name}": it holds no PostgresGroup`,
      todo: 'Name a manifest, or a folder with manifests, such as examples/three-groups-local.yaml',
    });
  }
  validateGroups(groups, { source: name });
  return groups;
}

/** The groups among the documents of one YAML or JSON text; objects of other APIs are passed over. Throws UserError MANIFEST_UNREADABLE with line and column. */
export function parseManifestText(text: string, file: string): ReturnType<typeof parsePostgresGroup>[] {
  const documents = parseAllDocuments(text, { uniqueKeys: true });
  if (!Array.isArray(documents)) return [];
  if (documents.length > DOCUMENTS_MAX) throw unreadable(file, `it holds more than ${DOCUMENTS_MAX} documents`);
  return documents.flatMap((document, index) => {
    const error = document.errors[0];
    if (error !== undefined) throw unreadable(file, error.message.trim());
    const value = toValue(document, file);
    if (value === null || isOfAnotherApi(value)) return [];
    return [parsePostgresGroup(value, `document ${index + 1} of ${file}`)];
  });
}

/** A folder for `kubectl apply -f` also holds Secrets, Deployments and the like. What may be a slip in our own names is not one. */
function isOfAnotherApi(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const { apiVersion, kind } = value as { readonly apiVersion?: unknown; readonly kind?: unknown };
  if (typeof apiVersion !== 'string' || typeof kind !== 'string') return false;
  return /^([a-z0-9.-]+\/)?v[0-9]+[a-z0-9]*$/.test(apiVersion) && !apiVersion.includes('pgspan') && kind !== KIND;
}

/** A manifest needs no aliases; nested ones multiply. */
const ALIASES_MAX = 100;

function toValue(document: Document.Parsed, file: string): unknown {
  try {
    return document.toJS({ maxAliasCount: ALIASES_MAX });
  } catch (error) {
    throw unreadable(file, (error as Error).message, error);
  }
}

async function readManifestFiles(source: string): Promise<{ file: string; text: string }[]> {
  const entry = await stat(source).catch((error: NodeJS.ErrnoException) => {
    throw error.code === 'ENOENT' ? notFound(source) : unreadable(source, error.message, error);
  });
  if (!entry.isDirectory()) return [{ file: source, text: await readText(source) }];
  const names = (await readdir(source)).filter((name) => /\.(ya?ml|json)$/.test(name)).sort();
  if (names.length > FILES_MAX) throw unreadable(source, `it holds more than ${FILES_MAX} manifests`);
  return Promise.all(
    names.map(async (name) => ({ file: join(source, name), text: await readText(join(source, name)) })),
  );
}

async function readText(path: string): Promise<string> {
  try {
    const { size } = await stat(path);
    if (size > MANIFEST_BYTES_MAX) throw new Error(`it has more than ${MANIFEST_BYTES_MAX} bytes`);
    return await readFile(path, 'utf8');
  } catch (error) {
    throw unreadable(path, (error as Error).message, error);
  }
}

async function readStdin(): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of process.stdin) {
    chunks.push(chunk as Buffer);
    size += (chunk as Buffer).length;
    if (size > MANIFEST_BYTES_MAX) throw unreadable('stdin', `it has more than ${MANIFEST_BYTES_MAX} bytes`);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function notFound(source: string): UserError {
  return new UserError({
    code: 'MANIFEST_NOT_FOUND',
    kind: 'not-found',
    message: `Cannot read "${source}": there is no such file or folder`,
    todo: 'Give -f the path of a manifest, a folder with manifests, or "-" for stdin',
  });
}

function unreadable(source: string, found: string, cause?: unknown): UserError {
  return new UserError({
    code: 'MANIFEST_UNREADABLE',
    kind: 'usage',
    message: `Cannot read "${source}": ${found}`,
    todo: 'Correct the YAML, then try again',
    cause,
  });
}
