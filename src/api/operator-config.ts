/**
 * What the operator is told (`pgspan operator --config FILE`); the install file writes it (platform/kubernetes/install).
 * Which of two replicas acts is settled by a Lease of its own namespace; its own name is in the variable POD_NAME.
 */
import * as z from 'zod';
import { namespaceSchema, objectNameSchema } from './postgres-group-values.ts';

export const operatorConfigSchema = z.strictObject({
  /** pgspan's own image, which proxies run and an init container takes the agent out of. */
  programImage: z.string().min(1).max(512),
  imagePullPolicy: z.enum(['IfNotPresent', 'Always', 'Never']).optional(),
  /** Its own namespace: the Lease of its leader election is there. */
  namespace: namespaceSchema,
  /** Its own ServiceAccount. */
  serviceAccount: objectNameSchema,
  /** Empty: all namespaces. */
  watchNamespaces: z.array(namespaceSchema).max(256).default([]),
  /**
   * Name of the ClusterRole with what it needs where groups are; it binds itself to it with the first group of a namespace
   * (docs/decisions/operator-rights.md). Null: somebody has bound it already.
   */
  namespaceRole: objectNameSchema.nullable(),
  /** How pods of its Kubernetes cluster resolve names: a pod's own file says. Default: /etc/resolv.conf. */
  resolvConf: z.string().min(1).max(4096).optional(),
  /** Health and metrics, plain HTTP: /livez, /readyz, /metrics. */
  healthPort: z.int().min(1).max(65_535).default(8080),
});
export type OperatorConfig = z.infer<typeof operatorConfigSchema>;

/** Names of the Leases, Roles and Deployment of the operator. */
export const OPERATOR_NAME = 'pgspan-operator';
