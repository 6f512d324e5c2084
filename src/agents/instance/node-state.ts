/**
 * What this node tells others of itself, and what it takes from what they tell. Computes, changes nothing.
 */
import type { LeaderPhase, NodeActivity, StateMessage } from '../../api/peer-stream.ts';
import { formatLsnOrNull, parseLsn } from '../../base/lsn.ts';
import { type KnownLeader, type NodeStep, relayOf } from '../../core/leadership/step.ts';
import type { Leadership } from './leadership.ts';
import type { NodeContext } from './node-context.ts';
import type { PeerView } from './peer-links.ts';
import type { PostgresView } from './postgres-view.ts';
import { decodeLineage } from './voter-file.ts';

export function nodeState(node: NodeContext, view: PostgresView, leadership: Leadership | null): StateMessage {
  const record = node.acceptedRecord;
  const isLeading = leadership !== null && record?.leader === node.config.node;
  const leaderLsn = record === null ? null : (node.links.get(record.leader)?.view.beat?.flushLsn ?? null);
  const behind = leaderLsn === null || view.replayLsn === null ? null : parseLsn(leaderLsn) - view.replayLsn;
  return {
    type: 'state',
    node: node.config.node,
    group: node.config.group,
    incarnation: node.voter.incarnation,
    leaderView: {
      term: record?.term ?? 0,
      version: record?.version ?? 0,
      leader: record?.leader ?? null,
      phase: phaseOf(node, leadership),
    },
    promisedTerm: node.voter.promisedTerm,
    activity: node.activity,
    reason: { code: node.reason.code.slice(0, 64), message: node.reason.message.slice(0, 1000) },
    serverVersion: view.serverVersion,
    acceptsReads: view.state.kind === 'primary' || (view.state.kind === 'standby' && view.replayLsn !== null),
    timeline: node.voter.lineage?.timeline ?? 0,
    flushLsn: formatLsnOrNull(view.flushLsn),
    replayLsn: formatLsnOrNull(view.replayLsn),
    lagBytes: isLeading ? 0 : behind === null ? null : Number(behind > 0n ? behind : 0n),
    unreached: unreachedPeers(node),
    leading: isLeading ? (leadership?.leading() ?? null) : null,
  };
}

/** A restart of an agent is over by then. Told with the next state, so within STATE_INTERVAL_MS more. */
const UNREACHED_AFTER_MS = 6000;

function unreachedPeers({ links }: NodeContext): string[] {
  const beforeMs = performance.now() - UNREACHED_AFTER_MS;
  const isUnreached = ({ isConnected, heardAtMs, madeAtMs }: PeerView) =>
    !isConnected && Math.max(heardAtMs, madeAtMs) < beforeMs;
  return [...links.values()].filter(({ view }) => isUnreached(view)).map(({ view }) => view.peer.node);
}

function phaseOf(node: NodeContext, leadership: Leadership | null): LeaderPhase {
  const record = node.acceptedRecord;
  if (record === null) return 'none';
  if (record.leader === node.config.node) return leadership?.phase ?? 'elected';
  const told = node.links.get(record.leader)?.view;
  if (
    told?.isConnected === true &&
    told.state?.leaderView.leader === record.leader &&
    told.state.leaderView.term === record.term
  )
    return told.state.leaderView.phase;
  return 'elected';
}

/** The leader of the highest term that any peer says to be, with its lineage. */
export function knownLeader(node: NodeContext): KnownLeader | null {
  let best: KnownLeader | null = null;
  for (const { view } of node.links.values()) {
    const { state } = view;
    if (!view.isConnected || state === null || state.leading === null || state.leading === undefined) continue;
    if (state.leaderView.leader !== state.node) continue;
    if (best !== null && best.term >= state.leaderView.term) continue;
    best = {
      term: state.leaderView.term,
      node: state.node,
      lineage: decodeLineage(state.leading.lineage),
      isPublished: state.leaderView.phase === 'published',
      isRewindable: state.leading.isRewindable,
      ...(state.leading.relays === undefined ? {} : { relays: state.leading.relays }),
    };
  }
  return best;
}

/** Whether this node is, or is to become, a member while the present leader leads: of a group with a relay, one node is. */
export function shallVote(node: NodeContext): boolean {
  const { config } = node;
  const own = config.peers.find((peer) => peer.node === config.node);
  const leader = config.peers.find((peer) => peer.node === node.acceptedRecord?.leader);
  if (own?.relay !== true || leader === undefined || leader.node === config.node) return own?.votes === true;
  if (leader.group === config.group) return false;
  const known = knownLeader(node);
  const relay = known === null ? null : relayOf(known, config.group);
  return own.votes && (relay === null || relay === config.node);
}

const ACTIVITIES = {
  blocked: 'blocked',
  bootstrap: 'bootstrapping',
  clone: 'cloning',
  start: 'starting',
  stop: 'stopped',
  promote: 'leading',
  lead: 'leading',
  follow: 'following',
  rewind: 'rewinding',
} as const;

/** What a node does that is about to take this step. */
export function activityOf(
  step: NodeStep,
  { isFenced, isStarting }: { readonly isFenced: boolean; readonly isStarting: boolean },
): NodeActivity {
  if (step.kind !== 'wait') return ACTIVITIES[step.kind];
  if (isFenced) return 'fenced';
  if (step.reason.code === 'Following') return 'following';
  return isStarting ? 'recovering' : 'waiting';
}
