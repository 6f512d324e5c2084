/**
 * The resource `PostgresGroup` (`pgspan.io/v1alpha1`): all that a user can say about the PostgreSQL nodes of one Kubernetes
 * cluster. One schema; types, JSON Schema, reference page and (on Kubernetes) the CRD are made from it.
 *
 * Here is what one manifest may hold. What must fit between fields and between groups is in core/topology/validate.ts;
 * how a refusal reads is in manifest-error.ts. Sections are in the files beside this one.
 *
 * A field that must be the same in all groups of a global cluster has no default here, though its description names one:
 * a group that leaves it out takes what another group says.
 */
import * as z from 'zod';
import { connectivitySchema } from './postgres-group-connectivity.ts';
import {
  bootstrapSchema,
  coordinationSchema,
  postgresqlSchema,
  replicationSchema,
  roleSchema,
} from './postgres-group-database.ts';
import { poolerSchema, proxySettingsSchema } from './postgres-group-routing.ts';
import { schedulingSchema } from './postgres-group-scheduling.ts';
import {
  byteQuantitySchema,
  durationSchema,
  groupNameSchema,
  hostNameSchema,
  namespaceSchema,
  nodeOrGroupNameSchema,
  objectNameSchema,
  objectRefSchema,
  resourcesSchema,
  secretKeyRefSchema,
} from './postgres-group-values.ts';

export const API_VERSION = 'pgspan.io/v1alpha1';
export const KIND = 'PostgresGroup';

const stringMapSchema = z.record(z.string(), z.string());

/** Keys that Kubernetes adds to what it stores: accepted, so that `kubectl get -o yaml` can be read back, and ignored. */
const serverMetadataShape = {
  annotations: stringMapSchema.optional().describe('Annotations.'),
  creationTimestamp: z.unknown().optional(),
  deletionGracePeriodSeconds: z.unknown().optional(),
  deletionTimestamp: z.unknown().optional(),
  finalizers: z.unknown().optional(),
  generation: z.unknown().optional(),
  managedFields: z.unknown().optional(),
  ownerReferences: z.unknown().optional(),
  resourceVersion: z.unknown().optional(),
  selfLink: z.unknown().optional(),
  uid: z.unknown().optional(),
};

const metadataSchema = z.strictObject({
  name: groupNameSchema.describe('Name of the group; unique in the global cluster.'),
  namespace: namespaceSchema.default('default').describe('Namespace.'),
  labels: stringMapSchema.optional().describe('Labels.'),
  ...serverMetadataShape,
});

const storageSchema = z.strictObject({
  size: byteQuantitySchema.prefault('10Gi').describe('Size of the volume of each node. It can grow.'),
  storageClass: objectNameSchema.optional().describe("Class of the volumes; default: the cluster's own."),
  retain: z.boolean().default(true).describe('Keep the volumes when the group is deleted.'),
});

const peerGroupSchema = z.strictObject({
  group: groupNameSchema.describe('Name of the other group.'),
  endpoint: hostNameSchema
    .optional()
    .describe('Host name of its group service; default: its name under the traffic strategy.'),
  port: z.int().min(1).max(65535).optional().describe('Port there.'),
  caBundle: z.string().max(65536).optional().describe('CA certificates of that group, PEM.'),
});

const preferredLeaderSchema = z.strictObject({
  name: nodeOrGroupNameSchema.describe(
    'A node, or a group of which any node will do. A new name is a planned switchover, done once, as soon as the node may lead and every member is well.',
  ),
  switchBack: z
    .enum(['Never', 'WhenHealthy'])
    .optional()
    .describe(
      '`WhenHealthy`: whenever another node leads, the lead goes back when the preferred one has been well for `after`. `Never` (default): a failover or `pgspan switchover` leaves the lead where it is.',
    ),
  after: durationSchema
    .optional()
    .describe(
      'With `WhenHealthy`: so long the preferred node streams and votes without a break before it leads again. Default 10m.',
    ),
});

const globalClusterSchema = z.strictObject({
  name: groupNameSchema
    .optional()
    .describe(
      "Name of the global cluster, and of the services that reach its leader from everywhere. It differs from every group's name and cannot be changed. Default: `<group>-global`.",
    ),
  primaryGroup: groupNameSchema
    .optional()
    .describe(
      "Group that makes the database, and that leads where the record's store cannot decide between Kubernetes clusters. Default: the first group. The same in all groups.",
    ),
  preferredLeader: preferredLeaderSchema
    .optional()
    .describe(
      'Who shall lead, while all is well. Default: whoever leads goes on. Never against data or votes: the condition `PreferredLeader` says what it waits for. The same in all groups. (Kubernetes only.)',
    ),
  peers: z
    .array(peerGroupSchema)
    .max(31)
    .default([])
    .describe('The other groups, with endpoints and CA bundles: joining by manifests.'),
  join: z
    .strictObject({
      tokenSecretRef: secretKeyRefSchema.describe('Secret with the token that `pgspan invite` printed.'),
    })
    .optional()
    .describe('Join the global cluster of a group that invited this one.'),
  discovery: z
    .array(hostNameSchema)
    .max(31)
    .default([])
    .describe('Host names of group services where the other groups are found.'),
  credentialsSecretRef: objectRefSchema
    .optional()
    .describe('Secret with the credentials of the application, the same in every group.'),
});

const specSchema = z.strictObject({
  instances: z
    .int()
    .min(0)
    .max(32)
    .default(3)
    .describe(
      'Number of PostgreSQL nodes of this group. 0: a witness group, which holds no data and completes the quorum of the record. An even number survives no more losses than one less.',
    ),
  imageName: z
    .string()
    .min(1)
    .max(512)
    .default('postgres:18')
    .describe('Image of PostgreSQL, 15 to 18. (The local platform uses the PostgreSQL of the machine.)'),
  resources: resourcesSchema.prefault({}).describe('Processors and memory of each node.'),
  storage: storageSchema.prefault({}).describe('Volume of each node.'),
  scheduling: schedulingSchema.prefault({}).describe('Where the pods of this group run. (Kubernetes only.)'),
  role: z
    .enum(['readWrite', 'readOnly'])
    .default('readWrite')
    .describe('`readOnly`: nodes of this group stream and serve reads, but never vote or lead.'),
  globalCluster: globalClusterSchema.prefault({}).describe('The database that this group is part of.'),
  connectivity: connectivitySchema.describe('Names, traffic and TLS.'),
  coordination: coordinationSchema.prefault({}).describe('How the leader is chosen.'),
  replication: replicationSchema.prefault({}).describe('When a commit is acknowledged.'),
  bootstrap: bootstrapSchema.prefault({}).describe('What is made at the start.'),
  roles: z.array(roleSchema).max(256).default([]).describe('Roles that are made and kept.'),
  enableSuperuserAccess: z
    .boolean()
    .default(false)
    .describe('Let `postgres` log in from remote, over TLS, with the password in Secret `<group>-superuser`.'),
  postgresql: postgresqlSchema.prefault({}).describe('Configuration of PostgreSQL.'),
  proxySettings: proxySettingsSchema.prefault({}).describe('The proxies of this group.'),
  pooler: poolerSchema.optional().describe('A pooler in front of the group. Default: none.'),
});

export const postgresGroupSchema = z.strictObject({
  apiVersion: z.literal(API_VERSION).describe('Version of this resource.'),
  kind: z.literal(KIND).describe('Kind of this resource.'),
  metadata: metadataSchema.describe('Name and labels.'),
  spec: specSchema.describe('What is wanted.'),
  status: z.unknown().optional(),
});

/** A group as the programs use it: defaults filled in. */
export type PostgresGroup = z.output<typeof postgresGroupSchema>;
/** A group as a user writes it. */
export type PostgresGroupManifest = z.input<typeof postgresGroupSchema>;
export type GroupSpec = PostgresGroup['spec'];
export type TrafficStrategy = GroupSpec['connectivity']['internodeTrafficStrategy'];
export type ClientTrafficStrategy = GroupSpec['connectivity']['clientTrafficStrategy'];
export type DnsEntry = { readonly domain: string; readonly hostSuffix: string };

/** Name of the global cluster of a group: what it says, else `<group>-global`. */
export function globalClusterName(group: PostgresGroup): string {
  return group.spec.globalCluster.name ?? `${group.metadata.name}-global`;
}
