/** A group's card as a test wants it: defaults for all that it does not care about. */
import { type GroupCard, groupCardSchema } from '../../src/api/group-card.ts';

export interface CardOverrides extends Partial<Omit<GroupCard, 'manifest'>> {
  /** Below `.spec`. */
  readonly spec?: Readonly<Record<string, unknown>>;
}

export function cardOf(group: string, { spec = {}, ...overrides }: CardOverrides = {}): GroupCard {
  return groupCardSchema.parse({
    version: 1,
    globalCluster: 'orders',
    group,
    generation: 1,
    manifest: {
      metadata: { name: group, namespace: 'db' },
      spec: {
        instances: 1,
        globalCluster: { name: 'orders', primaryGroup: 'leo' },
        connectivity: { dns: { domain: `${group}.example.com` } },
        ...spec,
      },
    },
    clusterDomain: 'cluster.local',
    published: {},
    endpoint: { host: `${group}-group.example.com`, port: 5480 },
    caBundle: '',
    etcd: null,
    podAddresses: {},
    credentialsGeneration: 0,
    left: false,
    ...overrides,
  });
}
