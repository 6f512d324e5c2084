/**
 * Gathers what the decision about this node's next step is taken from (core/leadership/step.ts): one frozen value, after looking
 * at the data directory and at a promotion that was not written down.
 */
import { decideNodeStep, type NodeSnapshot, type NodeStep } from '../../core/leadership/step.ts';
import type { DataDirectory } from './data-directory.ts';
import type { DiskSpace } from './disk-space.ts';
import type { LeadershipHolder } from './leadership-holder.ts';
import type { LeaseKeeper } from './lease-keeper.ts';
import type { NodeContext } from './node-context.ts';
import { knownLeader } from './node-state.ts';
import type { PeerHearing } from './peer-hearing.ts';
import type { PostgresObserver } from './postgres-view.ts';
import type { RelayWatch } from './relay-watch.ts';
import type { Switchover } from './switchover.ts';
import { readNewestLineage } from './timelines.ts';

/** Others that hear a crashed leader get this much longer than `detection` to take over. */
const HAND_OVER_EXTRA_MS = 500;

export interface SnapshotParts {
  readonly node: NodeContext;
  readonly observer: PostgresObserver;
  readonly data: DataDirectory;
  readonly disk: DiskSpace;
  readonly lease: LeaseKeeper;
  readonly leadership: LeadershipHolder;
  readonly peers: PeerHearing;
  readonly relay: RelayWatch;
  readonly switchover: Switchover;
}

/** PostgreSQL itself is taken as it was last observed. */
export async function observeAndDecide(parts: SnapshotParts): Promise<NodeStep> {
  const { node, data } = parts;
  if (node.postmaster.pid === null || data.problem !== null) await data.look();
  await adoptLineage(parts);
  return decideNodeStep(snapshotOf(parts));
}

function snapshotOf(parts: SnapshotParts): NodeSnapshot {
  const { node, observer, data, disk, lease, leadership, peers, relay } = parts;
  return {
    nowMs: performance.now(),
    self: node.config.node,
    relayGroup: relayGroupOf(node),
    isRelayStalled: relay.isStalled(performance.now()),
    bootstraps: node.config.bootstraps,
    voter: node.voter,
    record: node.record,
    data: data.hasData ? 'present' : 'none',
    systemIdentifier: data.systemIdentifier,
    dataProblem: data.problem,
    peersKnowDatabase: [...node.links.values()].some(
      ({ view }) => view.state !== null && (view.state.leaderView.version > 0 || view.state.timeline > 0),
    ),
    postgres: observer.view.state,
    leader: knownLeader(node),
    path: node.path.target === null ? null : { node: node.path.target.node, term: node.path.target.term },
    handOverMs: peers.otherMembers().length > 0 ? node.config.timing.detectionMs + HAND_OVER_EXTRA_MS : 0,
    isFenced: leadership.isFenced,
    lease: lease.isNeeded ? { isHeld: lease.isHeld, isFresh: lease.isFresh } : null,
    disk: disk.problem === null ? null : { problem: disk.problem, mayHandOver: mayHandOverFull(parts) },
  };
}

/** This node's group, if it has a relay; else null. */
export function relayGroupOf({ config }: Pick<NodeContext, 'config'>): string | null {
  const own = config.peers.find(({ node }) => node === config.node);
  return own?.relay === true ? config.group : null;
}

function mayHandOverFull({ leadership, peers, switchover }: SnapshotParts): boolean {
  const hasOther = peers
    .otherMembers()
    .some(({ state }) => state?.activity === 'following' && state.reason.code !== 'DiskFull');
  const isPublished = leadership.current?.phase === 'published';
  return !leadership.hasJustHandedOverFull && hasOther && !switchover.isRunning && isPublished;
}

/**
 * The agent may have died between a promotion and the writing of its lineage. Whoever leads by now: the real history file of a
 * timeline higher than any that this node has followed is of its own promotion, since whom it follows is written down first.
 */
async function adoptLineage({ node, observer, data, leadership }: SnapshotParts): Promise<void> {
  const { kind } = observer.view.state;
  if (leadership.current !== null || (kind !== 'stopped' && kind !== 'primary') || !data.hasData) return;
  const { lineage: known, rewinding } = node.voter;
  if (known === null || rewinding) return;
  const lineage = await readNewestLineage(node.config.paths.dataDirectory, known.timeline);
  if (lineage === null) return;
  node.log.warn({ timeline: lineage.timeline }, 'this node was promoted, and had not written it down');
  await node.changeVoter((voter) => ({
    ...voter,
    lineage,
    followedTerm: Math.max(voter.followedTerm, lineage.timeline),
  }));
}
