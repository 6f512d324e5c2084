/**
 * `.status` of a PostgresGroup on Kubernetes: what the operator saw, for people and tools. Nothing of pgspan relies on it: who
 * leads is in the record. One exception: `preferredLeader.hasLed`, without which a planned switchover is ordered once more at the worst. A field that is not known yet is absent.
 *
 * Everything here changes rarely while nothing happens: positions and lag are as of the operator's last look, and alone no
 * reason to write.
 */
import * as z from 'zod';

/** By type of condition, when it is True. */
export const CONDITION_MEANING = {
  Ready: 'Every wanted node serves, a leader is open for clients, and every standby streams from it.',
  Progressing: 'Something is being made or changed; the reason says what, and for what it waits.',
  Degraded:
    'The group does not serve, or serves and survives less than it should; the reason says which. False while it is made for the first time.',
  ConfigurationAccepted:
    'The manifest holds no contradiction. False: nothing of this generation was carried out, the group goes on as it was.',
  RecordReady:
    "pgspan's own etcd keeps the record, and every member of it answers. False: the reason says which does not and what that means. Absent: the record is kept elsewhere.",
  PreferredLeader:
    'The node that `spec.globalCluster.preferredLeader` names leads, or one of the group that it names. False: the reason says what is waited for, or that the lead is left elsewhere. Absent: none is named.',
  CertificatesReady:
    'Every node has reported that it runs with the certificate that it should have, with every name that it is reached by.',
  Connectivity:
    'Every node that runs reaches the agent of every other one, in whichever group. `pgspan doctor` tries each edge and says what to change.',
} as const;
export type ConditionType = keyof typeof CONDITION_MEANING;
export const CONDITION_TYPES = Object.keys(CONDITION_MEANING) as [ConditionType, ...ConditionType[]];

const text = (lengthMax: number) => z.string().max(lengthMax);
const count = () => z.int().min(0);
const timestamp = () => z.iso.datetime();

/** Constant CamelCase word for machines, as Kubernetes demands of a condition. */
const reasonSchema = z
  .string()
  .min(1)
  .max(1024)
  .regex(/^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$/, 'a CamelCase word');

const conditionSchema = z.strictObject({
  type: z.enum(CONDITION_TYPES).describe('Which condition.'),
  status: z.enum(['True', 'False', 'Unknown']).describe('Whether it holds.'),
  reason: reasonSchema.describe('Why, as one constant word.'),
  message: text(32_768).describe('Why, as a sentence.'),
  lastTransitionTime: timestamp().describe('When `status` changed last.'),
  observedGeneration: count().optional().describe('Generation of the resource that this is about.'),
});
export type GroupCondition = z.infer<typeof conditionSchema>;

const nodeSchema = z.strictObject({
  name: text(63).describe('Name of the node, `<group>-<n>`.'),
  role: z.enum(['leader', 'follower', 'none']).describe('`none`: it neither leads nor follows at the moment.'),
  activity: text(64).describe('What it does: `leading`, `following`, `cloning`, `rewinding`, `unreachable` and so on.'),
  ready: z.boolean().describe('It serves: clients on the leader, reads on the others.'),
  member: z.boolean().describe('It counts for the write quorum and votes.'),
  streaming: z.boolean().describe('It receives WAL from the leader now; on the leader itself: true.'),
  timeline: count().optional().describe('Timeline of PostgreSQL.'),
  lsn: text(17).optional().describe('End of flushed WAL, such as `0/16B3748`, as of the last look.'),
  lagBytes: count().optional().describe('Bytes of WAL that it has not replayed yet, as of the last look.'),
  progressPercent: z.number().min(0).max(100).optional().describe('How far a clone is.'),
  certificateExpiry: timestamp().optional().describe('End of the server certificate that it has loaded.'),
  configurationGeneration: count().optional().describe('Generation of the configuration that it runs.'),
  image: text(512).optional().describe('Image that its PostgreSQL runs.'),
  pendingRestart: z.array(text(127)).max(256).optional().describe('Settings that take effect with the next restart.'),
  reason: text(128).optional().describe('Why it does what it does, as one constant word.'),
  message: text(1024).optional().describe('Why it does what it does, as a sentence.'),
});
export type GroupNodeStatus = z.infer<typeof nodeSchema>;

const lastFailoverSchema = z.strictObject({
  term: count().describe('The term that began.'),
  leader: text(63).describe('Who leads since then.'),
  formerLeader: text(63).describe('Who led before.'),
  reason: text(256).describe('Why: `silence`, `switchover` and so on.'),
  suspectedAt: timestamp().describe(
    'When the silence of the former leader was noticed; the times below count from here.',
  ),
  promisedMs: z.number().describe('Enough voters had promised, in milliseconds.'),
  swappedMs: z.number().describe('The record named the new leader, in milliseconds.'),
  promotedMs: z.number().describe('PostgreSQL was promoted, in milliseconds.'),
  loss: z
    .strictObject({
      lagBytes: z.number().min(0).describe('WAL that the former leader had told of and the new one did not hold.'),
      heardAt: timestamp().describe('What the former leader acknowledged after this, nobody has heard of.'),
    })
    .optional()
    .describe('With `replication.scope: group`, where another group took over: what may be gone. Absent: nothing.'),
  publishedMs: z
    .number()
    .optional()
    .describe('The first write had its quorum and clients were let in, in milliseconds.'),
});

const addressSchema = z.strictObject({
  service: text(63).describe('Name of the Service.'),
  purpose: z
    .enum(['write', 'read', 'group', 'node'])
    .describe('What answers: the leader, read nodes, any node for discovery, or one node.'),
  fqdn: text(253).optional().describe('Name outside of the Kubernetes cluster.'),
  hosts: z
    .array(text(253))
    .max(64)
    .describe('Addresses and host names that its load balancer got; empty: inside only.'),
  port: count().max(65_535).describe('Port of PostgreSQL.'),
});

const otherGroupSchema = z.strictObject({
  name: text(63).describe('Name of the group.'),
  known: z.boolean().describe('It has told of itself. False: it counts, and is taken in when it does.'),
  leads: z.boolean().describe('Its node is the leader.'),
  generation: count().optional().describe('Generation of what it told last.'),
  endpoint: text(320).optional().describe('Where its agents are asked.'),
  nodes: z
    .array(
      z.strictObject({
        name: text(63).describe('Name of the node.'),
        role: z.enum(['leader', 'follower', 'none']).describe('As for the nodes of this group.'),
        reachable: z.boolean().describe('Its agent answers the operator of this group.'),
        member: z.boolean().describe('It counts for the write quorum and votes.'),
      }),
    )
    .max(32)
    .describe('Its nodes.'),
  message: text(1024).optional().describe('Why it is silent.'),
});
export type OtherGroupStatus = z.infer<typeof otherGroupSchema>;

export const postgresGroupStatusSchema = z.strictObject({
  observedGeneration: count().optional().describe('Generation of the resource that this status is about.'),
  conditions: z.array(conditionSchema).max(16).optional().describe('The state of the group under five headings.'),
  reason: text(128).optional().describe('The one word to know first: `Healthy`, or why not.'),
  message: text(2048).optional().describe('The same as a sentence, and what to do.'),
  globalCluster: text(63).optional().describe('Name of the global cluster.'),
  leader: text(63).optional().describe('Node that leads the global cluster, in whichever group.'),
  phase: z
    .enum(['none', 'elected', 'published', 'handing-over', 'lost'])
    .optional()
    .describe('How far the leader is; `published`: open for clients.'),
  term: count().optional().describe('Term of the leader: grows with every change.'),
  timeline: count().optional().describe('Timeline on which the leader writes.'),
  members: z.array(text(63)).max(32).optional().describe('Nodes that count for the write quorum and vote.'),
  writeQuorum: count().optional().describe('So many members hold a commit before it is acknowledged.'),
  preferredLeader: z
    .strictObject({
      name: text(63).describe('As `spec.globalCluster.preferredLeader` names it.'),
      hasLed: z
        .boolean()
        .describe('It has led since it is named: the planned switchover is done. False: it is waited for.'),
    })
    .optional()
    .describe('What the operator remembers of the preferred leader; absent: none is named.'),
  paused: z.boolean().optional().describe('True: no election and no change of members takes place.'),
  instances: count().optional().describe('Nodes of this group that exist.'),
  readyInstances: count().optional().describe('Nodes of this group that serve.'),
  ready: text(16).optional().describe('Nodes that serve, of those wanted, such as `2/3`.'),
  selector: text(512).optional().describe('Selects the pods of the nodes, for the `scale` subresource.'),
  lag: text(32).optional().describe('The largest lag of a node of this group, such as `3 MiB`, as of the last look.'),
  proxies: z
    .strictObject({
      instances: count().describe('Proxies that exist.'),
      ready: count().describe('Proxies that take connections.'),
    })
    .optional()
    .describe('The proxies of this group.'),
  nodes: z.array(nodeSchema).max(32).optional().describe('The nodes of this group.'),
  groups: z
    .array(otherGroupSchema)
    .max(31)
    .optional()
    .describe('The other groups of the global cluster, as seen from here; absent: this one stands alone.'),
  addresses: z.array(addressSchema).max(128).optional().describe('Where clients and other groups connect.'),
  lastFailover: lastFailoverSchema
    .optional()
    .describe('The last change of leader that a node of this group carried out.'),
  survives: z.array(text(1024)).max(32).optional().describe('What the group survives now, in sentences.'),
  doesNotSurvive: z.array(text(1024)).max(32).optional().describe('What it does not survive now, in sentences.'),
  certificateAuthorityExpiry: timestamp().optional().describe('End of the CA certificate that signs today.'),
});
export type PostgresGroupStatus = z.infer<typeof postgresGroupStatusSchema>;
