/**
 * The next single step of a rolling change. Pure; call it again after each step and after each change of what is observed.
 *
 *   1. volumes grow                      it disturbs nobody
 *   2. what is broken and outdated       is replaced first: nothing is lost with it, and the change may be its cure
 *   3. wait until everything else is well
 *   4. standbys, the highest ordinal first: their pod, else only their PostgreSQL
 *   5. the leader hands over to one that is done, and is then a standby like the others
 *   6. nodes too many: hand over, retire (no vote), remove
 *
 * So a change of all nodes costs at most one switchover. Each step is taken only if the group would survive the loss of the
 * node that it touches (availability.ts).
 */
import type { Reason } from '../leadership/voter.ts';
import { availabilityWithout, isHealthy, unhealthyWhy } from './availability.ts';
import type { RollingDecision, RollingNode, RollingSnapshot, RollingStep } from './rolling-snapshot.ts';

export function decideRollingStep(snapshot: RollingSnapshot): RollingDecision {
  return (
    decideMajor(snapshot) ??
    decideVolumes(snapshot) ??
    decideBroken(snapshot) ??
    decideStanding(snapshot) ??
    decideStandbys(snapshot) ??
    decideLeader(snapshot) ??
    decideLeaving(snapshot) ??
    decideLoading(snapshot) ??
    decideBlockedVolumes(snapshot) ?? {
      kind: 'converged',
      reason: reason('Converged', `All ${snapshot.nodes.length} nodes are as the manifest asks for`),
    }
  );
}

/** Another major version cannot read the data: a pod that was made again with it would not come up. */
function decideMajor({ nodes, wantedMajor }: RollingSnapshot): RollingDecision | null {
  if (wantedMajor === null) return null;
  const other = nodes.find(
    (node) => node.agent !== null && node.agent.major !== null && node.agent.major !== wantedMajor,
  );
  if (other === undefined) return null;
  return blocked(
    other.name,
    'MajorVersion',
    `"${other.name}" runs PostgreSQL ${other.agent?.major} and the image is of ${wantedMajor}, which cannot read its data: set spec.imageName to one of ${other.agent?.major}`,
  );
}

function decideVolumes({ nodes }: RollingSnapshot): RollingDecision | null {
  const small = nodes.find(
    ({ isWanted, volume }) =>
      isWanted && volume !== null && volume.canGrow && volume.requestedBytes < volume.wantedBytes,
  );
  if (small === undefined || small.volume === null) return null;
  const { requestedBytes, wantedBytes } = small.volume;
  return step(
    { kind: 'grow-volume', node: small.name, toBytes: wantedBytes },
    'VolumeTooSmall',
    `The volume of "${small.name}" grows from ${requestedBytes} to ${wantedBytes} bytes`,
  );
}

/** Said last: it must not hold up what can be done. */
function decideBlockedVolumes({ nodes }: RollingSnapshot): RollingDecision | null {
  for (const { name, isWanted, volume } of nodes) {
    if (!isWanted || volume === null || volume.requestedBytes === volume.wantedBytes) continue;
    const sizes = `it has ${volume.requestedBytes} bytes and the manifest asks for ${volume.wantedBytes}`;
    if (volume.requestedBytes > volume.wantedBytes)
      return blocked(
        name,
        'VolumeCannotShrink',
        `The volume of "${name}" cannot shrink: ${sizes}; set spec.storage.size back`,
      );
    return blocked(
      name,
      'VolumeCannotGrow',
      `The volume of "${name}" cannot grow: ${sizes}, and its StorageClass does not allow expansion (allowVolumeExpansion)`,
    );
  }
  return null;
}

/**
 * An outdated pod that Kubernetes holds for not ready, and whose agent does not answer or says that it is stuck, serves
 * nobody. Both must say so: an agent that only this operator cannot reach may well lead.
 */
function decideBroken({ nodes }: RollingSnapshot): RollingDecision | null {
  const broken = nodes.find(
    ({ pod, agent }) =>
      pod !== null &&
      pod.isOutdated &&
      !pod.isTerminating &&
      !pod.isReady &&
      (agent === null || agent.activity === 'blocked'),
  );
  if (broken === undefined) return decideHeldBack(nodes);
  return step(
    { kind: 'delete-pod', node: broken.name },
    'BrokenPod',
    `The pod of "${broken.name}" serves nobody and is of an older revision: it is made again`,
  );
}

/**
 * Kubernetes' pauses, up to five minutes, are for what fails by itself. What was killed from outside several times would come up
 * at once, and the group is without a node meanwhile: a new pod has no pause.
 */
function decideHeldBack(nodes: readonly RollingNode[]): RollingDecision | null {
  const held = nodes.find(({ pod, agent }) => pod !== null && pod.isHeldBack && !pod.isTerminating && agent === null);
  if (held === undefined) return null;
  return step(
    { kind: 'delete-pod', node: held.name },
    'PodHeldBack',
    `The container of "${held.name}" was killed, and Kubernetes pauses before it starts it again: its pod is made again`,
  );
}

/** Before anything that takes a healthy node away. Nothing is said while there is nothing to change. */
function decideStanding(snapshot: RollingSnapshot): RollingDecision | null {
  const { record, nodes, isLeaderPublished } = snapshot;
  const next = nodes.find((node) => needsPod(node) || needsRestart(node) || !node.isWanted);
  if (next === undefined) return null;
  if (record === null) return wait(null, 'NoLeader', 'There is no leader yet; changes of nodes wait for one');
  if (record.paused) return wait(null, 'Paused', 'Changes of nodes wait, since the group is paused');
  if (!isLeaderPublished) return wait(record.leader, 'NoLeader', `"${record.leader}" is not open for clients yet`);
  const unwell = nodes.find((node) => node.isWanted && !isHealthy(node) && !mayBeReplacedUnwell(node));
  if (unwell === undefined) return null;
  return wait(unwell.name, 'NodeNotReady', `${capital(unhealthyWhy(unwell) ?? '')}; one node at a time is changed`);
}

/** It is unwell and is itself the one to be made again: waiting for it might be for ever. */
function mayBeReplacedUnwell({ pod, agent }: RollingNode): boolean {
  if (pod === null || pod.isTerminating || !pod.isOutdated || agent === null) return false;
  return agent.activity === 'waiting' || agent.activity === 'stopped';
}

function decideStandbys(snapshot: RollingSnapshot): RollingDecision | null {
  const leader = snapshot.record?.leader;
  const standbys = snapshot.nodes
    .filter((node) => node.isWanted && node.name !== leader && (needsPod(node) || needsRestart(node)))
    // One that is unwell already comes first: the others stay whole.
    .toSorted((a, b) => Number(isHealthy(a)) - Number(isHealthy(b)) || b.ordinal - a.ordinal);
  const next = standbys[0];
  return next === undefined ? null : decideTouch(snapshot, next);
}

function decideTouch(snapshot: RollingSnapshot, node: RollingNode): RollingDecision {
  const { name } = node;
  const availability = isHealthy(node) ? availabilityWithout(snapshot, name) : ({ kind: 'keeps-writing' } as const);
  if (availability.kind === 'at-risk')
    return wait(name, 'QuorumAtRisk', `"${name}" is to be changed: ${availability.why}`);
  const pause = availability.kind === 'writes-pause' ? `; ${availability.why}` : '';
  if (needsPod(node))
    return step(
      { kind: 'delete-pod', node: name },
      'PodOutdated',
      `The pod of "${name}" is of an older revision: it is made again${pause}`,
    );
  return step(
    { kind: 'restart-postgres', node: name },
    'SettingsPending',
    `PostgreSQL of "${name}" restarts for ${pendingOf(node)}${pause}`,
  );
}

function decideLeader(snapshot: RollingSnapshot): RollingDecision | null {
  const leader = snapshot.nodes.find(({ name }) => name === snapshot.record?.leader);
  if (leader === undefined || !leader.isWanted || !(needsPod(leader) || needsRestart(leader))) return null;
  // Settings that must be as high on each standby: a standby that has not loaded them would stop replaying.
  // Nobody that stays can take over: those that go do so first, and what is then left is changed where it is.
  const leaves = snapshot.nodes.some(({ isWanted }) => !isWanted);
  if (leaves && chooseTarget(snapshot, leader.name) === null) return null;
  const loading = needsPod(leader) ? null : decideLoading(snapshot);
  if (loading !== null) return loading;
  const why = needsPod(leader) ? 'its pod is of an older revision' : `it restarts for ${pendingOf(leader)}`;
  return handOver(snapshot, leader, 'LeaderOutdated', why) ?? decideTouch(snapshot, leader);
}

/** null: it is the only member, so there is nobody to hand over to. */
function handOver(snapshot: RollingSnapshot, leader: RollingNode, code: string, why: string): RollingDecision | null {
  const others = (snapshot.record?.members ?? []).filter((name) => name !== leader.name);
  if (others.length === 0) return null;
  const target = chooseTarget(snapshot, leader.name);
  if (target === null)
    return wait(leader.name, 'NoTarget', `"${leader.name}" is to hand over (${why}), and no other member can lead now`);
  const availability = availabilityWithout(snapshot, leader.name);
  if (availability.kind === 'at-risk')
    return wait(leader.name, 'QuorumAtRisk', `"${leader.name}" is to hand over (${why}): ${availability.why}`);
  return step(
    { kind: 'switch-over', from: leader.name, to: target },
    code,
    `"${leader.name}" hands over to "${target}": ${why}`,
  );
}

/** Beside the leader before far away, and one that needs no change any more before one that would have to hand over again. */
function chooseTarget({ nodes, record, remoteMembers }: RollingSnapshot, leader: string): string | null {
  const members = record?.members ?? [];
  const near = nodes
    .filter(({ name, isWanted, priority }) => name !== leader && members.includes(name) && isWanted && priority > 0)
    .filter((node) => isHealthy(node) && !needsPod(node) && !needsRestart(node))
    .toSorted((a, b) => b.priority - a.priority || a.ordinal - b.ordinal);
  const far = remoteMembers
    .filter(({ name, isHealthy: isWell, priority }) => members.includes(name) && isWell && priority > 0)
    .toSorted((a, b) => b.priority - a.priority || (a.name < b.name ? -1 : 1));
  return near[0]?.name ?? far[0]?.name ?? null;
}

/** The highest ordinal first, as names are given. */
function decideLeaving(snapshot: RollingSnapshot): RollingDecision | null {
  const [leaving] = snapshot.nodes.filter(({ isWanted }) => !isWanted).toSorted((a, b) => b.ordinal - a.ordinal);
  if (leaving === undefined) return null;
  const { record } = snapshot;
  if (record?.leader === leaving.name) {
    return (
      handOver(snapshot, leaving, 'LeaderLeaves', 'the manifest asks for fewer nodes') ??
      blocked(
        leaving.name,
        'LastMember',
        `"${leaving.name}" is the only member and cannot be removed; set spec.instances back`,
      )
    );
  }
  if (record?.members.includes(leaving.name) !== true)
    return step(
      { kind: 'remove-node', node: leaving.name },
      'TooManyNodes',
      `"${leaving.name}" is no member any more and is removed`,
    );
  if (!leaving.votes) return wait(leaving.name, 'Retiring', `"${leaving.name}" is being taken out of the members`);
  const availability = availabilityWithout(snapshot, leaving.name);
  if (isHealthy(leaving) && availability.kind === 'at-risk')
    return wait(leaving.name, 'QuorumAtRisk', `"${leaving.name}" is to be removed: ${availability.why}`);
  return step(
    { kind: 'retire-node', node: leaving.name },
    'TooManyNodes',
    `"${leaving.name}" gives up its vote: the manifest asks for fewer nodes`,
  );
}

/** Only then is it known which settings wait for a restart. */
function decideLoading({ nodes }: RollingSnapshot): RollingDecision | null {
  const behind = nodes.find(({ isWanted, agent }) => isWanted && agent !== null && !agent.isConfigured);
  if (behind === undefined) return null;
  return wait(behind.name, 'ConfigurationLoading', `"${behind.name}" has not loaded the new configuration yet`);
}

function needsPod({ pod }: RollingNode): boolean {
  return pod?.isOutdated === true && !pod.isTerminating;
}

/** Only of what it has loaded: a setting of the configuration before may not wait any more. */
function needsRestart({ agent }: RollingNode): boolean {
  return agent !== null && agent.isConfigured && agent.pendingRestart.length > 0;
}

function pendingOf({ agent }: RollingNode): string {
  return (agent?.pendingRestart ?? []).join(', ');
}

function capital(sentence: string): string {
  return sentence.charAt(0).toUpperCase() + sentence.slice(1);
}

function reason(code: string, message: string): Reason {
  return { code, message };
}

function step(what: RollingStep, code: string, message: string): RollingDecision {
  return { kind: 'step', step: what, reason: reason(code, message) };
}

function wait(node: string | null, code: string, message: string): RollingDecision {
  return { kind: 'wait', node, reason: reason(code, message) };
}

function blocked(node: string | null, code: string, message: string): RollingDecision {
  return { kind: 'blocked', node, reason: reason(code, message) };
}
