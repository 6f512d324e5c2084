/** What `pgspan doctor` prints: a matrix of the kinds of edges, the findings, and with `--all` each edge. */
import { styleText } from 'node:util';
import type { EdgeFacts, EdgePurpose } from '../api/edge-facts.ts';
import { formatTable } from '../base/text-table.ts';
import { decideFindings, failureOf } from '../core/connectivity/decide-findings.ts';
import type { DoctorFacts, EdgeName, Finding, SourceFacts } from '../core/connectivity/doctor-facts.ts';

export interface DoctorReport {
  /** No finding that is more than a warning. */
  readonly ok: boolean;
  readonly plannedEdges: number;
  readonly triedEdges: number;
  readonly findings: readonly Finding[];
  readonly edges: readonly ReportedEdge[];
}

interface ReportedEdge extends Omit<EdgeFacts, 'target' | 'host'> {
  readonly from: string;
  readonly fromGroup: string | null;
  readonly to: string;
  /** Name that is dialled and verified. */
  readonly name: string;
  /** Who was asked for `name`; empty: nobody, its address is known. */
  readonly resolvers: readonly string[];
  readonly ok: boolean;
  /** The failure, or what was reached. */
  readonly result: string;
}

export function doctorReport(facts: DoctorFacts): DoctorReport {
  const findings = decideFindings(facts);
  const edges = facts.sources.flatMap((source) => source.edges.map((edge) => reported(source, edge)));
  return {
    ok: findings.every(({ severity }) => severity !== 'error'),
    plannedEdges: facts.plannedEdges,
    triedEdges: edges.length,
    findings,
    edges,
  };
}

function reported({ name: from, group, resolvers }: SourceFacts, edge: EdgeFacts): ReportedEdge {
  const { target, host, ...rest } = edge;
  const failure = failureOf(edge);
  const result = failure === null ? (edge.steps.at(-1)?.found ?? '') : `${failure.step}: ${failure.found}`;
  const asked = edge.resolved === null ? [] : resolvers;
  return { from, fromGroup: group, to: target, name: host, ...rest, resolvers: asked, ok: failure === null, result };
}

const PURPOSE_TEXT: Readonly<Record<EdgePurpose, string>> = {
  replication: 'server → server, PostgreSQL',
  agent: '→ agents',
  record: 'server → record',
  relay: 'proxy → server, PostgreSQL',
  client: 'client → PostgreSQL, proxies',
  health: 'client → proxy health',
};

export function formatDoctor(report: DoctorReport, { all }: { readonly all: boolean }): string {
  const style = (kind: 'dim' | 'red' | 'green' | 'yellow', text: string) =>
    styleText(kind, text, { stream: process.stdout });
  const width = process.stdout.columns ?? 140;
  const table = (header: string[], rows: string[][]) =>
    formatTable(header, rows, { width, indent: 0, styleHeader: (text) => style('dim', text) });
  const parts = [
    all
      ? table(['', 'FROM', 'TO', 'NAME', 'ADDRESS', 'ROUND TRIP', 'RESULT'], report.edges.map(edgeRow))
      : table(['EDGES', 'TRIED', 'WELL', 'ROUND TRIP'], kindRows(report.edges)),
    ...report.findings.map((finding) => formatFinding(finding, style)),
    verdict(report, style),
  ];
  return parts.join('\n\n');
}

type Style = (kind: 'dim' | 'red' | 'green' | 'yellow', text: string) => string;

function verdict({ findings, plannedEdges, triedEdges }: DoctorReport, style: Style): string {
  const tried =
    triedEdges === plannedEdges
      ? `all ${plannedEdges} edges of the plan were tried`
      : `${triedEdges} edges were tried, the plan has ${plannedEdges}`;
  if (findings.length === 0) return style('green', `0 findings: ${tried}.`);
  const isBad = findings.some(({ severity }) => severity === 'error');
  return style(isBad ? 'red' : 'yellow', `${findings.length} finding${findings.length === 1 ? '' : 's'}: ${tried}.`);
}

const EDGES_NAMED_MAX = 6;

function formatFinding({ code, severity, message, todo, edges }: Finding, style: Style): string {
  const named = edges.slice(0, EDGES_NAMED_MAX).map(formatEdgeName).join(', ');
  const more = edges.length > EDGES_NAMED_MAX ? ` and ${edges.length - EDGES_NAMED_MAX} more` : '';
  return [
    `${style(severity === 'error' ? 'red' : 'yellow', `${severity} ${code}`)}: ${message}`,
    ...(edges.length === 0 ? [] : [`  edges:  ${named}${more}`]),
    `  change: ${todo}`,
  ].join('\n');
}

const formatEdgeName = ({ from, to, purpose }: EdgeName): string =>
  `${from} → ${to}${purpose === 'agent' ? ' agent' : ''}`;

function edgeRow(edge: ReportedEdge): string[] {
  const addresses = edge.address ?? edge.resolved?.join(', ') ?? '';
  return [
    edge.ok ? 'ok' : 'FAILS',
    edge.from,
    `${edge.to}${edge.purpose === 'agent' ? ' agent' : edge.purpose === 'health' ? ' health' : ''}`,
    edge.name,
    addresses === '' ? '' : `${addresses}:${edge.port}`,
    edge.roundTripMs === null ? '' : `${edge.roundTripMs} ms`,
    edge.result,
  ];
}

function kindRows(edges: readonly ReportedEdge[]): string[][] {
  return Object.entries(PURPOSE_TEXT).flatMap(([purpose, text]) => {
    const own = edges.filter((edge) => edge.purpose === purpose);
    if (own.length === 0) return [];
    const times = own.flatMap(({ roundTripMs }) => roundTripMs ?? []);
    const range = times.length === 0 ? '' : `${Math.min(...times)} to ${Math.max(...times)} ms`;
    return [[text, String(own.length), String(own.filter(({ ok }) => ok).length), range]];
  });
}
