/** `.spec.connectivity.tls` (requirement B). Without a source of certificates, the built-in CA is used (B4). */
import * as z from 'zod';
import { durationSchema, objectNameSchema, objectRefSchema } from './postgres-group-values.ts';

const issuerRefSchema = z.strictObject({
  name: objectNameSchema.describe('Name of the issuer.'),
  kind: z.string().min(1).max(63).default('Issuer').describe('`Issuer` or `ClusterIssuer`.'),
  group: z.string().min(1).max(253).default('cert-manager.io').describe('API group of the issuer.'),
});

const certManagerShape = {
  issuerRef: issuerRefSchema.describe('The issuer of cert-manager that signs.'),
  duration: durationSchema.optional().describe("Lifetime of a certificate; default: the issuer's."),
  renewBefore: durationSchema
    .optional()
    .describe("How long before its end a certificate is renewed; default: the issuer's."),
};

/** A name in a certificate may be a wildcard, which no other name in a manifest may. */
const altNameSchema = z
  .string()
  .max(253)
  .regex(/^(\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/, 'a DNS name such as "db.example.com" or "*.example.com"');

const serverCertSchema = z.strictObject({
  certManager: z
    .strictObject({
      ...certManagerShape,
      names: z
        .enum(['all', 'public'])
        .default('all')
        .describe(
          '`public` for issuers that sign no names of Services, such as ACME: the certificates carry FQDNs only, so servers and clients must use those.',
        ),
      altDnsNames: z
        .array(altNameSchema)
        .max(64)
        .default([])
        .describe('Names in addition to those that pgspan derives.'),
    })
    .optional()
    .describe('cert-manager issues one server certificate for each node.'),
  caCertSecret: objectNameSchema
    .optional()
    .describe('Secret whose `ca.crt` verifies the server certificates; default: what the issuer puts beside them.'),
});

const clientCertSchema = z.strictObject({
  certManager: z
    .strictObject(certManagerShape)
    .optional()
    .describe('cert-manager issues the client certificate of `streaming_replica`.'),
  caCertSecret: objectNameSchema.optional().describe('Secret whose `ca.crt` verifies client certificates.'),
  preProvisioned: z
    .strictObject({
      streamingReplica: z
        .strictObject({
          secretRef: objectRefSchema.describe(
            'Secret with `tls.crt` and `tls.key` for CN `streaming_replica`. A change is loaded without a restart.',
          ),
        })
        .describe('The replication user.'),
    })
    .optional()
    .describe('Client certificates that somebody else provides.'),
});

const entryCertSchema = z.strictObject({
  certManager: z
    .strictObject(certManagerShape)
    .optional()
    .describe('cert-manager issues it, for example from an ACME issuer.'),
  secretRef: objectRefSchema.optional().describe('Secret with `tls.crt` and `tls.key`.'),
});

export const tlsSchema = z.strictObject({
  mode: z
    .enum(['verify-full', 'verify-ca', 'require', 'required'])
    .transform((mode) => (mode === 'required' ? 'require' : mode))
    .prefault('verify-full')
    .describe(
      'What a server verifies of the server that it connects to: name and CA, CA only, or nothing (`required` is the same as `require`). All traffic is TLS in each mode.',
    ),
  serverCert: serverCertSchema.prefault({}).describe('Where server certificates come from.'),
  clientCert: clientCertSchema.prefault({}).describe('Where the client certificate of `streaming_replica` comes from.'),
  entryCert: entryCertSchema
    .optional()
    .describe(
      'A publicly trusted certificate for the entry of clients (gateway, pooler), while the nodes stay on a private CA. It carries the FQDNs of the proxies. Default: none, TLS runs through to PostgreSQL.',
    ),
});
