/**
 * What a set-up survives, and what not (requirement E5).
 *
 * Of |M| voters, v = |M| + 1 - w must remain to elect, and w to acknowledge at once; minCopies are enough once memberTimeout
 * has taken the lost ones out of M. The record's store needs a majority of the sites as well.
 */
import type { SurvivalPlan } from './plan-types.ts';

export interface SurvivalInput {
  readonly votersByGroup: readonly { readonly group: string; readonly voters: readonly string[] }[];
  /** Groups with and without data: places for the record's store. */
  readonly siteCount: number;
  readonly writeQuorum: number;
  readonly electionQuorum: number;
  readonly minCopies: number;
  /** As written, for the text. */
  readonly memberTimeout: string;
  readonly scope: 'global' | 'group';
}

export function planSurvival(input: SurvivalInput): SurvivalPlan {
  const { votersByGroup, writeQuorum, electionQuorum, minCopies } = input;
  const count = votersByGroup.reduce((sum, { voters }) => sum + voters.length, 0);
  const nodesAtOnce = Math.max(0, count - Math.max(writeQuorum, electionQuorum, 1));
  const nodesAfterMemberTimeout = Math.max(0, count - Math.max(minCopies, electionQuorum, 1));
  const groups = votersByGroup
    .filter(({ voters }) => count - voters.length >= Math.max(electionQuorum, minCopies, 1))
    .filter(() => input.siteCount >= 3 && input.scope === 'global')
    .map(({ group }) => group);
  const numbers = { nodesAtOnce, nodesAfterMemberTimeout, groups };
  return { ...numbers, text: describe(input, count, numbers) };
}

type Numbers = Omit<SurvivalPlan, 'text'>;

function describe(input: SurvivalInput, count: number, numbers: Numbers): string[] {
  if (count === 0) return ['no node holds data'];
  if (input.scope === 'group' && input.siteCount > 1 && count === 1) return [ALONE_IN_GROUP, AFTER_THE_LEASE];
  return [...aboutNodes(input, count, numbers), ...aboutGroups(input, numbers)];
}

const ALONE_IN_GROUP =
  'the one node of the leading group acknowledges alone (scope: group): the others follow behind it';
const AFTER_THE_LEASE =
  'the loss of the leading group: another takes over when the lease has run out, if it lacks at most maximumLag; acknowledged writes may be gone';

function aboutNodes({ memberTimeout, minCopies }: SurvivalInput, count: number, numbers: Numbers): string[] {
  const { nodesAtOnce, nodesAfterMemberTimeout } = numbers;
  if (count === 1) return ['one node: its loss is an outage until it is back, and loses what its volume loses'];
  const text: string[] = [];
  if (nodesAtOnce > 0)
    text.push(`any ${nodesOf(nodesAtOnce)} may be lost at once: no acknowledged write is lost, and writes go on`);
  if (nodesAfterMemberTimeout > nodesAtOnce) {
    text.push(
      `${nodesAtOnce > 0 ? 'up to' : 'any'} ${nodesOf(nodesAfterMemberTimeout)} may be lost at once: no acknowledged write is lost, and writes go on after ${memberTimeout}`,
    );
  }
  const worst = nodesAfterMemberTimeout + 1;
  if (worst < count)
    text.push(
      `${nodesOf(worst)} lost at once: writes stop until one is back${minCopies > 1 ? ` (${minCopies} copies are asked for)` : ''}`,
    );
  else if (count > 2) text.push('the loss of all nodes at once is an outage');
  if (count === 2)
    text.push('two nodes: each write waits for both, so that either may be lost; three would go on at once');
  else if (count % 2 === 0) text.push(`${count} voting nodes survive no more losses than ${count - 1}`);
  return text;
}

function aboutGroups({ votersByGroup, siteCount, scope }: SurvivalInput, { groups }: Numbers): string[] {
  const all = votersByGroup.map(({ group }) => group);
  if (siteCount === 1) return ['one group: the loss of its cluster is an outage'];
  if (scope === 'group') return [AFTER_THE_LEASE];
  if (siteCount === 2)
    return [
      'two groups: without a third site nobody can tell a lost group from a lost link, so the loss of one may need your word (a witness group, instances: 0, is enough)',
    ];
  if (groups.length === all.length)
    return [
      'any one group may be lost with its cluster: no acknowledged write is lost, and another group takes over by itself',
    ];
  const fatal = all.filter((group) => !groups.includes(group));
  const safe = groups.length > 0 ? [`group ${quoted(groups)} may be lost with its cluster`] : [];
  return [...safe, `the loss of group ${quoted(fatal)} is an outage until it is back: too few voting nodes remain`];
}

function nodesOf(count: number): string {
  return count === 1 ? 'one node' : `${count} nodes`;
}

function quoted(names: readonly string[]): string {
  return names.map((name) => `"${name}"`).join(' or ');
}
