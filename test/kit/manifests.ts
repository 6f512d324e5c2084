/** Groups for tests: what a case does not name has a plain value. */
import assert from 'node:assert/strict';
import { parsePostgresGroup } from '../../src/api/parse-manifest.ts';
import type { PostgresGroup } from '../../src/api/postgres-group.ts';

export interface GroupFields {
  readonly name?: string;
  readonly namespace?: string;
  /** Merged over `spec` of a valid group, mappings deeply. */
  readonly spec?: Readonly<Record<string, unknown>>;
}

/** A manifest as a user would write it; valid unless the fields make it wrong. */
export function groupManifest({ name = 'leo', namespace, spec = {} }: GroupFields = {}): Record<string, unknown> {
  const base = { globalCluster: { name: 'orders' }, connectivity: { dns: { domain: 'db.example.com' } } };
  const metadata = namespace === undefined ? { name } : { name, namespace };
  return { apiVersion: 'pgspan.io/v1alpha1', kind: 'PostgresGroup', metadata, spec: mergeFields(base, spec) };
}

/** The group that the programs would see. Fails the test if the manifest is refused. */
export function postgresGroup(fields: GroupFields = {}): PostgresGroup {
  const parsed = parsePostgresGroup(groupManifest(fields));
  assert.equal(parsed.kind, 'accepted', JSON.stringify(parsed));
  return parsed.group;
}

/** Groups leo, ait, pit, …, with so many nodes each. */
export function groupsOf(instances: readonly number[], spec: Readonly<Record<string, unknown>> = {}): PostgresGroup[] {
  return instances.map((count, index) =>
    postgresGroup({ name: NAMES[index] ?? `group-x${index}`, spec: mergeFields({ instances: count }, spec) }),
  );
}

const NAMES = ['leo', 'ait', 'pit'];

/** Mappings are merged deeply, everything else is replaced. */
export function mergeFields(
  base: Readonly<Record<string, unknown>>,
  over: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const merged: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const own = merged[key];
    merged[key] = isMapping(own) && isMapping(value) ? mergeFields(own, value) : value;
  }
  return merged;
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
