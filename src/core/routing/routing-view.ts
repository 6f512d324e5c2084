/**
 * What a proxy knows of the global cluster, put together from what the nodes' agents say of themselves and of the leader.
 * Pure: the streams are read in agents/peer-stream, connections are made in agents/proxy.
 *
 * The one rule of safety: the highest (term, version) wins and is never unlearnt, whoever said it. A proxy that heard of
 * term 7 does not go back to the leader of term 6 because the node that told it went silent.
 */
import type { LeaderPhase, LeaderView, StateMessage } from '../../api/peer-stream.ts';

/** What one node's agent said last. */
export interface NodeSight {
  readonly node: string;
  readonly group: string;
  /** The last state that it sent, also after its stream was lost; null: none yet. */
  readonly state: StateMessage | null;
  /** Its stream is open and not silent. */
  readonly live: boolean;
  /** Grows with every state received from anybody: which of two sights is newer. */
  readonly order: number;
}

export interface RoutingView {
  readonly nodes: ReadonlyMap<string, NodeSight>;
  readonly leader: LeaderView;
}

export const NO_LEADER: LeaderView = { term: 0, version: 0, leader: null, phase: 'none' };

/**
 * The view that follows from these sights.
 * @param known the leader of the view before: what was once known of a higher (term, version) stays.
 */
export function decideRoutingView(nodes: ReadonlyMap<string, NodeSight>, known: LeaderView): RoutingView {
  return { nodes, leader: decideLeader([...nodes.values()], known) };
}

function decideLeader(sights: readonly NodeSight[], known: LeaderView): LeaderView {
  let newest = known;
  for (const sight of sights) {
    const said = sight.state?.leaderView;
    if (said !== undefined && compareRecords(said, newest) > 0) newest = said;
  }
  if (newest.leader === null) return newest;
  return { ...newest, phase: decidePhase(sights, newest) };
}

/**
 * Of equal (term, version), what the leader itself says counts, as long as it is heard. Without it the newest word of
 * the others does: the leader may have come back since its last word, or may be cut off from this proxy alone.
 */
function decidePhase(sights: readonly NodeSight[], newest: LeaderView): LeaderPhase {
  const agreeing = sights.filter(
    (sight) =>
      sight.state !== null &&
      compareRecords(sight.state.leaderView, newest) === 0 &&
      sight.state.leaderView.leader === newest.leader,
  );
  const live = agreeing.filter((sight) => sight.live);
  const own = live.find((sight) => sight.node === newest.leader);
  if (own?.state) return own.state.activity === 'fenced' ? 'handing-over' : own.state.leaderView.phase;
  const heard = live.length > 0 ? live : agreeing;
  const last = heard.reduce<NodeSight | null>((a, b) => (a === null || b.order > a.order ? b : a), null);
  return last?.state?.leaderView.phase ?? newest.phase;
}

/** Positive if `a` is the newer record. */
export function compareRecords(
  a: Pick<LeaderView, 'term' | 'version'>,
  b: Pick<LeaderView, 'term' | 'version'>,
): number {
  return a.term - b.term || a.version - b.version;
}
