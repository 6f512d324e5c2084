/** Manifests for tests. */
import { stringify } from 'yaml';
import type { PostgresGroupManifest } from '../../../src/api/postgres-group.ts';
import { POSTGRES_IMAGE } from './environment.ts';

type Spec = PostgresGroupManifest['spec'];

/** A group `leo` of three nodes with two proxies, reached from this machine through load balancers. */
export function threeNodes(change: Partial<Spec> = {}): string {
  const spec: Spec = {
    instances: 3,
    imageName: POSTGRES_IMAGE,
    resources: { requests: { cpu: '50m', memory: '192Mi' }, limits: { memory: '1Gi' } },
    storage: { size: '1Gi' },
    globalCluster: { name: 'orders' },
    connectivity: { dns: { domain: 'db.example.com' }, loadBalancer: { enabled: true } },
    proxySettings: { instances: 2, enableReadNodeRouting: true },
    ...change,
  };
  return stringify({ apiVersion: 'pgspan.io/v1alpha1', kind: 'PostgresGroup', metadata: { name: 'leo' }, spec });
}

/** A group of one node and one proxy, for where many are needed. */
export function smallGroup(name: string): string {
  const spec: Spec = {
    instances: 1,
    imageName: POSTGRES_IMAGE,
    resources: { requests: { cpu: '10m', memory: '96Mi' }, limits: { memory: '512Mi' } },
    storage: { size: '1Gi' },
    globalCluster: { name: `${name}-global` },
    connectivity: { dns: { domain: 'db.example.com' } },
    proxySettings: { instances: 1 },
  };
  return stringify({ apiVersion: 'pgspan.io/v1alpha1', kind: 'PostgresGroup', metadata: { name }, spec });
}
