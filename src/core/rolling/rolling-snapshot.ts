/**
 * What a rolling change is decided from (requirement F8), and what may be decided: one step at a time, or to wait.
 * The operator observes, calls `decideRollingStep`, carries the one step out, and observes again; nothing is remembered
 * between two calls, so an operator that is killed in between goes on where it was.
 */
import type { NodeActivity } from '../../api/peer-stream.ts';
import type { Reason } from '../leadership/voter.ts';

/** One frozen picture of one group. All names are names of nodes. */
export interface RollingSnapshot {
  readonly group: string;
  /** The record as the leader knows it; null: there is none yet, or nobody that answers knows it. */
  readonly record: {
    readonly leader: string;
    readonly members: readonly string[];
    /** w of leadership.md; v = |M| + 1 - w. */
    readonly writeQuorum: number;
    readonly paused: boolean;
  } | null;
  /** The leader of the record is open for clients. */
  readonly isLeaderPublished: boolean;
  /** Every node of this group that is wanted or exists. */
  readonly nodes: readonly RollingNode[];
  /** Members of other groups, as their own agents tell. */
  readonly remoteMembers: readonly RemoteMember[];
  /** Major version of the wanted image, if its tag tells it. */
  readonly wantedMajor: number | null;
}

export interface RollingNode {
  readonly name: string;
  /** n of `<group>-<n>`. */
  readonly ordinal: number;
  /** False: the manifest asks for fewer nodes; this one shall go. */
  readonly isWanted: boolean;
  /** null: there is no pod just now. */
  readonly pod: {
    /** The template's revision has changed since this pod was made (annotation pgspan.io/revision). */
    readonly isOutdated: boolean;
    readonly isReady: boolean;
    readonly isTerminating: boolean;
    /** Its container had run well and was killed, and Kubernetes pauses before it starts it again (CrashLoopBackOff). */
    readonly isHeldBack: boolean;
  } | null;
  /** What its agent says; null: it does not answer. */
  readonly agent: {
    readonly activity: NodeActivity;
    /** The sentence that its agent gives for it. */
    readonly message: string;
    /** It is a voting member under its present incarnation, or is to be none while the present leader leads (relays). */
    readonly isMember: boolean;
    /** The leader's PostgreSQL, or the relay's, sends it WAL now; true of the leader itself. */
    readonly isStreaming: boolean;
    readonly lagBytes: number | null;
    /** It has loaded the configuration that is wanted now. */
    readonly isConfigured: boolean;
    /** Settings that wait for a restart of PostgreSQL. */
    readonly pendingRestart: readonly string[];
    /** Major version of the PostgreSQL that runs; null: none runs. */
    readonly major: number | null;
  } | null;
  /** It votes by the manifest: no node of a read-only group. */
  readonly votes: boolean;
  /** 0: never leads. */
  readonly priority: number;
  readonly volume: RollingVolume | null;
}

export interface RollingVolume {
  readonly wantedBytes: number;
  /** What its claim asks for. */
  readonly requestedBytes: number;
  /** The StorageClass allows it (allowVolumeExpansion). */
  readonly canGrow: boolean;
}

export interface RemoteMember {
  readonly name: string;
  /** It leads, or follows without being far behind. */
  readonly isHealthy: boolean;
  readonly priority: number;
}

export type RollingStep =
  /** Order the agent to restart PostgreSQL in its pod (POST /v1/restart). */
  | { readonly kind: 'restart-postgres'; readonly node: string }
  /** Delete the pod; its StatefulSet makes it again from the present template. */
  | { readonly kind: 'delete-pod'; readonly node: string }
  /** Order the leader (POST /v1/switchover). */
  | { readonly kind: 'switch-over'; readonly from: string; readonly to: string }
  /** Make the plan with this node as no voter any more (plan-in-transition.ts): the leader takes it out of the members. */
  | { readonly kind: 'retire-node'; readonly node: string }
  /** Delete its StatefulSet and what belongs to it; the volume stays or goes by `.spec.storage.retain`. */
  | { readonly kind: 'remove-node'; readonly node: string }
  /** Ask for so many bytes in the volume's claim. */
  | { readonly kind: 'grow-volume'; readonly node: string; readonly toBytes: number };

/** `code` is constant and fits a condition's reason; `message` is a sentence for people, without a final period. */
export type RollingDecision =
  | { readonly kind: 'step'; readonly step: RollingStep; readonly reason: Reason }
  /** Something is to be done, and not now; it goes on by itself when `reason` no longer holds. */
  | { readonly kind: 'wait'; readonly node: string | null; readonly reason: Reason }
  /** Something is asked for that cannot be done; a person must change it. */
  | { readonly kind: 'blocked'; readonly node: string | null; readonly reason: Reason }
  | { readonly kind: 'converged'; readonly reason: Reason };
