/** What the objects of a group are made of: the plan, the manifest, and what only the running operator knows. */
import type { PostgresGroup } from '../../api/postgres-group.ts';
import type { ClusterDns } from '../../core/dns/pod-dns.ts';
import type { GlobalPlan, GroupPlan } from '../../core/topology/plan-types.ts';

/** PEM texts of a leaf certificate and its key. */
export interface CertificatePair {
  readonly certificate: string;
  readonly key: string;
}

export interface Login {
  readonly username: string;
  readonly password: string;
}

export interface EtcdStart {
  /** What the operator wants to find again, kept beside the member's settings. */
  readonly memoryText: string;
  /** Folder of this membership, below the volume. */
  readonly folder: string;
  readonly initialCluster: string;
  readonly initialClusterState: 'new' | 'existing';
}

/** Read from the cluster, or made by the operator, before anything is rendered. */
export interface GroupFacts {
  /** uid of the PostgresGroup: it owns all objects, so that they go with it. */
  readonly ownerUid: string;
  /** pgspan's own image: proxies run it, and an init container takes the agent out of it. */
  readonly programImage: string;
  /** Default: Kubernetes' own, `Always` for the tag `latest`, else `IfNotPresent`. */
  readonly imagePullPolicy?: 'IfNotPresent' | 'Always' | 'Never';
  /** Folder of PostgreSQL's programs in the image. Default: the agent finds it. */
  readonly postgresBin?: string;
  /** How pods of this Kubernetes cluster resolve names. */
  readonly clusterDns: ClusterDns;
  /** By node; the proxies' under the name of the plan's first proxy of the group. */
  readonly certificates: Readonly<Record<string, CertificatePair>>;
  /** Client certificates of `streaming_replica`, by node. */
  readonly replicationCertificates: Readonly<Record<string, CertificatePair>>;
  /** All CAs that are trusted, PEM. */
  readonly trustBundle: string;
  /** Owner of the first database: made by the operator once, or taken from `.spec.bootstrap.secretRef`. */
  readonly app: Login;
  /** Needed if the manifest enables superuser access. */
  readonly superuserPassword: string | null;
  /** Of the roles of the manifest whose Secrets are there, by role. */
  readonly rolePasswords: Readonly<Record<string, string>>;
  /** Texts of the configurations that are stored now, by name of their ConfigMap: a changed one gets the next generation. */
  readonly storedConfigs: Readonly<Record<string, string>>;
  /**
   * Size and class in the StatefulSets that are stored now, by node: Kubernetes lets nobody change a volumeClaimTemplate.
   * Volumes grow by their claims.
   */
  readonly storedVolumes: Readonly<Record<string, { readonly size: string; readonly storageClass: string | null }>>;
  /** Claims of nodes' volumes: the record lives as long as one of them (record-access.ts). */
  readonly volumes: readonly { readonly name: string; readonly uid: string }[];
  /** How the own member of etcd is started; null: there is none, or not yet. */
  readonly etcd: EtcdStart | null;
  /** Nodes that give up their vote, because the manifest asks for fewer (core/rolling/plan-in-transition.ts). */
  readonly retiring: readonly string[];
}

export interface RenderInput {
  readonly plan: GlobalPlan;
  /** The part of the plan that this cluster carries out. */
  readonly groupPlan: GroupPlan;
  /** The same group, as its user wrote it. */
  readonly group: PostgresGroup;
  readonly facts: GroupFacts;
}

export function renderInput(plan: GlobalPlan, group: PostgresGroup, facts: GroupFacts): RenderInput {
  const groupPlan = plan.groups.find(({ name }) => name === group.metadata.name);
  if (groupPlan === undefined) throw new RangeError(`Cannot find group "${group.metadata.name}" in the plan`);
  return { plan, groupPlan, group, facts };
}
