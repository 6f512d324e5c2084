/**
 * The Services under which a group reaches the servers of the other groups by their plain names (requirement C4): ExternalName
 * where a host name is known, headless with its own endpoints where addresses are. They are kept up to date and go with the group.
 */
import { isIP } from 'node:net';
import type { GroupCard } from '../../api/group-card.ts';
import type { TrafficStrategy } from '../../api/postgres-group.ts';
import {
  AGENT_PORT,
  discoveryService,
  ETCD_CLIENT_PORT,
  ETCD_PEER_PORT,
  etcdMember,
  nodeName,
  POSTGRES_PORT,
} from './names.ts';

export interface RemoteService {
  readonly name: string;
  /** The group that it leads to. */
  readonly group: string;
  readonly target:
    | { readonly kind: 'name'; readonly host: string }
    | { readonly kind: 'addresses'; readonly addresses: readonly string[] };
  readonly ports: readonly { readonly name: string; readonly port: number }[];
}

const ETCD_PORTS = [
  { name: 'client', port: ETCD_CLIENT_PORT },
  { name: 'peer', port: ETCD_PEER_PORT },
] as const;

export interface RemoteServicesPlan {
  readonly services: readonly RemoteService[];
  /** Nodes that nothing is known of under which they could be reached. */
  readonly unreachable: readonly string[];
}

const NODE_PORTS = [
  { name: 'postgres', port: POSTGRES_PORT },
  { name: 'agent', port: AGENT_PORT },
] as const;

/** @param strategy of the own group: with another one names are the user's DNS. */
export function planRemoteServices(strategy: TrafficStrategy, cards: readonly GroupCard[]): RemoteServicesPlan {
  if (strategy !== 'ServiceName') return { services: [], unreachable: [] };
  const services: RemoteService[] = [];
  const unreachable: string[] = [];
  for (const card of cards) {
    const { group, published, podAddresses, etcd } = card;
    const add = (name: string, known: readonly string[], ports: RemoteService['ports']): boolean => {
      const target = targetOf(known);
      if (target !== null) services.push({ name, group, target, ports });
      return target !== null;
    };
    const nodes = Array.from({ length: card.manifest.spec.instances }, (_, index) => nodeName(group, index + 1));
    for (const node of nodes) {
      const known = published[node] ?? [podAddresses[node] ?? []].flat();
      if (!add(node, known, NODE_PORTS)) unreachable.push(node);
    }
    const discovery = discoveryService(group);
    add(discovery, published[discovery] ?? Object.values(podAddresses), NODE_PORTS);
    const member = etcdMember(group);
    // Before it runs as well: the others must reach a member that is about to join.
    const told = etcd === null || etcd.host === member ? [] : [etcd.host];
    add(member, published[member] ?? [podAddresses[member] ?? told].flat(), ETCD_PORTS);
  }
  return { services, unreachable };
}

/** Addresses first: they need no resolver outside. */
function targetOf(known: readonly string[]): RemoteService['target'] | null {
  const addresses = known.filter((one) => isIP(one) !== 0).toSorted();
  if (addresses.length > 0) return { kind: 'addresses', addresses };
  const [host] = known;
  return host === undefined ? null : { kind: 'name', host };
}

/** Where a node of another group is dialled from outside of pods; null: nowhere that is known. */
export function outsideAddress(card: GroupCard, node: string): string | null {
  return card.published[node]?.[0] ?? card.podAddresses[node] ?? null;
}
