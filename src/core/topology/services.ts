/** The Services of a group (design.md section 4, requirements A2 to A6, A11), templates merged in. */
import { LABEL, objectLabels, type WorkloadType, workloadLabels } from '../../api/labels.ts';
import { globalClusterName, type PostgresGroup } from '../../api/postgres-group.ts';
import type { ServiceTemplate } from '../../api/postgres-group-connectivity.ts';
import {
  AGENT_PORT,
  discoveryService,
  ETCD_CLIENT_PORT,
  ETCD_PEER_PORT,
  etcdMember,
  fqdn,
  headlessService,
  nodeName,
  POSTGRES_PORT,
  poolerService,
  readService,
  writeService,
} from './names.ts';
import { holdsEtcdMember } from './etcd-plan.ts';
import type { CoordinationPlan, ServiceKind, ServicePlan } from './plan-types.ts';
import {
  applyServiceTemplate,
  type PlaceholderValues,
  type ServiceParts,
  type ServicePort,
} from './service-template.ts';

export function planServices(
  group: PostgresGroup,
  coordination: Omit<CoordinationPlan, 'key'> = { store: 'platform', etcdEndpoints: [] },
): ServicePlan[] {
  return draftServices(group, holdsEtcdMember(group, coordination)).map((draft) => {
    const { labels, annotations, spec } = applyServiceTemplate(draft.generated, draft.template, draft.values);
    const type = draft.kind === 'headless' ? 'Headless' : (spec.type as ServicePlan['type']);
    const fqdns = draft.kind === 'headless' ? [] : fqdnsOf(draft.name, group);
    const port = draft.kind === 'etcd' ? ETCD_CLIENT_PORT : POSTGRES_PORT;
    return { name: draft.name, kind: draft.kind, type, port, fqdns, labels, annotations, spec };
  });
}

/** A Service before its template. */
export interface ServiceDraft {
  readonly name: string;
  readonly kind: ServiceKind;
  readonly generated: ServiceParts;
  /** Below `.spec.connectivity`. */
  readonly templateField: TemplateField | null;
  readonly template: ServiceTemplate | undefined;
  readonly values: PlaceholderValues;
}

export type TemplateField =
  | 'nodeServiceTemplate'
  | 'groupServiceTemplate'
  | 'proxyServiceTemplate'
  | 'proxyReadServiceTemplate';

const TEMPLATE_FIELDS: Readonly<Record<ServiceKind, TemplateField | null>> = {
  write: 'proxyServiceTemplate',
  read: 'proxyReadServiceTemplate',
  'global-write': 'proxyServiceTemplate',
  'global-read': 'proxyReadServiceTemplate',
  discovery: 'groupServiceTemplate',
  headless: null,
  node: 'nodeServiceTemplate',
  pooler: null,
  etcd: null,
};

export function draftServices(group: PostgresGroup, hasEtcd = false): ServiceDraft[] {
  const { metadata, spec } = group;
  const globalCluster = globalClusterName(group);
  const hasProxies = spec.instances > 0 && spec.proxySettings.instances > 0;
  const reads = hasProxies && spec.proxySettings.enableReadNodeRouting;
  const draft = (kind: ServiceKind, name: string): ServiceDraft => {
    const field = TEMPLATE_FIELDS[kind];
    const values = { group: metadata.name, service: name, fqdn: fqdn(name, spec.connectivity.dns) };
    return {
      name,
      kind,
      generated: generate(kind, name, group),
      templateField: field,
      template: kind === 'etcd' ? etcdTemplate(group) : field === null ? undefined : spec.connectivity[field],
      values: kind === 'node' || kind === 'etcd' ? { node: name, ...values } : values,
    };
  };
  const nodes = Array.from({ length: spec.instances }, (_, index) => draft('node', nodeName(metadata.name, index + 1)));
  return [
    ...(hasProxies
      ? [draft('global-write', writeService(globalCluster)), draft('write', writeService(metadata.name))]
      : []),
    ...(reads ? [draft('global-read', readService(globalCluster)), draft('read', readService(metadata.name))] : []),
    ...(spec.pooler === undefined ? [] : [draft('pooler', poolerService(metadata.name))]),
    ...(spec.instances > 0
      ? [draft('discovery', discoveryService(metadata.name)), draft('headless', headlessService(metadata.name))]
      : []),
    ...nodes,
    ...(hasEtcd ? [draft('etcd', etcdMember(metadata.name))] : []),
  ];
}

/** Published like the nodes: other groups' members dial it. Ports are its own. */
function etcdTemplate({ spec: { connectivity } }: PostgresGroup): ServiceTemplate | undefined {
  const template = connectivity.nodeServiceTemplate;
  if (template === undefined) return undefined;
  const { ports: _ports, ...rest } = (template.spec ?? {}) as Record<string, unknown>;
  return { ...template, ...(template.spec === undefined ? {} : { spec: rest }) } as ServiceTemplate;
}

/** Workload behind a Service, and the name of the container port that its port leads to. */
const TARGETS: Readonly<Record<ServiceKind, { readonly workload: WorkloadType; readonly targetPort: string }>> = {
  write: { workload: 'proxy', targetPort: 'write' },
  'global-write': { workload: 'proxy', targetPort: 'write' },
  read: { workload: 'proxy', targetPort: 'read' },
  'global-read': { workload: 'proxy', targetPort: 'read' },
  pooler: { workload: 'pooler', targetPort: 'pooler' },
  discovery: { workload: 'postgres', targetPort: 'postgres' },
  headless: { workload: 'postgres', targetPort: 'postgres' },
  node: { workload: 'postgres', targetPort: 'postgres' },
  etcd: { workload: 'etcd', targetPort: 'client' },
};

function generate(kind: ServiceKind, name: string, group: PostgresGroup): ServiceParts {
  const { workload, targetPort } = TARGETS[kind];
  const groupName = group.metadata.name;
  const ofNode = kind === 'node' ? { [LABEL.node]: name } : {};
  const ports = portsOf(workload, targetPort);
  return {
    labels: { ...objectLabels({ globalCluster: globalClusterName(group), group: groupName, workload }), ...ofNode },
    annotations: {},
    spec: {
      ...typeSpec(kind, group),
      // Agents must reach each other before PostgreSQL is ready: to elect, and to clone (requirement E4).
      ...(workload === 'postgres' || workload === 'etcd' ? { publishNotReadyAddresses: true } : {}),
      selector: { ...workloadLabels({ group: groupName, workload }), ...ofNode },
      ports,
    },
  };
}

function portsOf(workload: WorkloadType, targetPort: string): ServicePort[] {
  const port = (name: string, number: number, target = name): ServicePort => ({
    name,
    port: number,
    targetPort: target,
    protocol: 'TCP',
  });
  if (workload === 'etcd') return [port('client', ETCD_CLIENT_PORT), port('peer', ETCD_PEER_PORT)];
  const postgres = port('postgres', POSTGRES_PORT, targetPort);
  // Other servers reach the agent by the same name.
  return workload === 'postgres' ? [postgres, port('agent', AGENT_PORT)] : [postgres];
}

/** ClusterIP unless the load balancer says otherwise (A4, C6). */
function typeSpec(kind: ServiceKind, { spec }: PostgresGroup): Record<string, unknown> {
  if (kind === 'headless') return { type: 'ClusterIP', clusterIP: 'None' };
  const { enabled, scope, allowedIPs, loadBalancerClass } = spec.connectivity.loadBalancer;
  const published = kind === 'node' ? scope === 'node' : kind !== 'pooler';
  if (!enabled || !published) return { type: 'ClusterIP' };
  return {
    type: 'LoadBalancer',
    ...(loadBalancerClass === undefined ? {} : { loadBalancerClass }),
    ...(allowedIPs.length === 0 ? {} : { loadBalancerSourceRanges: allowedIPs.map(asRange) }),
  };
}

/** Kubernetes takes ranges only. */
function asRange(address: string): string {
  if (address.includes('/')) return address;
  return `${address}/${address.includes(':') ? 128 : 32}`;
}

function fqdnsOf(service: string, { spec: { connectivity } }: PostgresGroup): string[] {
  return [connectivity.dns, ...connectivity.dns.additional].map((entry) => fqdn(service, entry));
}
