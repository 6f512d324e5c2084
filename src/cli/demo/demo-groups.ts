/** The three groups of the demo: what examples/three-groups-local.yaml says, without a file. */
import { parsePostgresGroup } from '../../api/parse-manifest.ts';
import type { PostgresGroup } from '../../api/postgres-group.ts';

export const DEMO_GROUPS = ['leo', 'ait', 'pit'] as const;

export function demoGroups(): PostgresGroup[] {
  return DEMO_GROUPS.map((name) => {
    const parsed = parsePostgresGroup({
      apiVersion: 'pgspan.io/v1alpha1',
      kind: 'PostgresGroup',
      metadata: { name },
      spec: {
        instances: 1,
        storage: { size: '2Gi' },
        globalCluster: { name: 'orders', primaryGroup: 'leo' },
        connectivity: { dns: { domain: 'db.example.com' } },
        proxySettings: { instances: 1, enableReadNodeRouting: true },
      },
    });
    if (parsed.kind === 'accepted') return parsed.group;
    throw new RangeError(`Cannot make the demo's group "${name}": ${parsed.problems[0]?.path}`);
  });
}
