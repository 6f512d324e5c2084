/**
 * The files that a platform puts beside an agent: all that it needs without asking anybody (design.md section 9).
 * Both platforms write them from the same plan; an agent reloads them on SIGHUP (local) or when the file changes.
 * While a cluster is upgraded an agent may find the file of a newer version: fields that it does not know are passed over.
 */
import * as z from 'zod';

const nameSchema = z.string().min(1).max(63);
const portSchema = z.int().min(1).max(65535);

/** How to dial one endpoint: `host` is verified against the certificate; `address`, if known, is dialled instead of resolving. */
export const endpointSchema = z.object({
  host: z.string().min(1).max(253),
  /** IP address, or null: resolve `host`. */
  address: z.string().nullable(),
  /** Another name of the same server, dialled where what `host` leads to does not answer. `host` is verified all the same. */
  otherwise: z.string().optional(),
  port: portSchema,
});
export type Endpoint = z.infer<typeof endpointSchema>;

export const tlsFilesSchema = z.object({
  /** Server certificate and key of this program (PEM paths); also its client certificate towards other agents. */
  certFile: z.string(),
  keyFile: z.string(),
  /** The trust bundle of all groups. */
  caFile: z.string(),
});

export const peerSchema = z.object({
  node: nameSchema,
  group: nameSchema,
  /** PostgreSQL of that node. */
  postgres: endpointSchema,
  /** Agent of that node. */
  agent: endpointSchema,
  /** Candidates of equal position: higher leads. 0: never leads. */
  priority: z.int().min(0).max(1000),
  /** False for read-only groups: never in M. */
  votes: z.boolean(),
  /** Its group has a relay: while the group does not lead, one node of it streams from the leader and the others from that one. */
  relay: z.boolean().optional(),
});
export type Peer = z.infer<typeof peerSchema>;

export const storeConfigSchema = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('local'), endpoint: endpointSchema }),
  z.object({
    kind: z.literal('etcd'),
    endpoints: z.array(endpointSchema).min(1).max(9),
    /** Key of the record. */
    key: z.string().min(1).max(512),
    /** PEM paths when etcd has a CA and client certificates of its own; null: the agent's own. */
    tls: tlsFilesSchema.nullable(),
    /** False: plain HTTP, for benchmarks beside peers that use it. */
    secure: z.boolean(),
  }),
  z.object({
    kind: z.literal('lease'),
    /** The Kubernetes API; null: where the environment of a container says. */
    endpoint: endpointSchema.nullable(),
    namespace: nameSchema,
    /** Name of the Lease; the operator makes it. */
    name: nameSchema,
    /** Token of the service account and CA of the API server, as the kubelet mounts and renews them. */
    tokenFile: z.string(),
    caFile: z.string(),
  }),
]);
export type StoreConfig = z.infer<typeof storeConfigSchema>;

/** Numbers of detection and fence, in milliseconds. */
export const timingSchema = z.object({
  detectionMs: z.int().min(300).max(60_000),
  fenceMs: z.int().min(600).max(180_000),
  memberTimeoutMs: z.int().min(1000),
});
export type Timing = z.infer<typeof timingSchema>;

export const instanceConfigSchema = z.object({
  globalCluster: nameSchema,
  group: nameSchema,
  node: nameSchema,
  /** Grows with each change; the agent reports the one that it runs. */
  generation: z.int().min(1),
  /** This node makes the first database when there is no record and nobody has data. True for exactly one node of the global cluster. */
  bootstraps: z.boolean(),
  /** Where things lie; all absolute. */
  paths: z.object({
    /** Folder that holds initdb, postgres, pg_basebackup, pg_rewind; "auto": where they are found, that of the data's version first. */
    postgresBin: z.string(),
    /** PGDATA; inside a folder of its own (a mount may hold lost+found). */
    dataDirectory: z.string(),
    /** The agent's own durable state: the promise. Outside PGDATA, on the same volume. */
    stateDirectory: z.string(),
    /** Sockets and heartbeat files; short (a socket's path has at most 107 bytes), lost with a reboot. */
    runtimeDirectory: z.string(),
    /** PostgreSQL's log file; null: inherits the agent's stderr. */
    postgresLog: z.string().nullable(),
  }),
  listen: z.object({
    /** Address to bind for PostgreSQL, agent and forwarder, and the source of every connection that this node makes; null: all addresses. */
    address: z.string().nullable(),
    postgresPort: portSchema,
    agentPort: portSchema,
    /** The path: where this node's own PostgreSQL reaches its leader through the agent (leadership.md rule 3). */
    pathPort: portSchema,
  }),
  tls: tlsFilesSchema.extend({
    /** Client certificate with CN streaming_replica. */
    replicationCertFile: z.string(),
    replicationKeyFile: z.string(),
  }),
  /** `sslmode` for connections between nodes. */
  sslMode: z.enum(['verify-full', 'verify-ca', 'require']),
  /** All nodes with data, this one included. */
  peers: z.array(peerSchema).min(1).max(64),
  store: storeConfigSchema,
  timing: timingSchema,
  replication: z.object({
    minCopies: z.int().min(1).max(32),
    /** Largest number of voting members in one site if the loss of a site must be survived, else 0. */
    siteMembersMax: z.int().min(0).max(32),
    /** `group`: M is in the leader's group, and the lease rule holds. */
    scope: z.enum(['global', 'group']).default('global'),
    /** With `scope: group`: bytes of WAL that the next leader of another group may lack. */
    maximumLagBytes: z
      .int()
      .min(0)
      .default(16 * 1024 * 1024),
  }),
  postgresql: z.object({
    /** Settings of the plan, in PostgreSQL's own spelling, without quotes. The agent adds only what changes with the leader. */
    parameters: z.record(z.string(), z.string()),
    /** Lines of pg_hba.conf, first match wins. */
    hba: z.array(z.string()),
    /** Lines of pg_ident.conf. */
    ident: z.array(z.string()),
  }),
  bootstrap: z.object({
    database: nameSchema,
    owner: nameSchema,
    /** File that holds the owner's password and nothing else (owner-only). */
    ownerPasswordFile: z.string(),
    superuserPasswordFile: z.string().nullable(),
  }),
  /** Roles that the leader makes and keeps. */
  roles: z
    .array(
      z.object({
        name: nameSchema,
        /** As in CREATE ROLE. */
        attributes: z.array(z.string().regex(/^[A-Z]{1,20}$/)).max(32),
        /** File that holds the password and nothing else; null: no login by password. */
        passwordFile: z.string().nullable(),
      }),
    )
    .max(256)
    .default([]),
});
export type InstanceConfig = z.infer<typeof instanceConfigSchema>;

export const proxyConfigSchema = z.object({
  globalCluster: nameSchema,
  group: nameSchema,
  /** Name of this proxy, `<group>-proxy-<n>`. */
  name: nameSchema,
  generation: z.int().min(1),
  listen: z.object({
    write: z.object({ address: z.string().nullable(), port: portSchema }),
    /** null: read routing is off. */
    read: z.object({ address: z.string().nullable(), port: portSchema }).nullable(),
    /** /livez, /readyz, /metrics over HTTPS. */
    health: z.object({ address: z.string().nullable(), port: portSchema }),
    /** Accept PROXY protocol v2 on the client ports, and from whom (CIDR); empty: never. */
    proxyProtocolFrom: z.array(z.string()),
  }),
  /** Source address of the connections to backends and agents; null: the system's choice. */
  sourceAddress: z.string().nullable(),
  tls: tlsFilesSchema,
  peers: z.array(peerSchema).min(1).max(64),
  /** Read route: the leader only if no read node can serve. */
  readFallsBackToLeader: z.boolean(),
  /** Named limits; defaults and reasons in core. */
  limits: z.object({
    connectionsMax: z.int().min(1),
    holdMs: z.int().min(0),
    heldConnectionsMax: z.int().min(0),
    connectTimeoutMs: z.int().min(100),
    firstBytesTimeoutMs: z.int().min(100),
    drainMs: z.int().min(0),
  }),
});
export type ProxyConfig = z.infer<typeof proxyConfigSchema>;
