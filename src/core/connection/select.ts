/**
 * Which hosts a connection string names, by what was asked for:
 *
 *   nothing          the global name, through every group's proxies in turn: survives the loss of any group
 *   a group          that group's own name, through its proxies
 *   a node           that node itself, whatever its role
 *   several hosts    every node by its own name; the client finds the leader itself (target_session_attrs)
 */
import { POSTGRES_PORT } from '../topology/names.ts';
import type { ConnectionPlan, GlobalPlan } from '../topology/plan-types.ts';
import type { ConnectionHost, TargetSessionAttrs } from './formats.ts';

export interface ConnectionPlaces {
  readonly plan: GlobalPlan;
  /** Addresses to dial, or null where names resolve. */
  readonly nodes: readonly { readonly name: string; readonly group: string; readonly address: string | null }[];
  readonly proxies: readonly {
    readonly group: string;
    readonly write: string | null;
    /** undefined: this proxy routes no reads. */
    readonly read: string | null | undefined;
  }[];
}

export type ConnectionChoice =
  | { readonly kind: 'global' }
  | { readonly kind: 'group'; readonly group: string }
  | { readonly kind: 'node'; readonly node: string }
  | { readonly kind: 'multi-host' };

export type ConnectionSelection =
  | {
      readonly kind: 'found';
      readonly hosts: readonly ConnectionHost[];
      readonly targetSessionAttrs: TargetSessionAttrs;
    }
  /** `why` is a sentence part: "group "leo" has no read route". */
  | { readonly kind: 'missing'; readonly why: string };

export function selectConnection(
  places: ConnectionPlaces,
  choice: ConnectionChoice,
  reads: boolean,
): ConnectionSelection {
  switch (choice.kind) {
    case 'global':
      return throughProxies(places, places.plan.connections, null, reads);
    case 'group': {
      const group = places.plan.groups.find(({ name }) => name === choice.group);
      if (group === undefined) return missing(`there is no group "${choice.group}"`);
      return throughProxies(places, group.connections, group.name, reads);
    }
    case 'node':
      return toNode(places, choice.node);
    case 'multi-host': {
      const hosts = places.nodes.flatMap((node) => hostOfNode(places, node) ?? []);
      return { kind: 'found', hosts, targetSessionAttrs: reads ? 'prefer-standby' : 'read-write' };
    }
  }
}

/** Every name and address under which the cluster is reached, for a password file. */
export function allConnectionHosts(places: ConnectionPlaces): ConnectionHost[] {
  const choices: ConnectionChoice[] = [
    { kind: 'global' },
    ...places.plan.groups.map(({ name }) => ({ kind: 'group', group: name }) as const),
    { kind: 'multi-host' },
  ];
  const hosts = choices.flatMap((choice) =>
    [false, true].flatMap((reads) => {
      const selection = selectConnection(places, choice, reads);
      return selection.kind === 'found' ? selection.hosts : [];
    }),
  );
  const isFirst = (one: ConnectionHost, index: number) =>
    hosts.findIndex(({ host, address }) => host === one.host && address === one.address) === index;
  return hosts.filter(isFirst);
}

function throughProxies(
  places: ConnectionPlaces,
  connections: readonly ConnectionPlan[],
  group: string | null,
  reads: boolean,
): ConnectionSelection {
  const whose = group === null ? `"${places.plan.globalCluster}"` : `group "${group}"`;
  const plan = connections.find(({ purpose }) => purpose === (reads ? 'read' : 'write'));
  const host = plan?.hosts[0];
  if (plan === undefined || host === undefined) {
    return missing(
      reads ? `${whose} has no read route (proxySettings.enableReadNodeRouting)` : `${whose} has no proxies`,
    );
  }
  const inOrder = [...places.proxies].sort((a, b) => rank(places.plan, a.group) - rank(places.plan, b.group));
  const hosts = inOrder
    .filter((proxy) => (group === null || proxy.group === group) && (!reads || proxy.read !== undefined))
    .map((proxy) => ({ host, address: (reads ? proxy.read : proxy.write) ?? null, port: plan.port }));
  // One entry is enough for names that resolve: to resolve is to get all addresses.
  const distinct = hosts.filter((one, index) => hosts.findIndex(({ address }) => address === one.address) === index);
  return { kind: 'found', hosts: distinct, targetSessionAttrs: plan.targetSessionAttrs };
}

/** The primary group's proxies first: in quiet times the leader is there. */
function rank(plan: GlobalPlan, group: string): number {
  return group === plan.primaryGroup ? -1 : plan.groups.findIndex(({ name }) => name === group);
}

function toNode(places: ConnectionPlaces, name: string): ConnectionSelection {
  const node = places.nodes.find((one) => one.name === name);
  const host = node === undefined ? null : hostOfNode(places, node);
  return host === null
    ? missing(`there is no node "${name}"`)
    : { kind: 'found', hosts: [host], targetSessionAttrs: 'any' };
}

function hostOfNode(
  { plan }: ConnectionPlaces,
  node: { readonly name: string; readonly group: string; readonly address: string | null },
): ConnectionHost | null {
  const group = plan.groups.find(({ name }) => name === node.group);
  const planned = group?.nodes.find(({ name }) => name === node.name);
  if (group === undefined || planned === undefined) return null;
  // What clients are told to dial (C2) has no SplitDNS: outside of the pods there is none.
  return { host: planned.addresses[group.clientTrafficStrategy], address: node.address, port: POSTGRES_PORT };
}

function missing(why: string): ConnectionSelection {
  return { kind: 'missing', why };
}
