/**
 * Putting the record back after the coordination service has lost it, or came back with an older one (a restored snapshot).
 * The nodes have all that is needed: each keeps the newest record that it has seen, and its promise.
 *
 * What must hold: nobody has acted by a record newer than R, the one that is put back. It is proven by either of
 *
 *   A. every data node has answered, every member of R in the life that R names, and none has seen anything newer. Who wins a swap
 *      acts on it only after it has written down that it has seen it.
 *   B. the leader of R has answered and has seen nothing newer, so it has changed nothing since; and w members of R, itself included,
 *      have promised no term above that of R. An election needs v = |M| + 1 - w promises, so at least one of these w would have
 *      given its own. Not where another group takes over by the lease (`scope: group`), which needs no promises of M: there only A.
 *
 * Without such a proof a person may accept the risk: a leader that nobody heard of may have acknowledged writes, or have changed
 * the members, and that is then as if it had never been.
 */
import type { ClusterRecord } from '../../api/record.ts';
import { configurationOf, isMember } from './quorum.ts';
import type { Reason, VoterState } from './voter.ts';

/** What one node says of itself. */
export interface NodeMemory {
  readonly node: string;
  readonly incarnation: string;
  readonly promisedTerm: number;
  readonly seen: VoterState['seen'];
  /** The newest record that it has seen; null: it has none. */
  readonly record: ClusterRecord | null;
}

export type RestoreDecision =
  | {
      readonly kind: 'restore';
      readonly record: ClusterRecord;
      /** The node that puts it back. */
      readonly by: string;
      /** Why something newer may be lost by it; null: nothing can be. */
      readonly risk: Reason | null;
    }
  | { readonly kind: 'refuse'; readonly reason: Reason };

export function decideRestore(input: {
  readonly answers: readonly NodeMemory[];
  /** Data nodes that did not answer. */
  readonly silent: readonly string[];
  readonly scope: 'global' | 'group';
}): RestoreDecision {
  const { answers, silent, scope } = input;
  const holders = answers.filter(({ record }) => record !== null);
  const newest = [...holders].sort((a, b) => versionOf(b) - versionOf(a))[0];
  const record = newest?.record ?? null;
  if (newest === undefined || record === null)
    return refuse('NothingRemembered', 'None of the nodes that answer remembers a record');
  const newer = answers.find(({ seen }) => seen.version > record.version || seen.term > record.term);
  if (newer !== undefined)
    return refuse(
      'NewerSeen',
      `"${newer.node}" has seen version ${newer.seen.version} of term ${newer.seen.term}, and the newest that a node still holds is version ${record.version} of term ${record.term}`,
    );
  const leader = answers.find(({ node }) => node === record.leader);
  const by = leader?.record?.version === record.version ? leader.node : newest.node;
  return { kind: 'restore', record, by, risk: riskOf(record, { answers, silent, scope }) };
}

function riskOf(record: ClusterRecord, { answers, silent, scope }: Parameters<typeof decideRestore>[0]): Reason | null {
  const configuration = configurationOf(record);
  const members = answers.filter((one) => isMember(configuration, one));
  if (silent.length === 0 && members.length === record.members.length) return null;
  const missing = record.members
    .filter((one) => !members.some(({ node }) => node === one.node))
    .map(({ node }) => node);
  const unheard = [...new Set([...silent, ...missing])];
  const lacks = `${unheard.map((name) => `"${name}"`).join(', ')} ${unheard.length === 1 ? 'has' : 'have'} not answered, or answered after the loss of what ${unheard.length === 1 ? 'it' : 'they'} had seen`;
  if (scope === 'group')
    return {
      code: 'TakeOverPossible',
      message: `${lacks}: another group may have taken over after the leader's lease`,
    };
  if (!members.some(({ node }) => node === record.leader))
    return {
      code: 'LeaderUnheard',
      message: `${lacks}: the leader "${record.leader}" may have changed the members since`,
    };
  const loyal = members.filter(({ promisedTerm }) => promisedTerm <= record.term);
  const isLeaderLoyal = loyal.some(({ node }) => node === record.leader);
  if (isLeaderLoyal && loyal.length >= record.writeQuorum) return null;
  return {
    code: 'ElectionPossible',
    message: `${lacks}: with ${loyal.length} of ${record.writeQuorum} members that have promised no term above ${record.term}, another leader may have been elected`,
  };
}

function versionOf({ record }: NodeMemory): number {
  return record?.version ?? 0;
}

/**
 * Whether this node may put its record back. `stored`: what the coordination service holds now; the swap is conditional on it.
 * @param wanted what the person was shown
 */
export function decidePutBack(input: {
  readonly wanted: VoterState['seen'];
  readonly remembered: ClusterRecord | null;
  readonly seen: VoterState['seen'];
  readonly stored: ClusterRecord | null;
}): { readonly kind: 'put'; readonly record: ClusterRecord } | { readonly kind: 'refuse'; readonly reason: Reason } {
  const { wanted, remembered, seen, stored } = input;
  if (remembered === null || remembered.version !== wanted.version || remembered.term !== wanted.term)
    return refuse('RecordForgotten', `it does not hold version ${wanted.version} of term ${wanted.term}`);
  if (seen.version !== remembered.version || seen.term !== remembered.term)
    return refuse('NewerSeen', `it has seen version ${seen.version} of term ${seen.term} since`);
  if (stored === null) return { kind: 'put', record: remembered };
  const told = `version ${stored.version} of term ${stored.term}`;
  if (stored.globalCluster !== remembered.globalCluster || stored.systemIdentifier !== remembered.systemIdentifier)
    return refuse(
      'OtherDatabase',
      `the coordination service holds the record of another database (${stored.globalCluster})`,
    );
  if (stored.version < remembered.version && stored.term <= remembered.term) return { kind: 'put', record: remembered };
  return refuse('RecordThere', `the coordination service holds ${told}: nothing needs to be put back`);
}

function refuse(code: string, message: string): { readonly kind: 'refuse'; readonly reason: Reason } {
  return { kind: 'refuse', reason: { code, message } };
}
