/**
 * The plan: everything that follows from the groups' manifests before any process runs. One value, plain JSON.
 * The Kubernetes platform turns it into manifests, the local platform into processes, `pgspan plan` into text.
 * What only a platform knows (ports, paths, addresses) comes in with agent-config.ts.
 */
import type { ClientTrafficStrategy, TrafficStrategy } from '../../api/postgres-group.ts';
import type { CertificateRequest } from '../certificates/certificate-request.ts';
import type { Setting } from '../postgresql/settings.ts';

export interface GlobalPlan {
  readonly globalCluster: string;
  /** Group that makes the database and, with ties, leads. */
  readonly primaryGroup: string;
  /** Node that makes the first database. */
  readonly bootstrapNode: string;
  readonly postgresMajor: number;
  readonly timing: TimingPlan;
  readonly replication: ReplicationPlan;
  readonly coordination: CoordinationPlan;
  readonly groups: readonly GroupPlan[];
  /** How an application reaches the leader, or a read node, by the names that survive the loss of a group. */
  readonly connections: readonly ConnectionPlan[];
  /** What is accepted and strange: said by `plan`, refused by nobody. */
  readonly warnings: readonly PlanNote[];
  /** What the manifests ask for and nothing does yet. */
  readonly notBuilt: readonly UnbuiltNote[];
}

export interface PlanNote {
  readonly group: string;
  /** Path in the manifest, such as `spec.pooler`. */
  readonly path: string;
  readonly message: string;
}

/** Who would have to act on it, and therefore refuses: every platform, or the local one alone. */
export interface UnbuiltNote extends PlanNote {
  readonly actor: 'every platform' | 'local' | 'kubernetes';
}

/** Numbers of leadership.md, in milliseconds. */
export interface TimingPlan {
  readonly preset: 'lan' | 'wan';
  readonly detectionMs: number;
  readonly fenceMs: number;
  readonly memberTimeoutMs: number;
}

export interface ReplicationPlan {
  readonly scope: 'global' | 'group';
  readonly minCopies: number;
  /** Largest number of voting members in one group if the loss of a group must be survived, else 0. */
  readonly siteMembersMax: number;
  /** With `scope: group`: bytes of WAL that the next leader of another group may lack. */
  readonly maximumLagBytes: number;
  /** Names of the nodes that vote when all are there, and with `scope: group` the primary group leads: M of leadership.md. */
  readonly voters: readonly string[];
  /** Groups with a relay: each counts for one voter, whichever of its nodes that is; `voters` has its first. */
  readonly relayGroups: readonly string[];
  /** w and v of leadership.md when all voters are members: w + v = |M| + 1. */
  readonly writeQuorum: number;
  readonly electionQuorum: number;
  readonly survives: SurvivalPlan;
}

/** What the set-up survives without losing an acknowledged write, counted from all voters there. */
export interface SurvivalPlan {
  /** So many nodes may be lost at once, and writes go on as soon as a leader is there. */
  readonly nodesAtOnce: number;
  /** So many may be lost at once, and writes go on when memberTimeout has taken the lost ones out. */
  readonly nodesAfterMemberTimeout: number;
  /** Groups whose loss is survived without anybody's help. */
  readonly groups: readonly string[];
  /** The same and its limits for people: sentences. */
  readonly text: readonly string[];
}

export interface CoordinationPlan {
  readonly store: 'platform' | 'kubernetes' | 'local' | 'etcd';
  /** URLs of an etcd of the user; empty: pgspan's own members, or another store. */
  readonly etcdEndpoints: readonly string[];
  /** Key of the record in etcd. */
  readonly key: string;
}

export interface GroupPlan {
  readonly name: string;
  readonly namespace: string;
  readonly role: 'readWrite' | 'readOnly' | 'witness';
  readonly imageName: string;
  readonly priority: number;
  readonly tlsMode: 'verify-full' | 'verify-ca' | 'require';
  readonly internodeTrafficStrategy: TrafficStrategy;
  readonly clientTrafficStrategy: ClientTrafficStrategy;
  readonly dns: readonly { readonly domain: string; readonly hostSuffix: string }[];
  readonly services: readonly ServicePlan[];
  readonly nodes: readonly NodePlan[];
  readonly proxies: readonly ProxyPlan[];
  /** pgspan's own member of etcd in this group; null: the record is elsewhere, or this group holds none. */
  readonly etcd: EtcdMemberPlan | null;
  readonly proxyLimits: ProxyLimitsPlan;
  readonly settings: readonly Setting[];
  readonly hba: readonly string[];
  readonly ident: readonly string[];
  /** The user's own lines among `ident`. */
  readonly userIdent: readonly string[];
  readonly bootstrap: { readonly database: string; readonly owner: string; readonly superuserAccess: boolean };
  readonly roles: readonly RolePlan[];
  readonly connections: readonly ConnectionPlan[];
}

/** A role that is made and kept. */
export interface RolePlan {
  readonly name: string;
  /** As in CREATE ROLE. */
  readonly attributes: readonly string[];
  /** Its password is in a Secret; else it cannot log in by one. */
  readonly hasPassword: boolean;
}

export type ServiceKind =
  | 'write'
  | 'read'
  | 'discovery'
  | 'headless'
  | 'node'
  | 'global-write'
  | 'global-read'
  | 'pooler'
  | 'etcd';

/** A Service as Kubernetes will have it, the user's template merged in. */
export interface ServicePlan {
  readonly name: string;
  readonly kind: ServiceKind;
  readonly type: 'ClusterIP' | 'NodePort' | 'LoadBalancer' | 'Headless';
  /** Where clients connect: PostgreSQL's, or etcd's. */
  readonly port: number;
  /** One for each domain, the main one first; empty for a headless Service, which is not published. */
  readonly fqdns: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly spec: Readonly<Record<string, unknown>>;
}

/** The host that a program dials for PostgreSQL or the agent of a node, and which the certificate is verified for. */
export interface NodeAddresses {
  readonly ServiceName: string;
  readonly FQDN: string;
  readonly SplitDNS: string;
}

export interface NodePlan {
  readonly name: string;
  readonly group: string;
  /** n of `<group>-<n>`, from 1. */
  readonly ordinal: number;
  readonly votes: boolean;
  readonly priority: number;
  readonly bootstraps: boolean;
  readonly addresses: NodeAddresses;
  readonly certificate: CertificateRequest;
  /** Client certificate of `streaming_replica` for connections of this node. */
  readonly replicationCertificate: CertificateRequest;
  /** Slot through which this node streams, wherever the leader is. */
  readonly slot: string;
  /** Slots that this node keeps for those that may follow it. */
  readonly slotsKept: readonly string[];
  /** How another node connects to this one, without what only an agent knows (its path, its certificate files). */
  readonly conninfo: string;
}

export interface ProxyPlan {
  readonly name: string;
  readonly group: string;
  readonly ordinal: number;
  readonly certificate: CertificateRequest;
  readonly read: boolean;
}

export interface EtcdMemberPlan {
  /** `<group>-etcd`: the member, its Service, the host in its URLs. */
  readonly name: string;
  readonly group: string;
  readonly addresses: NodeAddresses;
  readonly clientPort: number;
  readonly peerPort: number;
  /** What the other members dial; the same text everywhere, since etcd tells members apart by it. */
  readonly peerUrl: string;
  readonly certificate: CertificateRequest;
}

export interface ProxyLimitsPlan {
  readonly connectionsMax: number;
  readonly holdMs: number;
  readonly heldConnectionsMax: number;
  readonly connectTimeoutMs: number;
  readonly firstBytesTimeoutMs: number;
  readonly drainMs: number;
  readonly readFallsBackToLeader: boolean;
  readonly proxyProtocolFrom: readonly string[];
}

export interface ConnectionPlan {
  readonly purpose: 'write' | 'read' | 'failover';
  /** Tried in this order; one unless the purpose is `failover`. */
  readonly hosts: readonly string[];
  readonly port: number;
  readonly database: string;
  readonly user: string;
  readonly sslmode: 'verify-full';
  readonly targetSessionAttrs: 'any' | 'read-write' | 'prefer-standby';
}
