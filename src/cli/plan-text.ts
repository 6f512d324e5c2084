/** The plan as text for a terminal: what a person looks for first comes first. Pure, so that golden files can hold it. */
import { formatTable, wrapText } from '../base/text-table.ts';
import type { ConnectionPlan, GlobalPlan, GroupPlan, NodePlan, UnbuiltNote } from '../core/topology/plan-types.ts';
import { formatAccess, formatAnnotations, formatCertificates, formatSettings } from './plan-details-text.ts';

export type PlanStyle = (kind: 'heading' | 'column' | 'warning' | 'user', text: string) => string;

export interface PlanTextOptions {
  /** Columns of the terminal. */
  readonly width: number;
  /** Also what hardly anybody asks for: owned settings, access rules, certificate names. */
  readonly details: boolean;
  readonly style: PlanStyle;
}

/** Ends with a line break. */
export function formatPlan(plan: GlobalPlan, options: PlanTextOptions): string {
  const unbuilt = (by: UnbuiltNote['actor']) =>
    formatNotes(
      plan.notBuilt.filter(({ actor }) => actor === by),
      options,
    );
  const sections: [title: string, body: string][] = [
    ['Groups', formatGroups(plan, options)],
    ['Nodes', formatNodes(plan, options)],
    ['Services', formatServices(plan, options)],
    ['Commits and failover', formatCommits(plan, options)],
    ['Connect', formatConnections(plan, options)],
    ...formatSettings(plan, options),
    ...(options.details ? formatAnnotations(plan, options) : []),
    ...(options.details ? formatAccess(plan) : []),
    ...(options.details ? formatCertificates(plan, options) : []),
    ['Warnings', formatNotes(plan.warnings, options)],
    ['Not built yet (accepted, and refused by what would have to act on it)', unbuilt('every platform')],
    ['For Kubernetes only (refused by `pgspan local up`)', unbuilt('local')],
    ['For the local platform only (refused on Kubernetes)', unbuilt('kubernetes')],
  ];
  const body = sections
    .filter(([, text]) => text !== '')
    .map(([title, text]) => `${options.style('heading', title)}\n${text}`)
    .join('\n\n');
  return `${formatTitle(plan, options)}\n\n${body}\n${options.details ? '' : '\n--details adds settings that pgspan owns, access rules and certificate names.\n'}`;
}

function formatTitle(plan: GlobalPlan, { style }: PlanTextOptions): string {
  const nodes = plan.groups.flatMap((group) => group.nodes).length;
  const counted = (count: number, word: string) => `${count} ${word}${count === 1 ? '' : 's'}`;
  const parts = [counted(plan.groups.length, 'group'), counted(nodes, 'node'), `PostgreSQL ${plan.postgresMajor}`];
  return `${style('heading', plan.globalCluster)}: ${parts.join(', ')}`;
}

function formatGroups(plan: GlobalPlan, options: PlanTextOptions): string {
  const rows = plan.groups.map((group) => [
    group.name,
    ROLE_WORDS[group.role] + (group.name === plan.primaryGroup ? ', first' : ''),
    String(group.nodes.length),
    String(group.proxies.length),
    group.namespace === 'default' ? '' : group.namespace,
    group.internodeTrafficStrategy,
    group.clientTrafficStrategy,
    group.tlsMode,
    group.dns.map(({ domain, hostSuffix }) => (hostSuffix === '' ? domain : `${hostSuffix} .${domain}`)).join(' '),
  ]);
  const header = [
    'GROUP',
    'ROLE',
    'NODES',
    'PROXIES',
    'NAMESPACE',
    'SERVERS DIAL',
    'CLIENTS DIAL',
    'SERVERS VERIFY',
    'DOMAIN',
  ];
  return table(header, rows, options);
}

const ROLE_WORDS = { readWrite: 'reads and writes', readOnly: 'reads only', witness: 'witness' } as const;

function formatNodes(plan: GlobalPlan, options: PlanTextOptions): string {
  const rows = plan.groups.flatMap((group) =>
    group.nodes.map((node) => [
      node.name,
      voteWord(plan, node),
      node.votes ? String(node.priority) : '',
      node.addresses[group.internodeTrafficStrategy],
      node.addresses.FQDN,
      options.details ? node.slot : '',
      node.bootstraps ? 'makes the database' : '',
    ]),
  );
  return table(['NODE', 'VOTE', 'PRIORITY', 'DIALLED AS', 'FQDN', 'SLOT', ''], rows, options);
}

function voteWord({ replication }: GlobalPlan, { votes, group }: NodePlan): string {
  if (!votes) return 'never leads';
  return replication.relayGroups.includes(group) ? 'votes as the relay' : 'votes';
}

function formatServices(plan: GlobalPlan, options: PlanTextOptions): string {
  const rows = plan.groups.flatMap((group) =>
    group.services
      .filter(({ kind }) => options.details || !INNER_SERVICES.includes(kind))
      .map((service) => [group.name, service.name, SERVICE_WORDS[service.kind], service.type, service.fqdns.join(' ')]),
  );
  return table(['GROUP', 'SERVICE', 'LEADS TO', 'TYPE', 'FQDN'], rows, options);
}

/** For servers among themselves; an application has no use for them. */
const INNER_SERVICES: readonly string[] = ['node', 'discovery', 'headless', 'etcd'];

const SERVICE_WORDS: Readonly<Record<GroupPlan['services'][number]['kind'], string>> = {
  'global-write': 'the write leader, wherever it runs',
  'global-read': 'read nodes, wherever they run',
  write: 'the write leader, through this group',
  read: 'read nodes, through this group',
  pooler: 'Pgpool-II',
  discovery: 'any node of this group',
  headless: 'all pods of this group',
  node: 'this node',
  etcd: "this group's member of etcd",
};

function formatCommits(plan: GlobalPlan, { width }: PlanTextOptions): string {
  const { replication, timing, coordination } = plan;
  const { voters, writeQuorum, electionQuorum, minCopies, survives } = replication;
  const store = coordination.store === 'platform' ? "the platform's own store" : coordination.store;
  const facts = [
    `a commit is acknowledged when ${writeQuorum} of ${voters.length} voting nodes hold it; ${electionQuorum} elect a leader`,
    `fewer than ${minCopies} ${minCopies === 1 ? 'copy' : 'copies'}: writes wait; a lost standby stops counting after ${seconds(timing.memberTimeoutMs)}`,
    `a silent leader is suspected after ${seconds(timing.detectionMs)}, and stops by itself after ${seconds(timing.fenceMs)} (preset ${timing.preset}); the record is in ${store}`,
    ...survives.text,
  ];
  return bullets(facts, width);
}

function seconds(milliseconds: number): string {
  return `${milliseconds / 1000} s`;
}

function formatConnections(plan: GlobalPlan, options: PlanTextOptions): string {
  const rows = [
    ...plan.connections.map((connection) => [
      'all groups',
      CONNECTION_WORDS[connection.purpose],
      libpqText(connection),
    ]),
    ...plan.groups.flatMap((group) =>
      group.connections.map((connection) => [
        `group ${group.name}`,
        CONNECTION_WORDS[connection.purpose],
        libpqText(connection),
      ]),
    ),
  ];
  return table([], rows, options);
}

const CONNECTION_WORDS = { write: 'write', read: 'read', failover: 'without proxies' } as const;

function libpqText({ hosts, port, database, user, sslmode, targetSessionAttrs }: ConnectionPlan): string {
  const attributes =
    targetSessionAttrs === 'any' || hosts.length === 1 ? '' : ` target_session_attrs=${targetSessionAttrs}`;
  return `host=${hosts.join(',')} port=${port} dbname=${database} user=${user} sslmode=${sslmode}${attributes}`;
}

/** A note that several groups have is said once. */
function formatNotes(notes: GlobalPlan['warnings'], options: PlanTextOptions): string {
  const byText = Map.groupBy(notes, ({ path, message }) => `${path}: ${message}`);
  const lines = [...byText].map(([text, same]) => `${same.map(({ group }) => group).join(', ')}: ${text}`);
  return lines.length === 0 ? '' : options.style('warning', bullets(lines, options.width));
}

function bullets(texts: readonly string[], width: number): string {
  return texts
    .map((text) =>
      wrapText(text, width - 4)
        .map((line, index) => `  ${index === 0 ? '-' : ' '} ${line}`)
        .join('\n'),
    )
    .join('\n');
}

function table(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  { width, style }: PlanTextOptions,
): string {
  return formatTable(header, rows, { width, styleHeader: (text) => style('column', text) });
}
