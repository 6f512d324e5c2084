/**
 * What is known of pgspan's own etcd when the operator of one group looks at it, and what it may do next (decide-etcd-step.ts).
 * Every operator keeps the member of its own group and no other; together they keep one cluster.
 */

/** What the operator has written down beside its member's settings: it survives the operator. */
export type EtcdMemory =
  /** Nothing was started. `clusterId`: of the cluster that it belonged to and may join again; null: of none yet. */
  | { readonly phase: 'none'; readonly clusterId: string | null }
  /** The first member of a new cluster is started. */
  | { readonly phase: 'founding'; readonly folder: string }
  /** It was added to the cluster, and is started with this list of members (`name=url,...`). */
  | {
      readonly phase: 'joining';
      readonly clusterId: string;
      readonly memberId: string;
      readonly folder: string;
      readonly initialCluster: string;
    }
  /** It has been there. From now on an empty folder is a loss, and no beginning. */
  | {
      readonly phase: 'member';
      readonly clusterId: string;
      readonly memberId: string;
      readonly folder: string;
      /** uid of the claim of its volume; null: not seen yet. */
      readonly volume: string | null;
    };

export interface EtcdMemberSight {
  readonly id: string;
  /** '' until its first start. */
  readonly name: string;
  readonly peerUrls: readonly string[];
  readonly isLearner: boolean;
  /** For how long this operator has not heard it; 0: it answers. */
  readonly silentForMs: number;
  /** What it says itself; null: it does not answer. */
  readonly answer: {
    readonly leaderId: string | null;
    readonly sizeBytes: number;
    readonly sizeInUseBytes: number;
    readonly errors: readonly string[];
  } | null;
}

export interface EtcdClusterSight {
  readonly clusterId: string;
  /** As a voting member with a leader tells; null: none has one, so nothing can be changed. */
  readonly leaderId: string | null;
  readonly members: readonly EtcdMemberSight[];
  readonly alarms: readonly { readonly memberId: string; readonly kind: 'NOSPACE' | 'CORRUPT' }[];
}

export interface EtcdSnapshot {
  /** Member of this group. */
  readonly own: { readonly name: string; readonly peerUrl: string };
  /** This group makes the database, and so the first member. */
  readonly isFounder: boolean;
  readonly others: readonly {
    /** Name of the member, `<group>-etcd`. */
    readonly name: string;
    /** It tells of a member that runs. */
    readonly hasMember: boolean;
    /** Its group has left the global cluster. */
    readonly hasLeft: boolean;
  }[];
  readonly memory: EtcdMemory;
  /** Pod of the own member; null: there is none. */
  readonly pod: {
    readonly isReady: boolean;
    /** The program has ended because its folder is empty and it was told to find one. */
    readonly foundNothing: boolean;
    /** It was made from another template than the present one. */
    readonly isOutdated: boolean;
  } | null;
  /** uid of the claim of the own volume; null: none. */
  readonly volume: string | null;
  /** As the members that answer tell; null: none does. */
  readonly cluster: EtcdClusterSight | null;
  /** Name of a folder that no member has had yet. */
  readonly newFolder: string;
}

export type EtcdStep =
  /** Write it down; the settings of the member follow from it. */
  | { readonly kind: 'remember'; readonly memory: EtcdMemory }
  | { readonly kind: 'add'; readonly peerUrl: string; readonly folder: string }
  | { readonly kind: 'promote'; readonly memberId: string }
  | { readonly kind: 'remove'; readonly memberId: string; readonly name: string }
  | { readonly kind: 'rename'; readonly memberId: string; readonly peerUrl: string }
  /** Delete the pod of the own member: the next one has the present template. */
  | { readonly kind: 'restart' }
  | { readonly kind: 'defragment'; readonly memberId: string }
  | { readonly kind: 'disarm'; readonly memberId: string };

export interface EtcdReason {
  readonly code: string;
  readonly message: string;
}

export type EtcdDecision =
  | { readonly kind: 'step'; readonly step: EtcdStep; readonly reason: EtcdReason }
  /** Nothing to do until something changes by itself. */
  | { readonly kind: 'wait'; readonly reason: EtcdReason }
  /** Nothing will change without a person. */
  | { readonly kind: 'blocked'; readonly reason: EtcdReason }
  | { readonly kind: 'settled'; readonly reason: EtcdReason };
