/** What stands between applications and PostgreSQL: `.spec.proxySettings` and `.spec.pooler` (requirements A4, A5, G). */
import * as z from 'zod';
import { durationSchema, objectRefSchema, secretKeyRefSchema } from './postgres-group-values.ts';

export const proxySettingsSchema = z.strictObject({
  instances: z
    .int()
    .min(0)
    .max(16)
    .default(2)
    .describe('Number of proxies of this group; two, so that one can be replaced while the other serves.'),
  enableReadNodeRouting: z
    .boolean()
    .default(false)
    .describe('Publish `<group>-r`, where applications reach the read nodes.'),
  allowLeaderReads: z.boolean().default(true).describe('The read route uses the leader if no read node can serve.'),
  connectionsMax: z
    .int()
    .min(1)
    .max(1_000_000)
    .default(10_000)
    .describe('Open connections of one proxy; more are refused at once.'),
  holdTimeout: durationSchema
    .prefault('30s')
    .describe('How long a new connection waits for a leader before it is refused. 0s: never.'),
  heldConnectionsMax: z
    .int()
    .min(0)
    .max(1_000_000)
    .default(1000)
    .describe('How many connections may wait for a leader at once.'),
  connectTimeout: durationSchema.prefault('5s').describe('Limit for a connection to a node.'),
  drainTimeout: durationSchema
    .prefault('30s')
    .describe('How long a proxy that is asked to stop lets open sessions end by themselves.'),
  proxyProtocolFrom: z
    .array(z.union([z.cidrv4(), z.cidrv6()], { error: 'a range such as "10.0.0.0/8"' }))
    .max(64)
    .default([])
    .describe('Load balancers from which the PROXY protocol, version 2, is expected, as ranges.'),
});

const pgpoolSchema = z.strictObject({
  backends: z
    .enum(['nodes', 'services'])
    .default('nodes')
    .describe(
      '`nodes`: one backend for each node, so that the delay of each is known; `services`: the two of the manual of Pgpool-II, for writes and for reads.',
    ),
  env: z
    .array(
      z.strictObject({
        name: z
          .string()
          .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'the name of an environment variable')
          .describe('Name, such as `PGPOOL_PARAMS_NUM_INIT_CHILDREN`.'),
        value: z.string().optional().describe('Value.'),
        valueFrom: z
          .strictObject({ secretKeyRef: secretKeyRefSchema.describe('A key of a Secret.') })
          .optional()
          .describe('Where the value comes from.'),
      }),
    )
    .max(256)
    .default([])
    .describe('Environment variables: `PGPOOL_PARAMS_*`, and `<prefix>_USERNAME` with `<prefix>_PASSWORD`.'),
  configMapRef: objectRefSchema.optional().describe('ConfigMap with `pgpool.conf` and `pool_hba.conf`.'),
  parameters: z
    .record(z.string(), z.union([z.string(), z.number(), z.boolean()]).transform(String).pipe(z.string()))
    .default({})
    .describe('Settings of pgpool.conf.'),
});

export const poolerSchema = z.strictObject({
  type: z.enum(['pgpool']).describe('The program: `pgpool` (Pgpool-II).'),
  instances: z.int().min(1).max(16).default(1).describe('Number of pods.'),
  imageName: z.string().min(1).max(512).optional().describe('Image of Pgpool-II.'),
  pgpool: pgpoolSchema.prefault({}).describe('Settings of Pgpool-II.'),
});
