/** From the options of `pgspan init` to a topology. What a manifest may hold is checked later, by the same code as for any manifest. */
import { UserError } from '../base/user-error.ts';
import type { ClientTrafficStrategy, TrafficStrategy } from '../api/postgres-group.ts';
import type { Topology, TopologyGroup } from '../core/topology/topology-manifests.ts';

export interface InitFlags {
  readonly groups?: string;
  readonly name: string;
  readonly domain?: string;
  readonly nodes: string;
  readonly witness?: string;
  readonly internode?: TrafficStrategy;
  readonly clients: ClientTrafficStrategy;
  readonly loadBalancers: 'none' | 'group' | 'node';
  readonly externalDns?: boolean;
  readonly store?: 'lease' | 'etcd';
  readonly etcdEndpoints?: string;
  readonly preset: 'lan' | 'wan';
  readonly join: 'manifests' | 'invitation';
  readonly storage: string;
  readonly cpu?: string;
  readonly memory?: string;
  readonly image?: string;
  readonly reads?: boolean;
  readonly namespace?: string;
  readonly local?: boolean;
  readonly directory?: string;
  readonly force?: boolean;
}

const NODES_MAX = 32;

/** Throws UserError INIT_OPTION_MISSING, OPTION_INVALID. */
export function readTopology(flags: InitFlags): Topology {
  const names = listOf(flags.groups);
  if (names.length === 0) throw missing('--groups', 'the names of the groups, such as leo,ait,pit');
  const all = flags.witness === undefined ? names : [...names, flags.witness];
  const domains = eachOf('--domain', listOf(flags.domain), all);
  const counts = eachOf('--nodes', listOf(flags.nodes), names).map(readCount);
  const groupOf = (name: string, index: number): TopologyGroup => ({
    name,
    instances: counts[index] ?? 0,
    domain: domains[index] as string,
  });
  const isLocal = flags.local ?? false;
  const isOne = all.length === 1;
  return {
    globalCluster: flags.name,
    groups: names.map(groupOf),
    witness: flags.witness === undefined ? null : groupOf(flags.witness, names.length),
    internode: flags.internode ?? (isOne || isLocal ? 'ServiceName' : 'FQDN'),
    clients: flags.clients,
    loadBalancers: isLocal ? 'none' : flags.loadBalancers,
    externalDns: flags.externalDns ?? false,
    store: flags.store ?? (isOne || isLocal ? 'lease' : 'etcd'),
    etcdEndpoints: listOf(flags.etcdEndpoints),
    preset: flags.preset,
    joinBy: isLocal ? 'invitation' : flags.join,
    storage: flags.storage,
    cpu: flags.cpu ?? null,
    memory: flags.memory ?? null,
    reads: flags.reads ?? false,
    imageName: flags.image ?? null,
    namespace: flags.namespace ?? null,
  };
}

export function listOf(text: string | undefined): string[] {
  return (text ?? '')
    .split(',')
    .map((one) => one.trim())
    .filter((one) => one !== '');
}

/** One for all, or one for each. */
function eachOf(option: string, values: readonly string[], groups: readonly string[]): string[] {
  const [only] = values;
  if (only === undefined) throw missing(option, 'one value for all groups, or one for each');
  if (values.length === 1) return groups.map(() => only);
  if (values.length === groups.length) return [...values];
  throw new UserError({
    code: 'OPTION_INVALID',
    kind: 'usage',
    message: `Cannot use ${option} "${values.join(',')}": it has ${values.length} values for ${groups.length} groups (${groups.join(', ')})`,
    todo: `Give one value for all, or one for each, in the order of the groups.`,
  });
}

function readCount(text: string): number {
  const count = Number(text);
  if (Number.isInteger(count) && count >= 1 && count <= NODES_MAX) return count;
  throw new UserError({
    code: 'OPTION_INVALID',
    kind: 'usage',
    message: `Cannot use --nodes "${text}": it is no whole number from 1 to ${NODES_MAX}`,
    todo: 'Give a number; a group without data is --witness NAME.',
  });
}

export function missing(option: string, what: string): UserError {
  return new UserError({
    code: 'INIT_OPTION_MISSING',
    kind: 'usage',
    message: `Cannot write manifests without ${option}: nobody can be asked here`,
    todo: `Give ${option}: ${what}. Or run it at a terminal, where it asks.`,
  });
}
