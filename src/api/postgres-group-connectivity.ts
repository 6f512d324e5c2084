/**
 * `.spec.connectivity`: names, services, traffic, load balancers (requirements A and C). TLS is in postgres-group-tls.ts.
 */
import * as z from 'zod';
import { tlsSchema } from './postgres-group-tls.ts';
import { domainSchema, hostSuffixSchema } from './postgres-group-values.ts';

const dnsEntryShape = {
  domain: domainSchema.describe(
    'Domain of the names of this group: the FQDN of a service is `<service><hostSuffix>.<domain>`.',
  ),
  hostSuffix: hostSuffixSchema
    .default('')
    .describe('Appended to the name of every service in its FQDN, for example to mark a location: `-west`.'),
};

const dnsSchema = z.strictObject({
  ...dnsEntryShape,
  additional: z
    .array(z.strictObject(dnsEntryShape))
    .max(8, 'at most 8 additional domains, since each certificate carries every name in each of them')
    .default([])
    .describe('More domains under which the same services are published; the certificates carry these names too.'),
});

const stringMapSchema = z.record(z.string(), z.string());

/** A full Service is meant; the API server checks its spec, we check what we rely on (core/topology/service-template.ts). */
const serviceTemplateSchema = z.strictObject({
  metadata: z
    .strictObject({
      labels: stringMapSchema
        .optional()
        .describe('Labels; `{node}`, `{group}`, `{service}` and `{fqdn}` are filled in.'),
      annotations: stringMapSchema
        .optional()
        .describe('Annotations; `{node}`, `{group}`, `{service}` and `{fqdn}` are filled in.'),
    })
    .optional()
    .describe('Labels and annotations, for example for external-dns.'),
  spec: z
    .record(z.string(), z.unknown())
    .optional()
    .describe(
      'A ServiceSpec of Kubernetes. It may not change the selector, nor what listens on the port of PostgreSQL.',
    ),
  updateStrategy: z
    .enum(['patch', 'replace'])
    .default('patch')
    .describe(
      '`patch` merges the template over the generated Service; `replace` takes its spec, labels and annotations instead.',
    ),
});
export type ServiceTemplate = z.infer<typeof serviceTemplateSchema>;

const splitDnsSchema = z.strictObject({
  extraRules: z
    .array(
      z.strictObject({
        host: z
          .string()
          .min(1)
          .max(1024)
          .describe('Name that is asked for, or a regular expression for the whole name.'),
        result: z
          .string()
          .min(1)
          .max(1024)
          .describe('Address, or name whose addresses are answered; `${1}` is the first group of the expression.'),
        regex: z.boolean().default(false).describe('True: `host` is a regular expression.'),
      }),
    )
    .max(256)
    .default([])
    .describe('Further rules, first match wins, after those of pgspan; for example for addresses of a peered network.'),
});

const loadBalancerSchema = z.strictObject({
  enabled: z
    .boolean()
    .default(false)
    .describe('Publish this group outside of its Kubernetes cluster by load balancers.'),
  scope: z
    .enum(['group', 'node'])
    .default('group')
    .describe(
      '`group`: one for the proxies; `node`: also one for each node, which servers of other clusters then dial.',
    ),
  allowedIPs: z
    .array(
      z.union([z.cidrv4(), z.cidrv6(), z.ipv4(), z.ipv6()], {
        error: 'an address or a range such as "203.0.113.0/24"',
      }),
    )
    .max(256)
    .default([])
    .describe('Who may connect: addresses and ranges. Empty: everybody.'),
  loadBalancerClass: z
    .string()
    .min(1)
    .max(317)
    .optional()
    .describe("Class of the load balancer; default: the cluster's own."),
});

/** A NetworkPolicyPeer of Kubernetes; the API server checks what is in its selectors. */
const networkPeerSchema = z.strictObject({
  podSelector: z.record(z.string(), z.unknown()).optional().describe('Pods with these labels.'),
  namespaceSelector: z.record(z.string(), z.unknown()).optional().describe('Namespaces with these labels.'),
  ipBlock: z
    .strictObject({
      cidr: z
        .union([z.cidrv4(), z.cidrv6()], { error: 'a range such as "10.0.0.0/8"' })
        .describe('Range of addresses.'),
      except: z.array(z.string().max(50)).max(32).optional().describe('Ranges in it that are left out.'),
    })
    .optional()
    .describe('Addresses.'),
});

const networkPolicySchema = z.strictObject({
  enabled: z
    .boolean()
    .default(false)
    .describe(
      'Make NetworkPolicies: PostgreSQL is reached by the proxies, poolers and nodes of this global cluster, and what the load balancers let in; the proxies by `clients`.',
    ),
  clients: z
    .array(networkPeerSchema)
    .max(64)
    .default([])
    .describe('Who may connect to the proxies, as in `from` of a NetworkPolicy. Empty: everybody.'),
});

export const connectivitySchema = z.strictObject({
  dns: dnsSchema.describe('Names outside of the Kubernetes cluster.'),
  internodeTrafficStrategy: z
    .enum(['ServiceName', 'FQDN', 'SplitDNS'])
    .default('ServiceName')
    .describe(
      'How servers dial each other: by the name of the Service, by FQDN, or by FQDN with a resolver beside each server that answers local names with the address of the pod.',
    ),
  clientTrafficStrategy: z
    .enum(['ServiceName', 'FQDN'])
    .default('FQDN')
    .describe('Which names clients are given: those of Services, or FQDNs.'),
  nodeServiceTemplate: serviceTemplateSchema
    .optional()
    .describe('Template of the Service of each node, `<group>-<n>`.'),
  groupServiceTemplate: serviceTemplateSchema
    .optional()
    .describe('Template of the Service for discovery, `<group>-group`.'),
  proxyServiceTemplate: serviceTemplateSchema
    .optional()
    .describe('Template of the Service for writes, `<group>`, and of the global one.'),
  proxyReadServiceTemplate: serviceTemplateSchema
    .optional()
    .describe('Template of the Service for reads, `<group>-r`, and of the global one.'),
  loadBalancer: loadBalancerSchema.prefault({}).describe('Load balancers.'),
  networkPolicy: networkPolicySchema
    .prefault({})
    .describe('Which pods may connect to those of this group. (Kubernetes only.)'),
  splitDNS: splitDnsSchema
    .prefault({})
    .describe('The resolver beside each server; only with `internodeTrafficStrategy: SplitDNS`.'),
  tls: tlsSchema
    .prefault({})
    .describe(
      'Certificates and their verification. Without any source given, a CA of this group issues and renews all of them.',
    ),
});
