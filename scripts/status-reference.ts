/**
 * Writes docs/reference/status.md: what `kubectl get` and `kubectl describe` show of a group: node scripts/status-reference.ts
 * test/meta/status.test.ts fails when it is not current, or a reason of the sources has no line here.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { JsonSchema } from '../src/api/json-schema.ts';
import { jsonSchemaWithMeanings } from '../src/api/json-schema.ts';
import { CONDITION_MEANING, postgresGroupStatusSchema } from '../src/api/postgres-group-status.ts';
import { PRINTER_COLUMNS } from '../src/platform/kubernetes/install/crd.ts';

export const STATUS_PAGE = 'docs/reference/status.md';

interface Reason {
  readonly meaning: string;
  readonly todo: string;
}

const NOTHING = 'Nothing.';
const WAIT = 'Nothing: it goes on by itself.';

/** Of REASON and of conditions, in the order in which one would meet them. Rolling changes say theirs as events too. */
export const REASONS: Readonly<Record<string, Reason>> = {
  Healthy: { meaning: 'Every node serves, every standby streams, nothing is to be changed.', todo: NOTHING },
  Accepted: { meaning: 'The manifest is carried out.', todo: NOTHING },
  Converged: { meaning: 'All nodes are as the manifest asks for.', todo: NOTHING },
  BeingMade: { meaning: 'The first database is being made.', todo: WAIT },
  NoLeaderYet: {
    meaning: 'There is no database yet.',
    todo: 'If it stays: the message names the pod that does not start, or `kubectl describe pod` of `<group>-1-0` does.',
  },
  // Refused.
  Invalid: {
    meaning:
      'The manifest contradicts itself; each line of the message has path, what was found, and what is accepted.',
    todo: 'Correct the manifest ([mistakes.md](mistakes.md)). What runs goes on as it was.',
  },
  NotBuilt: {
    meaning: 'The manifest asks for what this version does not have.',
    todo: 'Take the fields out; they are marked † in [postgresgroup.md](postgresgroup.md).',
  },
  GlobalClusterTaken: {
    meaning: 'Another group of the namespace has this global cluster, whose names are Services of the namespace.',
    todo: 'Another `spec.globalCluster.name`, or another namespace.',
  },
  WaitingForGroups: {
    meaning:
      'The card of a group that is needed is not known: that of the primary group, or one that the nodes knew before. CA, Services and card are there, so that others can join.',
    todo: 'The message says who is asked and what came of it: compare `spec.globalCluster.peers` (endpoint, caBundle) in both clusters. What runs goes on as it was.',
  },
  PrimaryGroupUnknown: {
    meaning: 'There are other groups, and nobody says which of them makes the database.',
    todo: 'Set `spec.globalCluster.primaryGroup`, the same in all groups.',
  },
  RecordNotShared: {
    meaning: 'There are other groups, and the record is the Lease of this cluster, which they do not reach.',
    todo: 'Set `spec.coordination.store: etcd`.',
  },
  CredentialsNotShared: {
    meaning: "There are other groups, and this one's login of the application would be one of its own.",
    todo: 'Name a Secret that is the same in every cluster in `spec.globalCluster.credentialsSecretRef`.',
  },
  GroupsDisagree: {
    meaning: 'What this manifest says contradicts what another group has told.',
    todo: 'The message names both groups and the field. What runs goes on with what was agreed on before.',
  },
  SourceMissing: {
    meaning: 'A Secret or ConfigMap that the manifest names is not there, or lacks a key.',
    todo: 'Make it; the message names it.',
  },
  ObjectRefused: {
    meaning: 'The API server refuses an object of the group, for example a Service made from a template.',
    todo: "The message repeats the API server's words; correct the field that they name. What runs goes on as it was.",
  },
  // Not as it should be.
  LeaderUnreachable: {
    meaning: 'The leader of another group is not reached from here, while a node of a third group follows it.',
    todo: 'Mend the way between the two clusters; `pgspan doctor` says which edges are broken. Clients of the other groups are not concerned; those that come through the proxies here wait.',
  },
  LeaderLost: {
    meaning:
      'The leader by the record does not answer the operator, or nobody does: then the last one that it knew is named.',
    todo: 'A failover takes about two seconds. If it stays: `pgspan status` asks all nodes and says what is missing.',
  },
  LeaderChanges: { meaning: 'A node was elected, or hands over, and is not open for clients yet.', todo: WAIT },
  PodTrouble: {
    meaning: 'Kubernetes does not start a pod: no room, no image, no volume, an image that is refused.',
    todo: 'The message repeats what Kubernetes says; correct the image, the requests or the storage class.',
  },
  StandbyNotStreaming: {
    meaning: 'A standby clones, rewinds, starts, or does not reach the leader. The rest serves.',
    todo: 'A clone takes its time (`progressPercent`). Else `pgspan logs NODE`.',
  },
  NodeNotReady: { meaning: 'A node streams or leads, and its pod is not ready.', todo: WAIT },
  NodesMissing: { meaning: 'Fewer nodes than wanted have been made.', todo: WAIT },
  NotAMember: {
    meaning: 'A node streams, and does not count for the write quorum and elections yet.',
    todo: 'The leader takes it in once it has caught up.',
  },
  ProxiesNotReady: {
    meaning: 'A proxy is not ready; the others take its connections.',
    todo: '`kubectl describe pod` of it.',
  },
  // Certificates.
  Loaded: { meaning: 'Every node runs with the certificate that it should have.', todo: NOTHING },
  Loading: {
    meaning: 'A certificate was issued, and a node has not reported it yet.',
    todo: 'The kubelet brings a changed Secret into a pod within about a minute.',
  },
  // Connectivity.
  PeersReached: { meaning: 'Every node that runs hears every other one.', todo: NOTHING },
  PeerUnreached: {
    meaning:
      'A node has not heard another one for some seconds, though that runs, or is of another group; the message says which and why.',
    todo: '`pgspan doctor` tries every edge and says what to change.',
  },
  NotObserved: { meaning: 'No node of the group answers the operator.', todo: 'See the condition `Ready`.' },
  // Rolling changes: what is done.
  VolumeTooSmall: { meaning: 'A volume grows.', todo: WAIT },
  BrokenPod: { meaning: 'A pod that serves nobody is made again from the present manifest.', todo: WAIT },
  PodHeldBack: {
    meaning: 'A pod whose container was killed is made again, since Kubernetes would start it only after a pause.',
    todo: WAIT,
  },
  PodOutdated: { meaning: 'A pod is made again: image, resources or another part of it has changed.', todo: WAIT },
  SettingsPending: { meaning: 'PostgreSQL restarts, since a changed setting needs it.', todo: WAIT },
  LeaderOutdated: { meaning: 'The leader hands over, so that its pod or PostgreSQL can start again.', todo: WAIT },
  LeaderLeaves: { meaning: 'The leader hands over, since the manifest asks for fewer nodes.', todo: WAIT },
  TooManyNodes: { meaning: 'A node gives up its vote, or is removed; its volume stays.', todo: WAIT },
  // Rolling changes: what is waited for.
  ConfigurationLoading: { meaning: 'A node has not loaded the new configuration yet.', todo: WAIT },
  NoLeader: { meaning: 'Changes of nodes wait for a leader that is open for clients.', todo: WAIT },
  Paused: { meaning: 'Changes of nodes wait, since elections are paused.', todo: 'End the pause.' },
  QuorumAtRisk: {
    meaning: 'One more node away, and writes would stop or a leader could not be elected. So nothing is changed.',
    todo: 'Bring back the node that the message names.',
  },
  NoTarget: { meaning: 'The leader is to hand over, and no other member can lead now.', todo: 'Bring a standby back.' },
  Retiring: { meaning: 'The leader takes a node out of the members before it is removed.', todo: WAIT },
  // Rolling changes: what cannot be done.
  MajorVersion: {
    meaning: 'The image is of another major version, which cannot read the data.',
    todo: 'Set `spec.imageName` back.',
  },
  VolumeCannotShrink: { meaning: 'Volumes only grow.', todo: 'Set `spec.storage.size` back.' },
  VolumeCannotGrow: {
    meaning: 'The storage class does not allow expansion.',
    todo: 'Set `allowVolumeExpansion: true` in the StorageClass, or the size back.',
  },
  LastMember: { meaning: 'The only member cannot be removed.', todo: 'Set `spec.instances` back.' },
  // Of the preferred leader; also of the events of its switchovers.
  Leads: { meaning: 'The preferred leader leads.', todo: NOTHING },
  LeftElsewhere: {
    meaning: 'The preferred leader has led, another leads since, and `switchBack` is `Never`.',
    todo: 'If it shall go back: `pgspan switchover`, or `switchBack: WhenHealthy`.',
  },
  OtherGroupLeads: {
    meaning: 'The preferred leader does not lead, and the operator of the group that leads is the one to hand over.',
    todo: 'Look at the condition `PreferredLeader` there.',
  },
  ChangeUnderWay: { meaning: 'A rolling change comes before the preferred leader.', todo: WAIT },
  TargetNotReady: {
    meaning: 'The preferred leader is not there, does not stream, has no vote, or is far behind.',
    todo: 'The message names the node; `pgspan logs NODE` says more.',
  },
  Settling: {
    meaning: 'The preferred leader is well again, and leads when it has been so for `after`.',
    todo: WAIT,
  },
  HandingOver: { meaning: 'The leader hands over to the preferred leader.', todo: WAIT },
  SwitchoverFailed: {
    meaning: 'The switchover to the preferred leader was tried and failed; who led goes on, or a failover followed.',
    todo: 'It is tried once a minute; the message says what was in its way.',
  },
};

/** Reasons that only events have. */
export const EVENT_REASONS: Readonly<Record<string, Reason>> = {
  GroupKnown: { meaning: 'Another group has told of itself, and is part of the plan from now on.', todo: NOTHING },
  GroupGone: { meaning: 'Another group has left, or no manifest names it any more.', todo: NOTHING },
  LeaderChanged: { meaning: 'Another node leads; the note says which, and since which term.', todo: NOTHING },
};

export function statusPage(): string {
  const columns = PRINTER_COLUMNS.map(
    ({ name, jsonPath, description, priority }) =>
      `| ${name.toUpperCase()}${priority === 1 ? ' (`-o wide`)' : ''} | \`${jsonPath}\` | ${description} |`,
  );
  const conditions = Object.entries(CONDITION_MEANING).map(([type, meaning]) => `| \`${type}\` | ${meaning} |`);
  return `# Status of a PostgresGroup

Made by \`npm run docs\` from \`scripts/status-reference.ts\` and the schema of the status; do not edit.

The status is written by the operator, for people and tools: no node and no proxy relies on it, and while the operator is down it
is old. \`pgspan status\` asks the nodes themselves.

## Columns of \`kubectl get pgg\`

| column | from | meaning |
|---|---|---|
${columns.join('\n')}

## Conditions

\`kubectl wait --for=condition=Ready pgg/leo\` waits for one. Each has a reason of the table below, and a message.

| condition | when it is True |
|---|---|
${conditions.join('\n')}

## Reasons

Of the column REASON and of conditions. Each change of the column is an event too (\`kubectl describe pgg NAME\`), a warning if the group is
degraded or the manifest refused; and so is each step of a rolling change. A reason of certificates has \`Certificates\` before it in the column.

${reasonTable(REASONS)}

Events have these as well:

${reasonTable(EVENT_REASONS)}

## Fields

| field | meaning |
|---|---|
${fieldRows(jsonSchemaWithMeanings(postgresGroupStatusSchema), 'status').join('\n')}
`;
}

function reasonTable(reasons: Readonly<Record<string, Reason>>): string {
  const rows = Object.entries(reasons).map(([code, { meaning, todo }]) => `| \`${code}\` | ${meaning} | ${todo} |`);
  return ['| reason | meaning | what to do |', '|---|---|---|', ...rows].join('\n');
}

function fieldRows(schema: JsonSchema, path: string): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, field]) => {
    const at = `${path}.${key}${field.items?.properties === undefined ? '' : '[]'}`;
    const values = field.enum === undefined ? '' : ` One of ${field.enum.map((value) => `\`${value}\``).join(', ')}.`;
    return [`| \`${at}\` | ${field.description ?? ''}${values} |`, ...fieldRows(field.items ?? field, at)];
  });
}

if (import.meta.main) writeFileSync(join(import.meta.dirname, '..', STATUS_PAGE), statusPage());
