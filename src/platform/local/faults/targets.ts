/**
 * What a fault verb's TARGET means: which parts of the site's processes and which addresses.
 *
 *   leo-1            a node: PostgreSQL, agent and watchdog      leo-1/postgres, leo-1/agent, leo-1/watchdog   one of them
 *   leo              a group (one simulated Kubernetes cluster): its nodes and proxies
 *   leo-proxy-1      a proxy                                     record   the coordination service: all of it
 *   leo-etcd         a member of the site's own etcd, which is part of its group as well
 */
import { UserError } from '../../../base/user-error.ts';
import type { SiteState } from '../site-state.ts';

export const NODE_PARTS = ['postgres', 'agent', 'watchdog'] as const;
export type NodePart = (typeof NODE_PARTS)[number];

export type FaultTarget =
  | { readonly kind: 'node'; readonly name: string }
  | { readonly kind: 'part'; readonly name: string; readonly node: string; readonly part: NodePart }
  | { readonly kind: 'group'; readonly name: string }
  | { readonly kind: 'proxy'; readonly name: string }
  | { readonly kind: 'etcd'; readonly name: string }
  | { readonly kind: 'record'; readonly name: 'record' };

/** Throws UserError TARGET_UNKNOWN, which lists what there is. */
export function parseTarget(state: SiteState, text: string): FaultTarget {
  const [name = '', part, ...rest] = text.split('/');
  const isNode = state.nodes.some((node) => node.name === name);
  if (isNode && part === undefined) return { kind: 'node', name };
  if (isNode && rest.length === 0 && isNodePart(part)) return { kind: 'part', name: text, node: name, part };
  if (part === undefined) {
    if (name === 'record' && (state.recordAddress !== null || state.etcd.length > 0)) return { kind: 'record', name };
    if (state.etcd.some((member) => member.name === name)) return { kind: 'etcd', name };
    if (state.proxies.some((proxy) => proxy.name === name)) return { kind: 'proxy', name };
    if (groupNames(state).includes(name)) return { kind: 'group', name };
  }
  throw new UserError({
    code: 'TARGET_UNKNOWN',
    kind: 'not-found',
    message: `Cannot find "${text}" in the local site: there is no such node, group, part or proxy`,
    todo: `Name one of: ${targetNames(state).join(', ')}; or one part of a node, such as ${state.nodes[0]?.name ?? 'leo-1'}/postgres.`,
  });
}

/** All whole targets, for messages and completion. */
export function targetNames(state: SiteState): string[] {
  return [
    ...groupNames(state),
    ...state.nodes.map((node) => node.name),
    ...state.proxies.map((proxy) => proxy.name),
    ...state.etcd.map((member) => member.name),
    ...(state.recordAddress === null && state.etcd.length === 0 ? [] : ['record']),
  ];
}

/** True if a process of this part (`leo-1/postgres`, `leo-proxy-1`, `record`, `leo-etcd`) belongs to the target. */
export function isPartOfTarget(state: SiteState, target: FaultTarget, part: string): boolean {
  const owner = part.split('/')[0] ?? part;
  switch (target.kind) {
    case 'part':
      return part === target.name;
    case 'group':
      return membersOfGroups(state).some(({ name, group }) => name === owner && group === target.name);
    case 'record':
      return owner === 'record' || state.etcd.some(({ name }) => name === owner);
    default:
      return owner === target.name;
  }
}

/** Every node that a target covers; empty for proxies and the record. */
export function nodesOf(state: SiteState, target: FaultTarget): string[] {
  if (target.kind === 'part') return [target.node];
  return state.nodes.filter(({ name, group }) => name === target.name || group === target.name).map(({ name }) => name);
}

/** True if `inner` is all of `outer` or something in it: healing a group heals its nodes and their parts. */
export function isCoveredBy(state: SiteState, inner: FaultTarget, outer: FaultTarget): boolean {
  return (
    inner.name === outer.name ||
    (outer.kind !== 'part' && inner.kind !== 'group' && isPartOfTarget(state, outer, inner.name))
  );
}

export function groupNames(state: SiteState): string[] {
  return [...new Set(membersOfGroups(state).map(({ group }) => group))];
}

function membersOfGroups({ nodes, proxies, etcd }: SiteState): readonly { name: string; group: string }[] {
  return [...nodes, ...proxies, ...etcd];
}

function isNodePart(text: string | undefined): text is NodePart {
  return NODE_PARTS.some((part) => part === text);
}
