/**
 * A user's template over a generated Service (requirement A6). What makes the Service work cannot be changed: which pods it
 * selects, that the port of PostgreSQL leads to PostgreSQL, and our own labels, by which the operator finds it again.
 *
 *   patch    mappings are merged, `ports` by name, other lists replaced
 *   replace  the template's labels, annotations and spec stand instead of the generated ones, but for the above
 */
import type { ServiceTemplate } from '../../api/postgres-group-connectivity.ts';
import { nearest } from '../../base/nearest.ts';

/** What a Service of ours consists of, as Kubernetes spells it. */
export interface ServiceParts {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly spec: Readonly<Record<string, unknown>>;
}

export interface ServicePort {
  readonly name: string;
  readonly port: number;
  readonly targetPort: number | string;
  readonly protocol: 'TCP';
}

/** `{node}` exists for node services only. */
export interface PlaceholderValues {
  readonly node?: string;
  readonly group: string;
  readonly service: string;
  readonly fqdn: string;
}

export interface TemplateProblem {
  /** Below the template: `metadata.labels["x"]`. */
  readonly path: string;
  readonly found: string;
  readonly accepted: string;
}

/** Call templateProblems first. */
export function applyServiceTemplate(
  generated: ServiceParts,
  template: ServiceTemplate | undefined,
  values: PlaceholderValues,
): ServiceParts {
  if (template === undefined) return generated;
  const fill = (map: Readonly<Record<string, string>> = {}) =>
    Object.fromEntries(Object.entries(map).map(([key, text]) => [key, fillPlaceholders(text, values)]));
  const labels = fill(template.metadata?.labels);
  const annotations = fill(template.metadata?.annotations);
  const spec = template.spec ?? {};
  if (template.updateStrategy === 'replace') {
    const { selector, ports, publishNotReadyAddresses } = generated.spec;
    const kept = { selector, ports, ...(publishNotReadyAddresses === undefined ? {} : { publishNotReadyAddresses }) };
    const base = template.spec === undefined ? generated.spec : { type: 'ClusterIP', ...kept };
    return { labels: { ...labels, ...generated.labels }, annotations, spec: merge(base, spec) };
  }
  return {
    labels: { ...labels, ...generated.labels },
    annotations: { ...generated.annotations, ...annotations },
    spec: merge(generated.spec, spec),
  };
}

/** Our part of the label space, and what tools of Kubernetes read as ours. */
const OWN_LABEL = /^(pgspan\.io|app\.kubernetes\.io)\//;
const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;

/** @param values of one Service that the template is for; with them the labels are filled in and judged. */
export function templateProblems(
  generated: ServiceParts,
  template: ServiceTemplate,
  values: PlaceholderValues,
): TemplateProblem[] {
  const problems: TemplateProblem[] = [];
  for (const kind of ['labels', 'annotations'] as const) {
    for (const [key, text] of Object.entries(template.metadata?.[kind] ?? {})) {
      const path = `metadata.${kind}[${JSON.stringify(key)}]`;
      const add = (found: string, accepted: string) => problems.push({ path, found, accepted });
      problems.push(...placeholderProblems(text, values).map((problem) => ({ path, ...problem })));
      if (kind !== 'labels') continue;
      if (OWN_LABEL.test(key)) add('this label belongs to pgspan', 'use a prefix of your own');
      const filled = fillPlaceholders(text, values);
      if (!LABEL_VALUE.test(filled))
        add(`it becomes "${filled}"`, 'accepted: at most 63 letters, digits, "-", "_" and "."');
    }
  }
  return [...problems, ...specProblems(generated.spec, template.spec ?? {})];
}

const TYPES = ['ClusterIP', 'NodePort', 'LoadBalancer'];

function specProblems(generated: ServiceParts['spec'], spec: Readonly<Record<string, unknown>>): TemplateProblem[] {
  const problems: TemplateProblem[] = [];
  const add = (path: string, found: string, accepted: string) =>
    problems.push({ path: `spec.${path}`, found, accepted });
  if (spec.type !== undefined && !TYPES.includes(String(spec.type)))
    add('type', `found ${JSON.stringify(spec.type)}`, `accepted: ${TYPES.join(', ')}`);
  if (spec.selector !== undefined && !isSame(spec.selector, generated.selector)) {
    add(
      'selector',
      `found ${JSON.stringify(spec.selector)}`,
      `leave it out: it would select other pods than ${JSON.stringify(generated.selector)}`,
    );
  }
  if (spec.clusterIP === 'None')
    add('clusterIP', 'found "None"', 'leave it out: a headless Service ignores the target port');
  const publishes = generated.publishNotReadyAddresses ?? false;
  if (spec.publishNotReadyAddresses !== undefined && spec.publishNotReadyAddresses !== publishes) {
    add(
      'publishNotReadyAddresses',
      `found ${spec.publishNotReadyAddresses}`,
      `accepted: ${publishes}, since ${publishes ? 'agents elect before PostgreSQL is ready' : 'clients would be sent to proxies that cannot serve'}`,
    );
  }
  if (spec.ports === undefined) return problems;
  if (!Array.isArray(spec.ports))
    return [
      ...problems,
      { path: 'spec.ports', found: 'found no list', accepted: 'accepted: a list of ports, each with a name' },
    ];
  for (const [index, entry] of spec.ports.entries())
    problems.push(...portProblems(generated, entry, `spec.ports[${index}]`));
  return problems;
}

function portProblems(generated: ServiceParts['spec'], entry: unknown, path: string): TemplateProblem[] {
  if (!isMapping(entry) || typeof entry.name !== 'string') {
    return [
      { path, found: 'it has no name', accepted: 'accepted: a port with a name; the one of PostgreSQL is "postgres"' },
    ];
  }
  const ours = portsOf(generated).find((port) => port.name === entry.name || port.port === entry.port);
  if (ours === undefined) return [];
  const expected: Readonly<Record<string, unknown>> = { ...ours };
  return Object.entries(expected)
    .filter(([key, value]) => entry[key] !== undefined && entry[key] !== value)
    .map(([key, value]) => ({
      path: `${path}.${key}`,
      found: `found ${JSON.stringify(entry[key])}`,
      accepted: `accepted: ${JSON.stringify(value)}, since clients and other servers rely on this port`,
    }));
}

/** A word in braces; a brace before anything else is text, as in the JSON that cloud annotations hold. */
const PLACEHOLDER = /\{([A-Za-z_][A-Za-z0-9_]*)\}/g;

export function fillPlaceholders(text: string, values: PlaceholderValues): string {
  return text.replace(PLACEHOLDER, (whole, name: string) => values[name as keyof PlaceholderValues] ?? whole);
}

function placeholderProblems(text: string, values: PlaceholderValues): Omit<TemplateProblem, 'path'>[] {
  const known = Object.keys(values);
  return [...text.matchAll(PLACEHOLDER)].flatMap(([whole, name = '']) => {
    if (known.includes(name)) return [];
    const meant = nearest(name, known);
    const list = `accepted: ${known.map((one) => `{${one}}`).join(', ')}`;
    return [
      {
        found: `found the placeholder "${whole}"`,
        accepted: meant === undefined ? list : `${list}; did you mean "{${meant}}"?`,
      },
    ];
  });
}

function merge(
  base: Readonly<Record<string, unknown>>,
  over: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const result: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const own = result[key];
    if (key === 'ports' && Array.isArray(own) && Array.isArray(value)) result[key] = mergePorts(own, value);
    else if (isMapping(own) && isMapping(value)) result[key] = merge(own, value);
    else result[key] = value;
  }
  return result;
}

function mergePorts(base: readonly unknown[], over: readonly unknown[]): unknown[] {
  const nameOf = (port: unknown) => (isMapping(port) ? port.name : undefined);
  const merged = base.map((port) => {
    const match = over.find((other) => nameOf(other) === nameOf(port));
    return isMapping(port) && isMapping(match) ? { ...port, ...match } : port;
  });
  return [...merged, ...over.filter((port) => !base.some((own) => nameOf(own) === nameOf(port)))];
}

function portsOf(spec: ServiceParts['spec']): readonly ServicePort[] {
  return (spec.ports ?? []) as readonly ServicePort[];
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Equal mappings of texts, in any order. */
function isSame(a: unknown, b: unknown): boolean {
  const text = (value: unknown) =>
    JSON.stringify(isMapping(value) ? Object.entries(value).toSorted(([x], [y]) => (x < y ? -1 : 1)) : value);
  return text(a) === text(b);
}
