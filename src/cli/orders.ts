/** Orders to agents (`POST /v1/…`), and to whom they go. */
import { parseLsn } from '../base/lsn.ts';
import { UserError } from '../base/user-error.ts';
import type { ClusterStatus, NodeLine } from '../core/status/cluster-status.ts';
import { observeCluster } from '../platform/observe-cluster.ts';
import type { ClusterAccess } from '../platform/ports.ts';

export interface Order {
  /** For messages: `switch over`. */
  readonly action: string;
  readonly path: string;
  readonly body: unknown;
  readonly timeoutMs: number;
}

/** Name of the node that leads and answers. Throws UserError LEADER_MISSING. */
export async function findLeader(access: ClusterAccess, action: string): Promise<string> {
  const { leader, phase, nodes } = await observeCluster(access);
  if (leader !== null && phase !== 'lost') return leader;
  const lost = leader === null ? 'nobody leads yet' : `the leader "${leader}" does not answer`;
  const left = nodes.filter(({ reachable }) => reachable).length;
  throw new UserError({
    code: 'LEADER_MISSING',
    message: `Cannot ${action}: ${lost}, ${left} of ${nodes.length} nodes answer`,
    todo: 'Wait for the failover (`pgspan status --watch`); if too few nodes are left for one, bring some back.',
  });
}

/** The node that would lead after a forced failover: the wished one, or the furthest of those that answer. Throws UserError CANDIDATE_MISSING. */
export async function bestFollower(
  access: ClusterAccess,
  wished: string | null,
): Promise<{ status: ClusterStatus; node: NodeLine }> {
  const status = await observeCluster(access);
  const candidates = status.nodes.filter(
    ({ name, reachable, lsn }) =>
      reachable && lsn !== null && name !== status.leader && (wished === null || wished === name),
  );
  const position = (node: NodeLine) => parseLsn(node.lsn ?? '0/0');
  const byPosition = (a: NodeLine, b: NodeLine) =>
    (b.timeline ?? 0) - (a.timeline ?? 0) || Number(position(b) - position(a));
  const node = [...candidates].sort(byPosition)[0];
  if (node !== undefined) return { status, node };
  throw new UserError({
    code: 'CANDIDATE_MISSING',
    kind: 'not-found',
    message: `Cannot fail over: ${wished === null ? 'no node with data answers that does not lead already' : `"${wished}" does not answer, has no data, or leads already`}`,
    todo: 'Look at `pgspan status`, and bring a node back.',
  });
}

/** Sends it. @returns the answer's body. Throws UserError ORDER_REFUSED, ORDER_UNANSWERED. */
export async function order(
  access: ClusterAccess,
  node: string,
  { action, path, body, timeoutMs }: Order,
): Promise<unknown> {
  const target = access.nodes.find(({ name }) => name === node);
  if (target === undefined)
    throw new RangeError(`Cannot order "${node}": it is in the record, and not in the manifests`);
  const answer = await access.vantage
    .ask({ target: target.agent, method: 'POST', path, body, timeoutMs })
    .catch((cause: Error) => {
      throw new UserError({
        code: 'ORDER_UNANSWERED',
        kind: 'timeout',
        message: `Cannot ${action}: ${cause.message}`,
        todo: 'It may have been carried out all the same: look at `pgspan status`.',
        cause,
      });
    });
  if (answer.status === 200) return answer.body;
  const { error, code } = (answer.body ?? {}) as { error?: string; code?: string };
  throw new UserError({
    code: 'ORDER_REFUSED',
    kind: 'unsafe',
    message: error ?? `Cannot ${action}: "${node}" answered ${answer.status}`,
    todo: `Look at \`pgspan status\`, and try again when what it names has changed${code === undefined ? '' : ` (${code})`}.`,
  });
}
