/** Names of the Kubernetes objects of a group, beside those that core/topology/names.ts gives. */
import { nodeName } from '../../core/topology/names.ts';

/** StatefulSet and node Service are both called as the node. */
export const nodeStatefulSet = (node: string): string => node;
export const nodePod = (node: string): string => `${node}-0`;
export const nodeVolumeClaim = (node: string): string => `${VOLUME_CLAIM_TEMPLATE}-${nodePod(node)}`;
export const VOLUME_CLAIM_TEMPLATE = 'data';

export const nodeConfigMap = (node: string): string => `${node}-config`;
export const nodeTlsSecret = (node: string): string => `${node}-tls`;
/** Passwords of the manifest's roles, by name. */
export const rolesSecret = (group: string): string => `${group}-roles`;
export const proxyWorkload = (group: string): string => `${group}-proxy`;
export const proxyConfigMap = (group: string): string => `${group}-proxy-config`;
/** Of the resolvers beside the nodes, which all have the same. */
export const dnsConfigMap = (group: string): string => `${group}-dns-config`;
export const proxyTlsSecret = (group: string): string => `${group}-proxy-tls`;
export const instanceAccount = (group: string): string => `${group}-instance`;
export const proxyAccount = (group: string): string => `${group}-proxy`;
/** pgspan's own member of etcd: StatefulSet, ConfigMap and Service are called as the member. */
export const etcdStatefulSet = (member: string): string => member;
export const etcdConfigMap = (member: string): string => member;
export const etcdTlsSecret = (member: string): string => `${member}-tls`;
export const etcdVolumeClaim = (member: string): string => `${VOLUME_CLAIM_TEMPLATE}-${member}-0`;
export const etcdAccount = (member: string): string => member;
/** The record's Lease. */
export const recordLease = (globalCluster: string): string => globalCluster;
/** What only the operator reads. */
export const caKeySecret = (group: string): string => `${group}-ca-key`;
export const operatorTlsSecret = (group: string): string => `${group}-operator-tls`;

/** n of `<group>-<n>`; null for another name. */
export function nodeOrdinal(group: string, name: string): number | null {
  const text = name.startsWith(`${group}-`) ? name.slice(group.length + 1) : '';
  return /^[1-9][0-9]{0,2}$/.test(text) && nodeName(group, Number(text)) === name ? Number(text) : null;
}
