/**
 * Relays: a group with `replication.relay` streams once over the wide link while it does not lead.
 *
 *   leader (group leo) ──wide link──> relay ait-1 (member of M) ──> ait-2, ait-3 (no members)
 *
 * The leader names one relay for each such group and tells it with its leadership; each node decides from that whom it follows.
 * What keeps the protocol as it is:
 *
 * - A member streams from the leader. A node is told to leave M by the four steps of membership.ts first, and goes behind the
 *   relay after that; it comes back into M only once it streams from the leader again.
 * - A node goes behind a relay only on the leader's own timeline, past its fork: timelines change over direct streams alone, so
 *   its promise file always describes the WAL on its disk. (A relay ends its cascade before it takes up another timeline:
 *   agents/instance/relay-slots.ts.)
 */
import type { ClusterRecord, Member } from '../../api/record.ts';
import type { Lsn } from '../../base/lsn.ts';
import type { MemberView } from './membership.ts';
import { forkLsnOf, type Lineage } from './position.ts';
import { configurationOf, isMember } from './quorum.ts';
import type { VoterState } from './voter.ts';

/** One node of a group with a relay, as the leader sees it. */
export interface RelayCandidate {
  readonly node: string;
  readonly group: string;
  readonly isReached: boolean;
  /** Its agent is reached, and it follows: it can be the relay now. */
  readonly isWell: boolean;
  /** What it has told, and null if nothing: the most WAL is preferred. */
  readonly timeline: number;
  readonly flushLsn: Lsn | null;
  /** How long the leader has not seen it stream, in ms; 0 while it streams. */
  readonly lostForMs: number;
}

/** A PostgreSQL that crashed under a living agent is usually back, and streams, after a few seconds. */
export const LOST_DETECTIONS = 4;

/** Which node is the relay, and since when, in ms of the leader's clock. */
export interface Relay {
  readonly node: string;
  readonly sinceMs: number;
}

/**
 * By group: its relay. None for the leader's own group, and none where no node can be it; then all of that group stream from the
 * leader. A relay stays until it has not streamed for a while and another node is well. A new leader begins with the node of the
 * group that is a member.
 */
export function decideRelays(input: {
  readonly candidates: readonly RelayCandidate[];
  readonly leaderGroup: string;
  readonly members: readonly Member[];
  readonly current: ReadonlyMap<string, Relay>;
  readonly nowMs: number;
  readonly detectionMs: number;
}): Map<string, Relay> {
  const { candidates, leaderGroup, members, current, nowMs, detectionMs } = input;
  const relays = new Map<string, Relay>();
  for (const group of new Set(candidates.map((one) => one.group))) {
    if (group === leaderGroup) continue;
    const all = candidates.filter((one) => one.group === group);
    const others = (name: string) => bestOf(all.filter((one) => one.isWell && one.node !== name));
    const inherited = bestOf(all.filter(({ node }) => members.some((member) => member.node === node)));
    const before = current.get(group) ?? (inherited === null ? undefined : { node: inherited.node, sinceMs: nowMs });
    const present = all.find(({ node }) => node === before?.node);
    if (before === undefined || present === undefined) {
      const first = others('');
      if (first !== null) relays.set(group, { node: first.node, sinceMs: nowMs });
      continue;
    }
    // A relay that was named just now has had no time to connect.
    const limitMs = detectionMs * (present.isReached ? LOST_DETECTIONS : 1);
    const isLost = Math.min(present.lostForMs, nowMs - before.sinceMs) >= limitMs;
    const next = isLost ? others(present.node) : null;
    relays.set(group, next === null ? before : { node: next.node, sinceMs: nowMs });
  }
  return relays;
}

/** Most WAL first, then by name, so that the same sight gives the same relay. */
function bestOf(candidates: readonly RelayCandidate[]): RelayCandidate | null {
  const held = ({ flushLsn }: RelayCandidate): Lsn => flushLsn ?? -1n;
  const compare = (a: RelayCandidate, b: RelayCandidate): number =>
    Number(b.isWell) - Number(a.isWell) ||
    b.timeline - a.timeline ||
    (held(a) === held(b) ? 0 : held(a) < held(b) ? 1 : -1) ||
    (a.node < b.node ? -1 : 1);
  return candidates.toSorted(compare)[0] ?? null;
}

/** A node that the leader looks at, with its group. */
export interface GroupedView {
  readonly view: MemberView;
  readonly group: string;
  /** Its group has `replication.relay`. */
  readonly isRelayed: boolean;
}

/**
 * Who of them votes, given that `view.votes` says who may by the plan: of a group with a relay, the relay alone; of the leader's
 * own group, the leader alone. Two exceptions keep copies:
 *
 * - The former relay stays a member until the new one is one, or memberTimeout takes it out.
 * - As long as no other group streams, the nodes of the leader's group vote, so that a commit is still on more than one node.
 */
export function decideRelayVotes(input: {
  readonly views: readonly GroupedView[];
  readonly relays: ReadonlyMap<string, Relay>;
  readonly members: readonly Member[];
  readonly leaderGroup: string;
  readonly detectionMs: number;
}): MemberView[] {
  const { views, relays, members, leaderGroup, detectionMs } = input;
  const isIn = (node: string | undefined) => members.some((member) => member.node === node);
  const hasOthers = views.some(
    ({ view, group }) =>
      group !== leaderGroup && view.votes && (view.isStreaming || view.lostForMs < detectionMs * LOST_DETECTIONS),
  );
  return views.map(({ view, group, isRelayed }) => {
    if (!isRelayed || !view.votes) return view;
    if (group === leaderGroup) return { ...view, votes: !hasOthers };
    const relay = relays.get(group)?.node;
    const { node } = view.member;
    return { ...view, votes: node === relay || (isIn(node) && !isIn(relay)) };
  });
}

/** Whom a follower streams from: the leader, or the relay that the leader names for this node's group. */
export function decideUpstream(input: {
  readonly self: string;
  readonly leader: { readonly node: string; readonly lineage: Lineage };
  /** Named by the leader for this node's group; null: none. */
  readonly relay: string | null;
  readonly record: ClusterRecord;
  readonly voter: VoterState;
  /** End of this node's WAL; null when it is not known now. */
  readonly flushLsn: Lsn | null;
  /** The relay was tried and passed nothing on. */
  readonly isRelayStalled: boolean;
}): string {
  const { self, leader, relay, record, voter, flushLsn, isRelayStalled } = input;
  if (relay === null || relay === self || relay === leader.node || isRelayStalled) return leader.node;
  if (isMember(configurationOf(record), { node: self, incarnation: voter.incarnation })) return leader.node;
  if (!isOnTimeline(voter, leader.lineage, flushLsn)) return leader.node;
  return relay;
}

/** All that the disk holds is of `lineage`, and the timeline itself has been reached: no change of timeline is to come. */
export function isOnTimeline(voter: VoterState, lineage: Lineage, flushLsn: Lsn | null): boolean {
  if (voter.rewinding || voter.rewound === true) return false;
  return voter.lineage?.timeline === lineage.timeline && flushLsn !== null && flushLsn > forkLsnOf(lineage);
}
