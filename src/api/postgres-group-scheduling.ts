/** `.spec.scheduling`: which machines of the Kubernetes cluster the pods of a group run on, and what they come before. */
import * as z from 'zod';
import { objectNameSchema } from './postgres-group-values.ts';

/** As in Kubernetes: https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/ */
const tolerationSchema = z.strictObject({
  key: z.string().max(317).optional().describe('Key of the taint; without one, with `Exists`: every taint.'),
  operator: z.enum(['Exists', 'Equal']).default('Equal').describe('How the value is compared.'),
  value: z.string().max(63).optional().describe('Value of the taint.'),
  effect: z.enum(['NoSchedule', 'PreferNoSchedule', 'NoExecute']).optional().describe('Effect; default: all.'),
  tolerationSeconds: z.int().min(0).optional().describe('How long a NoExecute taint is tolerated; default: for ever.'),
});

export const schedulingSchema = z.strictObject({
  priorityClassName: objectNameSchema.optional().describe('PriorityClass of the pods of the nodes and proxies.'),
  nodeSelector: z
    .record(z.string().max(317), z.string().max(63))
    .default({})
    .describe('Labels that a machine must have for the pods of the nodes and proxies.'),
  tolerations: z.array(tolerationSchema).max(32).default([]).describe('Taints that these pods tolerate.'),
});
