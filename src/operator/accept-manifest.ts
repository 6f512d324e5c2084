/** May this manifest be carried out here? Everything that speaks against it, in words (requirement H7). Pure. */
import { problemLine } from '../api/manifest-error.ts';
import { parsePostgresGroup } from '../api/parse-manifest.ts';
import { globalClusterName, type PostgresGroup } from '../api/postgres-group.ts';
import { findProblems } from '../core/topology/validate.ts';
import { unbuiltFields } from '../core/topology/unbuilt.ts';
import type { KubeObject } from '../platform/kubernetes/kube-object.ts';

export type ManifestVerdict =
  | { readonly kind: 'accepted'; readonly group: PostgresGroup }
  | { readonly kind: 'refused'; readonly reason: string; readonly message: string };

/** @param others the other groups of the same Kubernetes cluster. */
export function acceptManifest(object: KubeObject, others: Iterable<KubeObject>): ManifestVerdict {
  const parsed = parsePostgresGroup(object);
  if (parsed.kind === 'refused') return invalid(parsed.problems.map(problemLine));
  const { group } = parsed;
  const problems = findProblems([group]);
  if (problems.length > 0) return invalid(problems.map(problemLine));
  const unbuilt = unbuiltFields(group).filter(({ actor }) => actor !== 'local');
  if (unbuilt.length > 0) {
    const list = unbuilt.map(({ path, reason }) => `${path}: ${reason}`).join('; ');
    return { kind: 'refused', reason: 'NotBuilt', message: `Take these fields out of the manifest: ${list}` };
  }
  const rival = findRival(object, group, others);
  if (rival === null) return { kind: 'accepted', group };
  return {
    kind: 'refused',
    reason: 'GlobalClusterTaken',
    message: `Group "${rival}" of this namespace has the global cluster "${globalClusterName(group)}" already: give this one another spec.globalCluster.name, or another namespace`,
  };
}

function invalid(problems: readonly string[]): ManifestVerdict {
  return { kind: 'refused', reason: 'Invalid', message: problems.join('\n') };
}

/** The global names are Services, and the record is a Lease of that name: one namespace holds one of each. The elder keeps it. */
function findRival(object: KubeObject, group: PostgresGroup, others: Iterable<KubeObject>): string | null {
  for (const other of others) {
    const { metadata } = other;
    if (metadata.uid === object.metadata.uid || metadata.namespace !== object.metadata.namespace) continue;
    const parsed = parsePostgresGroup(other);
    if (parsed.kind === 'refused' || globalClusterName(parsed.group) !== globalClusterName(group)) continue;
    if (isElder(other, object)) return metadata.name;
  }
  return null;
}

function isElder(a: KubeObject, b: KubeObject): boolean {
  const [aTime, bTime] = [a.metadata.creationTimestamp ?? '', b.metadata.creationTimestamp ?? ''];
  return aTime === bTime ? a.metadata.name < b.metadata.name : aTime < bTime;
}
