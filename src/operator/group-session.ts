/**
 * What the operator remembers of one group between two looks. Nothing here decides: an operator that lost all of it reads it
 * again, and goes on.
 */
import { AppliedObjects } from './applied-objects.ts';
import { GroupPeers } from './cards/group-peers.ts';
import { GroupEtcd } from './etcd/group-etcd.ts';
import { GroupAgents } from './group-agents.ts';
import { JoiningSession } from './joining/joining-session.ts';
import type { SecretMemory } from './group-secrets.ts';
import type { AcceptedSources } from './take-sources.ts';
import type { PreferredMemory } from './preferred-leader.ts';
import type { SourceMemory } from './read-sources.ts';

export class GroupSession {
  readonly uid: string;
  readonly agents: GroupAgents;
  /** The other groups of the global cluster. */
  readonly peers: GroupPeers;
  readonly joining: JoiningSession;
  readonly applied = new AppliedObjects();
  readonly etcd = new GroupEtcd();
  readonly secrets: SecretMemory = new Map();
  /** ConfigMaps and Secrets that the manifest names. */
  readonly sources: SourceMemory = new Map();
  /** Texts of the stored configurations, by ConfigMap. */
  readonly configs = new Map<string, string>();
  /** Told to give up their vote since the last look. */
  readonly retiring = new Set<string>();
  /** `uid size` of claims that the API server refused to grow, with its words. */
  readonly refusedGrowth = new Map<string, string>();
  /** The last manifest that was accepted, with what it refers to. */
  accepted: AcceptedSources | null = null;
  /** Of the preferred leader; null: none is named, or it has not been looked at yet. */
  preferred: PreferredMemory | null = null;
  /** What was left over of earlier times has been looked for. */
  isSwept = false;
  /** By performance.now(): when everything is read and applied anew. */
  refreshAtMs = 0;
  /** By performance.now(): since when a pod is there and not ready. */
  stuckSinceMs: number | null = null;

  constructor(options: { uid: string; globalCluster: string; onChange: (urgency: 'now' | 'later') => void }) {
    this.uid = options.uid;
    this.agents = new GroupAgents({ globalCluster: options.globalCluster, onChange: options.onChange });
    this.peers = new GroupPeers({ globalCluster: options.globalCluster, onChange: () => options.onChange('now') });
    this.joining = new JoiningSession({ onChange: () => options.onChange('now') });
  }

  /** Secrets and ConfigMaps are not watched: what somebody else has changed there is found then. */
  refresh(): void {
    this.applied.forget();
    this.secrets.clear();
    this.configs.clear();
    this.isSwept = false;
  }

  close(): void {
    this.agents.close();
    this.peers.close();
    this.joining.close();
    this.etcd.close();
    this.secrets.clear();
    this.sources.clear();
  }
}
