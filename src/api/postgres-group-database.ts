/** The parts of `.spec` that reach into PostgreSQL: first database, roles, configuration, replication (requirements A10, E, F). */
import * as z from 'zod';
import {
  byteQuantitySchema,
  durationSchema,
  endpointUrlSchema,
  identifierSchema,
  objectNameSchema,
  objectRefSchema,
  resourcesSchema,
} from './postgres-group-values.ts';

export const bootstrapSchema = z.strictObject({
  database: identifierSchema
    .optional()
    .describe('Database that is made at the start. Default: app. The same in all groups.'),
  owner: identifierSchema
    .optional()
    .describe('User that owns it, with whom applications log in. Default: app. The same in all groups.'),
  secretRef: objectRefSchema
    .optional()
    .describe('Secret with `username` and `password` of the owner; default: `<group>-app`, generated.'),
});

/** What may follow `WITH` in CREATE ROLE. SUPERUSER needs enableSuperuserAccess; REPLICATION would read all data. */
const ROLE_ATTRIBUTES = [
  'LOGIN',
  'NOLOGIN',
  'CREATEDB',
  'NOCREATEDB',
  'CREATEROLE',
  'NOCREATEROLE',
  'INHERIT',
  'NOINHERIT',
  'REPLICATION',
  'NOREPLICATION',
  'BYPASSRLS',
  'NOBYPASSRLS',
  'SUPERUSER',
  'NOSUPERUSER',
] as const;

export const roleSchema = z.strictObject({
  name: identifierSchema.describe('Name of the role.'),
  attributes: z
    .array(z.string().toUpperCase().pipe(z.enum(ROLE_ATTRIBUTES)))
    .prefault(['LOGIN'])
    .describe(
      `Attributes as in CREATE ROLE: ${ROLE_ATTRIBUTES.filter((word) => !word.startsWith('NO')).join(', ')}, or NO before one.`,
    ),
  secretRef: objectRefSchema
    .optional()
    .describe('Secret with `password`; without it the role cannot log in by password.'),
});

export const postgresqlSchema = z.strictObject({
  parameters: z
    .record(
      z
        .string()
        .max(127)
        .regex(/^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?$/, 'the name of a setting such as "work_mem"'),
      z
        .union([z.string().max(8192), z.number(), z.boolean()], { error: 'a text, a number or true or false' })
        .transform((value) => (typeof value === 'boolean' ? (value ? 'on' : 'off') : String(value)))
        .pipe(z.string()),
    )
    .default({})
    .describe(
      'Settings of postgresql.conf. They win over what pgspan tunes; those that pgspan owns are refused with the reason.',
    ),
  pg_hba: z
    .array(z.string().min(1).max(2048))
    .max(256)
    .default([])
    .describe(
      'Lines of pg_hba.conf, placed after those of pgspan and before its last one, which lets every user in by `hostssl` and SCRAM.',
    ),
  pg_ident: z
    .array(z.string().min(1).max(2048))
    .max(256)
    .default([])
    .describe('Lines of pg_ident.conf, for maps that your pg_hba lines name.'),
  configMapRef: objectRefSchema
    .optional()
    .describe('ConfigMap with `postgresql.conf` and `pg_hba.conf`, for the same as the fields above; the fields win.'),
});

export const coordinationSchema = z.strictObject({
  store: z
    .enum(['platform', 'kubernetes', 'local', 'etcd'])
    .optional()
    .describe(
      "Where the record of the leader is kept: `kubernetes` (a Lease of this cluster), `etcd` (three sites), `local` (a process of the local platform). Default `platform`: the platform's own. The same in all groups.",
    ),
  etcd: z
    .strictObject({
      endpoints: z
        .array(endpointUrlSchema)
        .min(1)
        .max(9)
        .describe('URLs of the members, such as `https://etcd-1.example.com:2379`.'),
      keyPrefix: z
        .string()
        .min(1)
        .max(256)
        .regex(/^\/[-A-Za-z0-9._/]*$/, 'a path such as "/pgspan"')
        .default('/pgspan')
        .describe('The record is kept below it.'),
      secretRef: objectRefSchema
        .optional()
        .describe('Secret with `ca.crt`, `tls.crt` and `tls.key` for etcd; default: the certificates of the group.'),
    })
    .optional()
    .describe('An etcd of yours; without it, pgspan runs one member for each group.'),
  etcdMember: z
    .strictObject({
      imageName: z
        .string()
        .min(1)
        .max(512)
        .default('quay.io/coreos/etcd:v3.6.5')
        .describe('Image with the program `etcd`, 3.4 or later.'),
      storage: z
        .strictObject({
          size: byteQuantitySchema.prefault('2Gi').describe('Size of its volume.'),
          storageClass: objectNameSchema
            .optional()
            .describe("Class of its volume, a fast one if there is a choice; default: the cluster's own."),
        })
        .prefault({})
        .describe('Its volume.'),
      resources: resourcesSchema.prefault({}).describe('Its processors and memory. Default requests: 50m and 96Mi.'),
    })
    .prefault({})
    .describe("pgspan's own member of etcd in this group. (Kubernetes only.)"),
  preset: z
    .enum(['lan', 'wan'])
    .optional()
    .describe(
      'Numbers for failure detection and fence: `lan` 1 s and 3 s (default), `wan` 3 s and 9 s. The same in all groups.',
    ),
  detectionMs: z
    .int()
    .min(300)
    .max(60_000)
    .optional()
    .describe(
      "Silence of the leader after which it is suspected, in milliseconds. Default: the preset's. The same in all groups.",
    ),
  fenceMs: z
    .int()
    .min(600)
    .max(180_000)
    .optional()
    .describe(
      "A leader that hears neither enough members nor the record for so long stops, in milliseconds. Default: the preset's. The same in all groups.",
    ),
  priority: z
    .int()
    .min(0)
    .max(1000)
    .default(100)
    .describe(
      'Of candidates with equal data the one with the higher priority leads. 0: nodes of this group never lead.',
    ),
});

export const replicationSchema = z.strictObject({
  minCopies: z
    .int()
    .min(1)
    .max(32)
    .optional()
    .describe(
      'Writes are acknowledged only while at least so many nodes hold them. Default: 2 from three voting nodes on, else 1. The same in all groups.',
    ),
  memberTimeout: durationSchema
    .optional()
    .describe(
      'A standby that has been lost for so long no longer counts for the write quorum, so that writes go on as far as minCopies allows. Default 30s. The same in all groups.',
    ),
  scope: z
    .enum(['global', 'group'])
    .optional()
    .describe(
      "Which nodes acknowledge commits: those of all groups (default), or those of the leader's group only, which is faster over wide links and may lose writes with the group. The same in all groups.",
    ),
  surviveSiteLoss: z
    .boolean()
    .optional()
    .describe(
      'Choose the write quorum so that the loss of any one group loses no acknowledged write. Default: true if two or more groups vote. The same in all groups.',
    ),
  relay: z
    .boolean()
    .optional()
    .describe(
      'While this group does not lead, one of its nodes streams from the leader, over the wide link, and votes; the others stream from that one and do not vote. Of this group alone. Default: false.',
    ),
  maximumLag: byteQuantitySchema
    .optional()
    .describe(
      'With `scope: group`: how far a node of another group may be behind and still take over by itself. Default 16Mi. The same in all groups.',
    ),
});
