/** What all parts of the running operator share. */
import type { Logger } from 'pino';
import type { OperatorConfig } from '../api/operator-config.ts';
import type { ClusterDns } from '../core/dns/pod-dns.ts';
import type { KubeCache } from '../platform/kubernetes/kube-cache.ts';
import type { KubeClient } from '../platform/kubernetes/kube-client.ts';
import type { EventRecorder } from './events.ts';

/** Kinds that are watched; everything else is read by name, and believed to stay as it was applied. */
export const WATCHED_KINDS = ['StatefulSet', 'Deployment', 'Service', 'Pod', 'PersistentVolumeClaim'] as const;
export type WatchedKind = (typeof WATCHED_KINDS)[number];

export interface OperatorContext {
  readonly config: OperatorConfig;
  /** How pods of this Kubernetes cluster resolve names. */
  readonly clusterDns: ClusterDns;
  readonly client: KubeClient;
  readonly groups: KubeCache;
  readonly caches: Readonly<Record<WatchedKind, KubeCache>>;
  readonly events: EventRecorder;
  readonly log: Logger;
}
