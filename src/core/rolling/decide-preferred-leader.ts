/**
 * Whether the lead goes to the preferred leader now (`spec.globalCluster.preferredLeader`). Pure.
 *
 *   a new name               a planned switchover, once: as soon as the node may lead and all is well
 *   afterwards, Never        whoever leads goes on: a failover or a switchover by hand is respected until the name changes
 *   afterwards, WhenHealthy  back, when the preferred node has been well for `after` without a break
 *
 * It never fights: only the operator of the group that leads acts, after any rolling change, with every voting node well, and
 * once in RETRY_MS after an attempt that failed.
 */
import type { Reason } from '../leadership/voter.ts';
import type { PreferredLeader } from '../topology/shared-settings.ts';
import { HEALTHY_LAG_BYTES_MAX } from './availability.ts';

/** After an attempt that failed: what was in its way needs time to go, and each attempt may hold writes for seconds. */
export const RETRY_MS = 60_000;

/** A node of any group of the global cluster, as it is just now. */
export interface PreferredNode {
  readonly name: string;
  readonly group: string;
  /** What its agent says, such as `cloning`; `unreachable`: nothing. */
  readonly activity: string;
  /** The leader's PostgreSQL, or the relay's, sends it WAL now; true of the leader itself. */
  readonly isStreaming: boolean;
  readonly isMember: boolean;
  /** It should be a member now: not behind a relay, in a read-only group, or, with `scope: group`, beside the leader. */
  readonly shallVote: boolean;
  readonly lagBytes: number | null;
}

export interface PreferredSnapshot {
  readonly wanted: PreferredLeader;
  /** The group that this operator looks after. */
  readonly group: string;
  /** By the record; null: nobody. */
  readonly leader: string | null;
  /** The leader is open for clients. */
  readonly isLeaderPublished: boolean;
  readonly paused: boolean;
  /** With `scope: group` a node that does not vote may take over from a leader that ends cleanly. */
  readonly scope: 'global' | 'group';
  /** What is being changed in this group; null: nothing. */
  readonly change: Reason | null;
  /** Of all groups. */
  readonly nodes: readonly PreferredNode[];
  /** It has led since it is named. */
  readonly hasLed: boolean;
  /** By node: since when it could have taken the lead without a break, on the clock of `nowMs` (`noteFitness`). */
  readonly fitSinceMs: ReadonlyMap<string, number>;
  /** The last attempt, if it failed. */
  readonly failure: { readonly atMs: number; readonly message: string } | null;
  readonly nowMs: number;
}

/** `code` fits a condition's reason; `message` stays the same while nothing changes. */
export type PreferredDecision =
  /** It leads. */
  | { readonly kind: 'leads'; readonly reason: Reason }
  /** Another leads since then, and that is respected. */
  | { readonly kind: 'left'; readonly reason: Reason }
  /** `againMs`: when to look again at the latest; null: what it waits for is told. */
  | { readonly kind: 'wait'; readonly reason: Reason; readonly againMs: number | null }
  | { readonly kind: 'switch-over'; readonly from: string; readonly to: string; readonly reason: Reason };

/** What has no stream that tells of its end is looked at so often. */
const LOOK_MS = 5000;

export function decidePreferredLeader(snapshot: PreferredSnapshot): PreferredDecision {
  const { wanted, leader } = snapshot;
  if (leader !== null && isMeant(snapshot, leader))
    return { kind: 'leads', reason: reason('Leads', `"${leader}" leads, as preferred`) };
  if (leader !== null && snapshot.hasLed && wanted.switchBack === 'Never')
    return {
      kind: 'left',
      reason: reason(
        'LeftElsewhere',
        `"${wanted.name}" has led, and "${leader}" leads since; it stays so (switchBack: Never)`,
      ),
    };
  return decideStanding(snapshot) ?? decideSwitchover(snapshot);
}

/** Since when each preferred node could have taken the lead: the map for the next look. Empty while one of them leads. */
export function noteFitness(
  snapshot: Omit<PreferredSnapshot, 'fitSinceMs' | 'hasLed' | 'failure' | 'change'>,
  before: ReadonlyMap<string, number>,
): Map<string, number> {
  const { leader, nodes, nowMs } = snapshot;
  if (leader !== null && isMeant(snapshot, leader)) return new Map();
  return new Map(
    nodes
      .filter((node) => isMeant(snapshot, node.name) && unfitWhy(node, snapshot.scope) === null)
      .map(({ name }) => [name, before.get(name) ?? nowMs]),
  );
}

/** It is the preferred node, or one of the preferred group. */
export function isMeant({ wanted, nodes }: Pick<PreferredSnapshot, 'wanted' | 'nodes'>, name: string): boolean {
  if (!nodes.some(({ group }) => group === wanted.name)) return name === wanted.name;
  return nodes.some((node) => node.name === name && node.group === wanted.name);
}

/** null: the lead could go elsewhere now, as far as all others are concerned. */
function decideStanding(snapshot: PreferredSnapshot): PreferredDecision | null {
  const { leader, nodes, group, change } = snapshot;
  if (leader === null) return wait('NoLeader', 'There is no leader yet');
  const leads = nodes.find(({ name }) => name === leader)?.group;
  if (leads !== group)
    return wait(
      'OtherGroupLeads',
      `"${leader}" leads: the operator of ${leads === undefined ? 'its group' : `group "${leads}"`} hands over when it can`,
      null,
    );
  if (snapshot.paused) return wait('Paused', 'The global cluster is paused');
  if (!snapshot.isLeaderPublished) return wait('NoLeader', `"${leader}" is not open for clients yet`);
  if (change !== null) return wait('ChangeUnderWay', `A change of nodes comes first: ${change.message}`);
  return null;
}

function decideSwitchover(snapshot: PreferredSnapshot): PreferredDecision {
  const { wanted, nodes, scope, hasLed, fitSinceMs, failure, nowMs } = snapshot;
  const from = snapshot.leader as string;
  const meant = nodes.filter(({ name }) => isMeant(snapshot, name));
  const fit = meant.filter((node) => unfitWhy(node, scope) === null);
  if (fit.length === 0) {
    const [first] = meant;
    return wait(
      'TargetNotReady',
      first === undefined ? `No node is known by "${wanted.name}"` : `${unfitWhy(first, scope)}`,
    );
  }
  const unwell = nodes.flatMap((node) => unwellWhy(node) ?? [])[0];
  if (unwell !== undefined) return wait('NodeNotReady', `${unwell}; the lead is handed over when all is well`);
  const waitMs = (name: string) => (hasLed ? wanted.afterMs - (nowMs - (fitSinceMs.get(name) ?? nowMs)) : 0);
  // The one that has been well for longest; else as they are numbered.
  const [to, leftMs] = fit
    .map(({ name }): [string, number] => [name, waitMs(name)])
    .reduce((best, one) => (one[1] < best[1] ? one : best));
  if (leftMs > 0)
    return wait(
      'Settling',
      `"${to}" is well again, and leads when it has been so for ${wanted.afterMs / 1000} s`,
      leftMs,
    );
  const quietMs = failure === null ? 0 : RETRY_MS - (nowMs - failure.atMs);
  if (quietMs > 0) return wait('SwitchoverFailed', `${failure?.message}; it is tried once a minute`, quietMs);
  return {
    kind: 'switch-over',
    from,
    to,
    reason: reason('HandingOver', `"${from}" hands over to "${to}", which is the preferred leader`),
  };
}

/** Why it cannot take the lead now, as a sentence that stays the same meanwhile; null: it can. */
function unfitWhy(node: PreferredNode, scope: 'global' | 'group'): string | null {
  if (node.activity !== 'following') return `"${node.name}" is ${node.activity}`;
  if (!node.isStreaming) return `"${node.name}" does not stream from the leader yet`;
  if (scope === 'global' && !node.isMember)
    return node.shallVote
      ? `"${node.name}" is no voting member yet`
      : `"${node.name}" is behind a relay and therefore no voting member`;
  return tooFarBehind(node);
}

/** As above, of a node that need not lead. One that neither votes nor shall is nobody's loss. */
function unwellWhy(node: PreferredNode): string | null {
  if (!node.shallVote && !node.isMember) return null;
  if (node.activity !== 'leading' && node.activity !== 'following') return `"${node.name}" is ${node.activity}`;
  if (!node.isStreaming) return `"${node.name}" does not stream from the leader yet`;
  if (!node.isMember) return `"${node.name}" is no voting member yet`;
  return tooFarBehind(node);
}

function tooFarBehind({ name, lagBytes }: PreferredNode): string | null {
  if ((lagBytes ?? 0) <= HEALTHY_LAG_BYTES_MAX) return null;
  return `"${name}" is more than ${HEALTHY_LAG_BYTES_MAX / 2 ** 20} MiB behind`;
}

function wait(code: string, message: string, againMs: number | null = LOOK_MS): PreferredDecision {
  return { kind: 'wait', reason: reason(code, message), againMs: againMs === null ? null : Math.ceil(againMs) };
}

function reason(code: string, message: string): Reason {
  return { code, message };
}
