/**
 * The next step of one operator with the etcd of its global cluster: pure, one step at a time.
 *
 *   none -- founder, nobody has a member --> founding --------------> member
 *   none -- a cluster is there --> add (learner) --> joining -------> member --> promote
 *   member whose volume is lost, or that was taken out --> remove --> none --> add anew, in an empty folder
 *
 * Rules:
 *   1. A cluster is founded once: by the group that makes the database, if it never had a member and no other group has one.
 *   2. Who has been a member never starts in an empty folder under its old id: it would have forgotten what it voted.
 *   3. No change of members, restart or defragmentation that leaves fewer answering members than a quorum (member-quorum.ts).
 *   4. A member joins as a learner, which has no vote until it holds the log.
 */
import type { EtcdClusterSight, EtcdDecision, EtcdMemberSight, EtcdSnapshot, EtcdStep } from './etcd-snapshot.ts';
import { isWell, quorumOf, survivesPause, survivesPromotion, survivesRemoval, votersOf } from './member-quorum.ts';

/**
 * Of a member that is silent for so long nobody expects the next second. Taking it out costs nothing: as many may be lost
 * afterwards as before. It is done only where its silence holds up something: a lost group that comes back under a new CA is
 * trusted by members that have restarted, and they do not restart while one is missing.
 */
const LOST_MS = 120_000;

/** A file this large is worth a pause if more than half of it is free pages. The record itself is a few KiB. */
const DEFRAGMENT_BYTES_MIN = 32 * 1024 * 1024;
const DEFRAGMENT_FREE_SHARE_MIN = 0.5;

export function decideEtcdStep(snapshot: EtcdSnapshot): EtcdDecision {
  const { memory, cluster } = snapshot;
  if (memory.phase !== 'none' && memory.phase !== 'founding' && cluster !== null) {
    if (cluster.clusterId !== memory.clusterId) return foreignCluster(memory.clusterId, cluster.clusterId);
  }
  switch (memory.phase) {
    case 'none':
      return memory.clusterId === null ? begin(snapshot) : join(snapshot, memory.clusterId);
    case 'founding':
      return found(snapshot, memory.folder);
    case 'joining':
      return arrive(snapshot, memory);
    case 'member':
      return keep(snapshot, memory);
  }
}

function begin(snapshot: EtcdSnapshot): EtcdDecision {
  const { isFounder, others, cluster, own, newFolder } = snapshot;
  if (cluster !== null || others.some(({ hasMember, hasLeft }) => hasMember && !hasLeft)) return join(snapshot, null);
  if (!isFounder) return wait('NoClusterYet', 'Waiting for the primary group to start the first member of etcd');
  return step(
    { kind: 'remember', memory: { phase: 'founding', folder: newFolder } },
    'ClusterFounded',
    `Starting "${own.name}" as the first member of a new etcd`,
  );
}

function found({ cluster, own, volume }: EtcdSnapshot, folder: string): EtcdDecision {
  const self = cluster?.members.find(({ name }) => name === own.name);
  if (cluster === null || self === undefined) return wait('MemberStarting', `Waiting for "${own.name}" to start`);
  const memory = { phase: 'member', clusterId: cluster.clusterId, memberId: self.id, folder, volume } as const;
  return step({ kind: 'remember', memory }, 'MemberStarted', `"${own.name}" has started`);
}

function join(snapshot: EtcdSnapshot, clusterId: string | null): EtcdDecision {
  const { cluster, own, newFolder } = snapshot;
  if (cluster === null) return wait('ClusterSilent', 'Waiting for a member of etcd in another group to answer');
  if (clusterId !== null && cluster.clusterId !== clusterId) return foreignCluster(clusterId, cluster.clusterId);
  const same = cluster.members.find(({ peerUrls, name }) => peerUrls.includes(own.peerUrl) || name === own.name);
  if (same !== undefined && same.name === '') {
    // Added by an operator that ended before it could write that down.
    const memory = {
      phase: 'joining',
      clusterId: cluster.clusterId,
      memberId: same.id,
      folder: newFolder,
      initialCluster: initialClusterOf(cluster.members, same.id, own.name),
    } as const;
    return step({ kind: 'remember', memory }, 'MemberAdded', `"${own.name}" was added`);
  }
  if (same !== undefined) {
    // Nobody knows any more what it holds: its folder may be gone, its vote is not.
    return removeOwn(cluster, same, 'it is unknown here, and a new one takes its place');
  }
  if (cluster.leaderId === null) return noLeader(cluster);
  const learner = cluster.members.find(({ isLearner }) => isLearner);
  if (learner !== undefined)
    return wait('AnotherLearner', `Waiting until "${learner.name}" has joined: etcd takes in one at a time`);
  return step(
    { kind: 'add', peerUrl: own.peerUrl, folder: newFolder },
    'MemberAdded',
    `Adding "${own.name}" to etcd, without a vote at first`,
  );
}

function arrive(snapshot: EtcdSnapshot, memory: Extract<EtcdSnapshot['memory'], { phase: 'joining' }>): EtcdDecision {
  const { cluster, own, pod, volume } = snapshot;
  if (cluster === null) return wait('ClusterSilent', 'Waiting for a member of etcd to answer');
  const self = cluster.members.find(({ id }) => id === memory.memberId);
  if (self === undefined) return forget(memory.clusterId, `"${own.name}" was taken out of etcd`);
  if (self.name !== '') {
    const { clusterId, memberId, folder } = memory;
    const next = { phase: 'member', clusterId, memberId, folder, volume } as const;
    return step({ kind: 'remember', memory: next }, 'MemberStarted', `"${own.name}" has started`);
  }
  if (pod?.isOutdated === true) return restart(`"${own.name}" starts with its new settings`);
  return wait('MemberStarting', `Waiting for "${own.name}" to start`);
}

function keep(snapshot: EtcdSnapshot, memory: Extract<EtcdSnapshot['memory'], { phase: 'member' }>): EtcdDecision {
  const { cluster, own, pod, volume, others } = snapshot;
  if (memory.volume === null && volume !== null) {
    return step({ kind: 'remember', memory: { ...memory, volume } }, 'VolumeSeen', `"${own.name}" has its volume`);
  }
  const isLost = (volume !== null && volume !== memory.volume) || pod?.foundNothing === true;
  if (cluster === null) {
    if (!isLost) return wait('ClusterSilent', silenceText(snapshot));
    if (others.some(({ hasMember, hasLeft }) => hasMember && !hasLeft))
      return wait('VolumeLost', `"${own.name}" has lost its volume; waiting for another member to take it out`);
    return {
      kind: 'blocked',
      reason: {
        code: 'RecordLost',
        message: `The volume of "${own.name}", the only member of etcd, is lost, and the record of the leader with it. The database goes on under its present leader. Restore the volume, or follow "The record is lost" of docs/several-clusters.md`,
      },
    };
  }
  const self = cluster.members.find(({ id }) => id === memory.memberId);
  if (self === undefined) return forget(memory.clusterId, `"${own.name}" is no member of etcd any more`);
  if (isLost) return removeOwn(cluster, self, 'its volume is lost');
  if (cluster.leaderId === null) return noLeader(cluster);
  return change(snapshot, cluster, self) ?? maintain(snapshot, cluster, self);
}

/** Changes of members; null: none is due. */
function change({ own, others }: EtcdSnapshot, cluster: EtcdClusterSight, self: EtcdMemberSight): EtcdDecision | null {
  if (!self.peerUrls.includes(own.peerUrl) || self.peerUrls.length !== 1) {
    const rename = { kind: 'rename', memberId: self.id, peerUrl: own.peerUrl } as const;
    return step(rename, 'MemberRenamed', `Telling etcd that "${own.name}" is reached as ${own.peerUrl}`);
  }
  if (self.isLearner) {
    if (!survivesPromotion(cluster, self.id))
      return wait('PromotionWaits', `Waiting until enough members of etcd answer to give "${own.name}" a vote`);
    return step({ kind: 'promote', memberId: self.id }, 'MemberPromoted', `Giving "${own.name}" its vote in etcd`);
  }
  const left = others.filter(({ hasLeft }) => hasLeft).map(({ name }) => name);
  const gone = cluster.members.find(({ id, name }) => id !== self.id && left.includes(name));
  if (gone === undefined) return null;
  if (!survivesRemoval(cluster, gone.id))
    return wait('RemovalWaits', `Waiting until enough members of etcd answer to take out "${gone.name}"`);
  return step(
    { kind: 'remove', memberId: gone.id, name: gone.name },
    'MemberRemoved',
    `Taking "${gone.name}" out of etcd: its group has left`,
  );
}

function maintain({ own, pod }: EtcdSnapshot, cluster: EtcdClusterSight, self: EtcdMemberSight): EtcdDecision {
  if (pod?.isOutdated === true) {
    if (survivesPause(cluster, self.id)) return restart(`"${own.name}" takes over its new settings`);
    const lost = cluster.members.find(({ id, silentForMs }) => silentForMs >= LOST_MS && survivesRemoval(cluster, id));
    if (lost !== undefined) {
      return step(
        { kind: 'remove', memberId: lost.id, name: lost.name },
        'MemberRemoved',
        `Taking "${lost.name}" out of etcd: it is silent, and "${own.name}" must restart; it joins anew when it is back`,
      );
    }
    return wait('RestartWaits', `Waiting until enough other members of etcd answer to restart "${own.name}"`);
  }
  const silent = cluster.members.filter((member) => !isWell(member));
  if (silent.length > 0) return wait('MembersSilent', membersText(cluster));
  const isFull = cluster.alarms.some(({ memberId, kind }) => memberId === self.id && kind === 'NOSPACE');
  if (deservesDefragmentation(self)) {
    // The leader last: while it is away the others would elect.
    const isLeader = cluster.leaderId === self.id;
    const first = cluster.members.find((other) => other.id !== self.id && deservesDefragmentation(other));
    if (isLeader && first !== undefined)
      return wait('DefragmentationWaits', `Waiting until "${first.name}" is defragmented, the leader of etcd is last`);
    if (!survivesPause(cluster, self.id))
      return wait('DefragmentationWaits', `Waiting until enough other members of etcd answer`);
    return step({ kind: 'defragment', memberId: self.id }, 'Defragmented', `Defragmenting "${own.name}"`);
  }
  if (isFull) {
    return step(
      { kind: 'disarm', memberId: self.id },
      'SpaceFree',
      `"${own.name}" has space again: taking back its alarm`,
    );
  }
  const [alarm] = cluster.alarms;
  if (alarm !== undefined) {
    const name = cluster.members.find(({ id }) => id === alarm.memberId)?.name ?? alarm.memberId;
    const what = alarm.kind === 'NOSPACE' ? 'has used up its space' : 'has found its data corrupt';
    return {
      kind: 'blocked',
      reason: {
        code: alarm.kind === 'NOSPACE' ? 'SpaceUsedUp' : 'DataCorrupt',
        message: `"${name}" ${what}: the record cannot be changed until that is mended`,
      },
    };
  }
  return { kind: 'settled', reason: { code: 'MembersHealthy', message: membersText(cluster) } };
}

function deservesDefragmentation({ answer }: EtcdMemberSight): boolean {
  if (answer === null || answer.sizeBytes < DEFRAGMENT_BYTES_MIN) return false;
  return 1 - answer.sizeInUseBytes / answer.sizeBytes >= DEFRAGMENT_FREE_SHARE_MIN;
}

function removeOwn(cluster: EtcdClusterSight, self: EtcdMemberSight, why: string): EtcdDecision {
  const name = self.name === '' ? self.id : self.name;
  if (cluster.leaderId === null) return noLeader(cluster);
  if (!survivesRemoval(cluster, self.id)) {
    const code = votersOf(cluster).length === 1 ? 'OnlyMember' : 'RemovalWaits';
    return wait(code, `"${name}" must be taken out of etcd (${why}), and too few other members answer`);
  }
  return step({ kind: 'remove', memberId: self.id, name }, 'MemberRemoved', `Taking "${name}" out of etcd: ${why}`);
}

function forget(clusterId: string, why: string): EtcdDecision {
  return step({ kind: 'remember', memory: { phase: 'none', clusterId } }, 'MemberGone', `${why}; it joins anew`);
}

function restart(message: string): EtcdDecision {
  return step({ kind: 'restart' }, 'MemberRestarted', message);
}

function noLeader(cluster: EtcdClusterSight): EtcdDecision {
  return wait('NoQuorum', membersText(cluster));
}

function foreignCluster(ours: string, theirs: string): EtcdDecision {
  return {
    kind: 'blocked',
    reason: {
      code: 'ForeignCluster',
      message: `The members of etcd that answer are of cluster ${theirs}, and this group belongs to cluster ${ours}: nothing is changed`,
    },
  };
}

function silenceText({ own, others }: EtcdSnapshot): string {
  const count = others.filter(({ hasMember }) => hasMember).length;
  return count === 0
    ? `"${own.name}" does not answer: no change of leader until it does, the database goes on`
    : 'No member of etcd answers: no change of leader until a majority does, the database goes on';
}

/** `3 of 3 members answer`, or what is missing and what that means. */
export function membersText(cluster: EtcdClusterSight): string {
  const voters = votersOf(cluster);
  const well = voters.filter(({ answer }) => answer !== null);
  const silent = voters.filter(({ answer }) => answer === null).map(({ name }) => `"${name}"`);
  const count = `${well.length} of ${voters.length} voting member${voters.length === 1 ? '' : 's'} of etcd answer${well.length === 1 ? 's' : ''}`;
  if (silent.length === 0) {
    const joining = cluster.members.find((member) => member.isLearner && !isWell(member));
    if (cluster.leaderId === null) return `${count}, and they are electing: no change of leader until they have`;
    return joining === undefined ? count : `${count}, and one more is joining`;
  }
  if (well.length < quorumOf(voters.length))
    return `${count}, too few to change the record: no change of leader until ${silent.join(', ')} is back, the database goes on`;
  const spare = well.length - quorumOf(voters.length);
  return `${count}, ${silent.join(', ')} does not: the record can be changed${spare === 0 ? ', and one more lost member would stop that' : ''}`;
}

/** What `--initial-cluster` takes. @param memberId the one that starts, which has no name yet. */
export function initialClusterOf(
  members: readonly Pick<EtcdMemberSight, 'id' | 'name' | 'peerUrls'>[],
  memberId: string,
  ownName: string,
): string {
  return members
    .flatMap(({ id, name, peerUrls }) => peerUrls.map((url) => `${id === memberId ? ownName : name}=${url}`))
    .join(',');
}

function step(one: EtcdStep, code: string, message: string): EtcdDecision {
  return { kind: 'step', step: one, reason: { code, message } };
}

function wait(code: string, message: string): EtcdDecision {
  return { kind: 'wait', reason: { code, message } };
}
