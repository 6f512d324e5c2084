/** `pgspan status` as a person reads it: who leads, every node on a line, the last failover, and what may be lost. */
import { formatTable } from '../base/text-table.ts';
import type { ClusterStatus, NodeLine } from '../core/status/cluster-status.ts';

export interface StatusTextOptions {
  readonly width: number;
  readonly style: (kind: 'good' | 'bad' | 'dim' | 'bold', text: string) => string;
  readonly now: Date;
}

export function formatStatus(status: ClusterStatus, options: StatusTextOptions): string {
  return [headline(status, options), nodeTable(status, options), ...notes(status, options)].join('\n\n');
}

function headline(status: ClusterStatus, { style }: StatusTextOptions): string {
  const name = style('bold', status.globalCluster);
  if (status.leader === null) return `${name}: ${style('bad', 'no leader yet')}`;
  const quorum = `term ${status.term}, each write on ${status.writeQuorum ?? '?'} of ${status.members.length} members`;
  const who =
    status.phase === 'published' ? style('good', status.leader) : style('bad', `${status.leader} (${status.phase})`);
  return `${name}: leader ${who}, ${quorum}${status.paused ? `, ${style('bad', 'paused')}` : ''}`;
}

function nodeTable({ nodes, proxies }: ClusterStatus, { width, style, now }: StatusTextOptions): string {
  const rows = nodes.map((node) => [
    node.name,
    node.group,
    activityText(node),
    node.isMember ? 'yes' : node.reachable ? 'no' : '',
    node.timeline === null ? '' : String(node.timeline),
    node.lsn ?? '',
    node.lagBytes === null ? '' : bytesText(node.lagBytes),
    node.certificateExpiry === null ? '' : daysText(node.certificateExpiry, now),
    nodeNote(node),
  ]);
  const proxyRows = proxies.map((proxy) => [
    proxy.name,
    proxy.group,
    proxy.isReady ? 'ready' : 'unreachable',
    '',
    '',
    '',
    '',
    '',
    [...proxy.faults, ...(proxy.reason === null ? [] : [proxy.reason])].join('; '),
  ]);
  const header = ['NAME', 'GROUP', 'STATE', 'VOTES', 'TIMELINE', 'LSN', 'LAG', 'CERTIFICATE', 'NOTE'];
  return formatTable(header, [...rows, ...proxyRows], { width, indent: 0, styleHeader: (text) => style('dim', text) });
}

function activityText(node: NodeLine): string {
  return node.progressPercent === null ? node.activity : `${node.activity} ${node.progressPercent} %`;
}

function nodeNote(node: NodeLine): string {
  const isSettled = node.role !== 'none';
  return [
    ...node.faults,
    ...(isSettled ? [] : [node.reason.message]),
    ...(node.pendingRestart.length > 0 ? [`waits for a restart: ${node.pendingRestart.join(', ')}`] : []),
  ].join('; ');
}

function notes(status: ClusterStatus, { style }: StatusTextOptions): string[] {
  const list = (title: string, lines: readonly string[]) =>
    lines.length === 0 ? [] : [`${style('bold', title)}\n${lines.map((line) => `  ${line}`).join('\n')}`];
  const { lastFailover } = status;
  return [
    ...(lastFailover === null
      ? []
      : list('Last change of leader', [
          `${lastFailover.formerLeader} to ${lastFailover.leader} in term ${lastFailover.term}: ${lastFailover.reason}, at ${lastFailover.suspectedAt}`,
          failoverSteps(lastFailover),
          ...possibleLoss(lastFailover),
        ])),
    ...(status.storedNote === undefined ? [] : [style('bad', status.storedNote)]),
    ...list('Survives', status.survives),
    ...list('Does not survive', status.doesNotSurvive),
  ];
}

/** `suspected 0, promised 12, swapped 15, promoted 90, open for clients 110 ms`. */
export function failoverSteps(failover: NonNullable<ClusterStatus['lastFailover']>): string {
  const steps: [string, number | null][] = [
    ['promised', failover.promisedMs],
    ['swapped', failover.swappedMs],
    ['promoted', failover.promotedMs],
    ['open for clients', failover.publishedMs],
  ];
  const known = steps.filter(([, ms]) => ms !== null).map(([name, ms]) => `${name} +${ms} ms`);
  return ['suspected', ...known].join(', ');
}

/** What a change of leader without the members' votes may have cost (`scope: group`). */
function possibleLoss({ loss, formerLeader }: NonNullable<ClusterStatus['lastFailover']>): string[] {
  if (loss === null) return [];
  const told = loss.lagBytes === 0 ? '' : `${bytesText(loss.lagBytes)} of WAL that it had told of, and `;
  return [`acknowledged writes may be gone: ${told}what ${formerLeader} acknowledged after ${loss.heardAt}`];
}

export function bytesText(bytes: number): string {
  if (bytes < 1024) return `${bytes} B`;
  const units = ['KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes / 1024;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value.toFixed(value < 10 ? 1 : 0)} ${units[unit]}`;
}

function daysText(expiry: string, now: Date): string {
  const hours = (Date.parse(expiry) - now.getTime()) / 3_600_000;
  if (hours < 0) return 'expired';
  return hours < 48 ? `${Math.floor(hours)} h` : `${Math.floor(hours / 24)} d`;
}
