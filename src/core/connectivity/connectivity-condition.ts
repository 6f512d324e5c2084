/**
 * The condition `Connectivity` of a group: whether its agents reach every other agent, so that a broken edge shows before it is
 * needed. From what agents say anyway: nothing is dialled for it. `pgspan doctor` tries the edges themselves.
 */
import type { NodeObservation } from '../status/cluster-status.ts';

/** A message holds so many edges, each with its error cut to ERROR_CHARS_MAX. */
const EDGES_MAX = 8;
const ERROR_CHARS_MAX = 300;

export interface ConnectivityVerdict {
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason: string;
  readonly message: string;
}

/** @param observations of the own group's nodes, and of others where they are known. */
export function decideConnectivity(group: string, observations: readonly NodeObservation[]): ConnectivityVerdict {
  const own = observations.filter((one) => one.group === group);
  const answered = own.flatMap(({ name, answer }) => (answer.kind === 'answered' ? [{ name, ...answer.status }] : []));
  if (answered.length === 0)
    return { status: 'Unknown', reason: 'NotObserved', message: 'No node of the group has said what it reaches' };
  const isDown = downNodes(own, answered);
  const broken = answered.flatMap(({ name, unreached = [], peers }) =>
    unreached
      .filter((peer) => !isDown.has(peer))
      .map((peer) => {
        const error = peers.find(({ node }) => node === peer)?.lastError ?? 'no stream';
        return `"${name}" does not reach "${peer}": ${error.slice(0, ERROR_CHARS_MAX)}`;
      }),
  );
  if (broken.length === 0)
    return { status: 'True', reason: 'PeersReached', message: 'Every node that runs reaches every other one' };
  const more = broken.length > EDGES_MAX ? `; and ${broken.length - EDGES_MAX} more edges` : '';
  return {
    status: 'False',
    reason: 'PeerUnreached',
    message: `${broken.slice(0, EDGES_MAX).join('; ')}${more}`,
  };
}

/** Nodes of the group that answer nobody: that is another condition's matter, and a restart is no broken edge. */
function downNodes(
  own: readonly NodeObservation[],
  answered: readonly { readonly name: string; readonly unreached?: readonly string[] | undefined }[],
): Set<string> {
  const silent = own.filter(({ answer }) => answer.kind === 'silent').map(({ name }) => name);
  return new Set(silent.filter((name) => answered.every(({ unreached = [] }) => unreached.includes(name))));
}
