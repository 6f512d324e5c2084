/**
 * What may be lost from now on. The plan says what a set-up survives when all are there (core/topology/survival.ts); this
 * says what it survives as it is, with the members that answer.
 *
 * Of |M| members v = |M| + 1 - w must remain to elect a leader, and w to acknowledge at once. When fewer than w remain and
 * a leader lives or can be elected, the lost ones are taken out of M after memberTimeout, down to minCopies.
 */
export interface PresentInput {
  readonly members: readonly { readonly name: string; readonly group: string; readonly isHealthy: boolean }[];
  readonly leader: string | null;
  readonly writeQuorum: number;
  readonly minCopies: number;
  readonly memberTimeoutMs: number;
  /** With `scope: group`: nodes that are well and no members, so that one of them may take over without the members' votes. */
  readonly othersHealthy: number;
}

export interface PresentSurvival {
  readonly survives: readonly string[];
  readonly doesNotSurvive: readonly string[];
}

type Outcome = 'writes go on' | 'writes go on later' | 'outage';

export function presentSurvival(input: PresentInput): PresentSurvival {
  const healthy = input.members.filter(({ isHealthy }) => isHealthy);
  const now = outcomeOf(
    input,
    healthy.map(({ name }) => name),
  );
  if (now === 'outage') return { survives: [], doesNotSurvive: [outageText(input, healthy.length)] };
  const fatalText =
    input.othersHealthy > 0
      ? 'another group takes over when the lease has run out, and acknowledged writes may be gone'
      : 'writes stop until it is back';
  const groups = [...new Set(healthy.map(({ group }) => group))];
  const isEachAGroup = groups.length === healthy.length;
  const nodeLosses = healthy.map(({ name }) => ({
    name,
    outcome: afterLossOf(input, (member) => member.name === name),
  }));
  const groupLosses = groups.map((name) => ({ name, outcome: afterLossOf(input, (member) => member.group === name) }));
  // A group of one node is lost with it: one sentence says both.
  const losses = groups.length > 1 ? [{ word: 'group', all: groupLosses }] : [];
  if (!isEachAGroup || groups.length === 1) losses.unshift({ word: 'node', all: nodeLosses });
  const survives: string[] = [];
  const doesNotSurvive: string[] = [];
  const later = `after ${Math.round(input.memberTimeoutMs / 1000)} s`;
  for (const { word, all } of losses) {
    const of = (outcome: Outcome) => all.filter((loss) => loss.outcome === outcome).map(({ name }) => name);
    const atOnce = of('writes go on');
    const delayed = of('writes go on later');
    const fatal = of('outage');
    if (atOnce.length > 0)
      survives.push(`the loss of ${anyOf(word, atOnce)}: no acknowledged write is lost, and writes go on`);
    if (delayed.length > 0) {
      survives.push(`the loss of ${anyOf(word, delayed)}: no acknowledged write is lost, and writes go on ${later}`);
    }
    if (fatal.length > 0) doesNotSurvive.push(`the loss of ${anyOf(word, fatal)}: ${fatalText}`);
  }
  if (doesNotSurvive.length === 0 && healthy.length > 1) {
    const fatalCount = fatalLossCount(input, healthy.length);
    doesNotSurvive.push(`the loss of ${fatalCount} nodes at once: writes stop until enough are back`);
  }
  return { survives, doesNotSurvive };
}

function afterLossOf(input: PresentInput, isLost: (member: PresentInput['members'][number]) => boolean): Outcome {
  return outcomeOf(
    input,
    input.members.filter((member) => member.isHealthy && !isLost(member)).map(({ name }) => name),
  );
}

function outcomeOf({ members, leader, writeQuorum, minCopies }: PresentInput, remaining: readonly string[]): Outcome {
  const electionQuorum = members.length + 1 - writeQuorum;
  const hasLeader = leader !== null && remaining.includes(leader);
  if (!hasLeader && remaining.length < electionQuorum) return 'outage';
  if (remaining.length >= writeQuorum) return 'writes go on';
  return remaining.length >= Math.max(1, minCopies) ? 'writes go on later' : 'outage';
}

/** The smallest number of healthy members whose loss, the leader's included, stops writes. */
function fatalLossCount({ members, writeQuorum, minCopies }: PresentInput, healthyCount: number): number {
  const electionQuorum = members.length + 1 - writeQuorum;
  return healthyCount - Math.max(electionQuorum, Math.min(writeQuorum, Math.max(1, minCopies))) + 1;
}

function outageText({ members, writeQuorum }: PresentInput, healthyCount: number): string {
  return `the present state: ${healthyCount} of ${members.length} members are well, and a write needs ${writeQuorum}`;
}

/** `group leo`, `any one of groups leo, ait, pit`. */
function anyOf(word: string, names: readonly string[]): string {
  return names.length === 1 ? `${word} ${names[0]}` : `any one of ${word}s ${names.join(', ')}`;
}
