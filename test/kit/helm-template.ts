/**
 * Renders a Helm chart: with the program `helm` where there is one (PGSPAN_HELM, else PATH), else with a small renderer of our
 * own that knows what our chart uses, and throws at anything else.
 * https://helm.sh/docs/chart_template_guide/
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { parse, parseAllDocuments } from 'yaml';
import { mergeFields } from './manifests.ts';

export interface RenderOptions {
  readonly namespace: string;
  /** Over those of the chart. */
  readonly values: Readonly<Record<string, unknown>>;
}

/** Path of `helm`; null: none on this machine. */
export function findHelm(): string | null {
  const named = process.env.PGSPAN_HELM ?? '';
  if (named !== '') return named;
  const found = (process.env.PATH ?? '').split(delimiter).find((folder) => existsSync(join(folder, 'helm')));
  return found === undefined ? null : join(found, 'helm');
}

/** All objects of the chart, in the order of its files. */
export function renderWithHelm(helm: string, folder: string, { namespace, values }: RenderOptions): unknown[] {
  const scratch = mkdtempSync(join(tmpdir(), 'pgspan-helm-'));
  try {
    const file = join(scratch, 'values.yaml');
    writeFileSync(file, JSON.stringify(values));
    const words = [
      'template',
      'pgspan',
      folder,
      '--namespace',
      namespace,
      '--values',
      file,
      '--kube-version',
      '1.36.0',
    ];
    return documents(execFileSync(helm, words, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] }));
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

/** As `helm lint --strict`; throws what it says. */
export function lintWithHelm(helm: string, folder: string): void {
  execFileSync(helm, ['lint', '--strict', '--kube-version', '1.36.0', folder], { encoding: 'utf8', stdio: 'pipe' });
}

export function renderChart(folder: string, { namespace, values }: RenderOptions): unknown[] {
  const read = (path: string) => readFileSync(join(folder, path), 'utf8');
  const chart = parse(read('Chart.yaml')) as { appVersion: string };
  const root = {
    Values: mergeFields(parse(read('values.yaml')), values),
    Release: { Namespace: namespace, Name: 'pgspan' },
    Chart: { AppVersion: chart.appVersion },
  };
  const helpers = new Map<string, Node[]>();
  const scope: Scope = { root, dot: root, helpers, file: read };
  render(parseTemplate(read('templates/_helpers.tpl')), scope);
  const files = readdirSync(join(folder, 'templates')).filter((name) => name.endsWith('.yaml'));
  return files.toSorted().flatMap((name) => documents(render(parseTemplate(read(`templates/${name}`)), scope)));
}

function documents(text: string): unknown[] {
  return parseAllDocuments(text, { merge: false })
    .map((document) => {
      if (document.errors.length > 0) throw document.errors[0];
      return document.toJS() as unknown;
    })
    .filter((value) => value !== null);
}

interface Block {
  readonly kind: 'if' | 'range' | 'define';
  readonly words: string;
  readonly body: Node[];
  readonly otherwise: Node[];
}

type Node =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'value'; readonly pipeline: string }
  | Block;

interface Scope {
  readonly root: Readonly<Record<string, unknown>>;
  readonly dot: unknown;
  readonly helpers: Map<string, Node[]>;
  readonly file: (path: string) => string;
}

function parseTemplate(template: string): Node[] {
  const parts = template
    .replaceAll(/\s*\{\{-/g, '{{')
    .replaceAll(/-\}\}\s*/g, '}}')
    .split(/\{\{(.*?)\}\}/gs);
  const top: Node[] = [];
  const open: { readonly node: Block; readonly list: Node[] }[] = [];
  let list = top;
  for (const [index, part] of parts.entries()) {
    if (index % 2 === 0) {
      list.push({ kind: 'text', text: part });
      continue;
    }
    const action = part.trim();
    const [word = ''] = action.split(/\s/, 1);
    if (action.startsWith('/*')) continue;
    if (word === 'if' || word === 'range' || word === 'define') {
      const node: Block = { kind: word, words: action.slice(word.length).trim(), body: [], otherwise: [] };
      list.push(node);
      open.push({ node, list });
      list = node.body;
    } else if (word === 'else' && action === 'else') {
      list = (open.at(-1) as { node: { otherwise: Node[] } }).node.otherwise;
    } else if (action === 'end') {
      list = (open.pop() as { list: Node[] }).list;
    } else {
      list.push({ kind: 'value', pipeline: action });
    }
  }
  if (open.length > 0) throw new Error('A block of the template is not closed');
  return top;
}

function render(nodes: readonly Node[], scope: Scope): string {
  return nodes.map((node) => renderNode(node, scope)).join('');
}

function renderNode(node: Node, scope: Scope): string {
  switch (node.kind) {
    case 'text':
      return node.text;
    case 'value':
      return String(evaluate(node.pipeline, scope));
    case 'if':
      return render(isTrue(evaluate(node.words, scope)) ? node.body : node.otherwise, scope);
    case 'range':
      return (evaluate(node.words, scope) as unknown[]).map((dot) => render(node.body, { ...scope, dot })).join('');
    case 'define':
      scope.helpers.set(JSON.parse(node.words) as string, node.body);
      return '';
  }
}

/** Of Go's templates: empty is false. */
function isTrue(value: unknown): boolean {
  return Array.isArray(value) ? value.length > 0 : Boolean(value);
}

function evaluate(pipeline: string, scope: Scope): unknown {
  const [first = '', ...rest] = pipeline.split('|').map((stage) => stage.trim());
  return rest.reduce(
    (value, stage) => callFunction(wordsOf(stage), scope, [value]),
    callFunction(wordsOf(first), scope, []),
  );
}

function wordsOf(stage: string): string[] {
  return stage.match(/"[^"]*"|\S+/g) ?? [];
}

function callFunction([name = '', ...words]: string[], scope: Scope, piped: readonly unknown[]): unknown {
  const given = [...words.map((word) => operand(word, scope)), ...piped];
  switch (name) {
    case 'toJson':
    case 'quote':
      return JSON.stringify(given[0]);
    case 'sha256sum':
      return createHash('sha256').update(String(given[0])).digest('hex');
    case 'default':
      return isTrue(given[1]) ? given[1] : given[0];
    case 'include': {
      const helper = scope.helpers.get(String(given[0]));
      if (helper === undefined) throw new Error(`There is no template "${given[0]}"`);
      return render(helper, { ...scope, dot: given[1] });
    }
    case '.Files.Get':
      return scope.file(String(given[0]));
    default:
      if (given.length === 0 && /^[.$"]/.test(name)) return operand(name, scope);
      throw new Error(`The chart uses "${name}", which this renderer does not know`);
  }
}

function operand(word: string, { root, dot }: Scope): unknown {
  if (word.startsWith('"')) return JSON.parse(word);
  const start = word.startsWith('$') ? root : dot;
  return word
    .replace(/^\$/, '')
    .split('.')
    .filter((key) => key !== '')
    .reduce<unknown>((value, key) => {
      if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key))
        throw new Error(`There is no ${word}`);
      return (value as Record<string, unknown>)[key];
    }, start);
}
