/**
 * A global cluster on Kubernetes as the verbs of the command line see it (ports.ts). What is asked of the API server:
 *
 *   list postgresgroups, pods, services of one namespace; get the ConfigMaps `<group>-ca`, `<group>-peers`
 *   create pods/exec                     status, switchover, failover, doctor (pod-vantage.ts), psql
 *   create pods/portforward              psql with the psql of this machine
 *   get pods/log                         logs
 *   get the Secret `<group>-app`         connection, psql by port-forward
 */
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { ManifestError } from '../../api/manifest-error.ts';
import { LABEL } from '../../api/labels.ts';
import { parsePostgresGroup } from '../../api/parse-manifest.ts';
import { globalClusterName, type PostgresGroup } from '../../api/postgres-group.ts';
import { postgresGroupStatusSchema } from '../../api/postgres-group-status.ts';
import { UserError } from '../../base/user-error.ts';
import { balancedServices } from '../../core/connectivity/plan-edges.ts';
import { withInsideNames } from '../../core/connection/inside-names.ts';
import type { StoredStatus } from '../../core/status/stored-status.ts';
import { AGENT_PORT, appSecret, caConfigMap, POSTGRES_PORT, writeService } from '../../core/topology/names.ts';
import { dialHost, planGlobalCluster } from '../../core/topology/plan.ts';
import type { GlobalPlan, GroupPlan, NodePlan } from '../../core/topology/plan-types.ts';
import { cacheFolder } from '../cache-folder.ts';
import { examineAll } from '../examine-edge.ts';
import { clientMeans } from '../vantage.ts';
import type { ClusterAccess, ClusterSource, ConnectionWay, NodeAccess, ProxyAccess } from '../ports.ts';
import { ApiError, ApiUnreachableError } from './api-error.ts';
import { createKubeClient, type KubeClient } from './kube-client.ts';
import { KUBE_KINDS, type KubeObject } from './kube-object.ts';
import { type KubeContext, type KubeDial, openKubeContext } from './kubeconfig.ts';
import { findOtherGroups, type WholeCluster } from './other-groups.ts';
import { balancerAddresses, type PublishedAddress } from './load-balancers.ts';
import { podLogs } from './pod-logs.ts';
import { type PodVantage, vantageInPod } from './pod-vantage.ts';
import { type GroupPod, readPod } from './pods.ts';

export interface KubernetesChoice {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly namespace?: string;
  readonly cluster?: string;
}

/** With what only this platform has: the way into pods. */
export interface KubernetesAccess extends ClusterAccess {
  readonly platform: 'kubernetes';
  readonly dial: KubeDial;
  readonly pods: readonly GroupPod[];
  /** PEM. */
  trustBundle(): Promise<string>;
}

export function isKubernetesAccess(access: ClusterAccess): access is KubernetesAccess {
  return access.platform === 'kubernetes';
}

/** Path of the trust bundle in an application's pod, where the Secret `<group>-app` is mounted as its URIs say. */
const APP_CA_FILE = '/etc/pgspan/app/ca.crt';

/** Throws UserError KUBECONFIG_MISSING, KUBECONFIG_INVALID, KUBE_CONTEXT_UNKNOWN. */
export async function openKubernetesSource(choice: KubernetesChoice): Promise<ClusterSource> {
  const context = await openKubeContext({ file: choice.kubeconfig, context: choice.context });
  const client = createKubeClient(context.dial);
  let vantage: PodVantage | null = null;
  return {
    async open() {
      const found = await observe(client, context, choice);
      // One session serves all looks of a `--watch`, until it breaks.
      if (vantage === null || !vantage.isUsable) {
        vantage?.close();
        vantage = vantageInPod(context.dial, vantagePods(found.pods));
      }
      return await accessOf(client, context, found, vantage);
    },
    async close() {
      vantage?.close();
      client.close();
    },
  };
}

interface Observed {
  /** Of this Kubernetes cluster. */
  readonly groups: readonly PostgresGroup[];
  readonly whole: WholeCluster;
  readonly globalCluster: string;
  readonly pods: readonly GroupPod[];
  readonly services: readonly KubeObject[];
}

/** Throws UserError KUBE_UNREACHABLE, KUBE_REFUSED, PGSPAN_NOT_INSTALLED, KUBE_NO_GROUPS, GROUP_NOT_FOUND. */
async function observe(client: KubeClient, context: KubeContext, choice: KubernetesChoice): Promise<Observed> {
  const namespace = choice.namespace ?? context.namespace;
  try {
    const all = await listGroups(client, context, namespace);
    if (all.length === 0) throw await noGroups(client, context, namespace);
    const globalCluster = chooseCluster(all, namespace, choice.cluster);
    const labelSelector = `${LABEL.globalCluster}=${globalCluster}`;
    const [pods, services] = await Promise.all([
      client.list(KUBE_KINDS.Pod, { namespace, labelSelector }),
      client.list(KUBE_KINDS.Service, { namespace, labelSelector }),
    ]);
    const groups = all.filter((group) => globalClusterName(group) === globalCluster);
    return {
      groups,
      whole: await findOtherGroups(client, groups),
      globalCluster,
      pods: pods.items.map(readPod),
      services: services.items,
    };
  } catch (error) {
    throw asUserError(error, context);
  }
}

async function listGroups(client: KubeClient, context: KubeContext, namespace: string): Promise<PostgresGroup[]> {
  const list = await client.list(KUBE_KINDS.PostgresGroup, { namespace }).catch((error: unknown) => {
    if (error instanceof ApiError && error.status === 404) throw notInstalled(context);
    throw error;
  });
  const parsed = list.items.map((item) => parsePostgresGroup(item, item.metadata.name));
  const problems = parsed.flatMap((one) => (one.kind === 'refused' ? one.problems : []));
  if (problems.length > 0) throw new ManifestError(`read the groups of namespace "${namespace}"`, problems);
  return parsed.flatMap((one) => (one.kind === 'accepted' ? [one.group] : []));
}

/** Says where there are some, if this person may know. */
async function noGroups(client: KubeClient, { name }: KubeContext, namespace: string): Promise<UserError> {
  const everywhere = await client.list(KUBE_KINDS.PostgresGroup, { namespace: null }).catch(() => null);
  const others = [...new Set(everywhere?.items.map(({ metadata }) => metadata.namespace))].filter(Boolean).slice(0, 10);
  const todo = `Name the namespace with -n${others.length === 0 ? '' : ` (there are groups in ${others.join(', ')})`}, or apply a manifest.`;
  return new UserError({
    code: 'KUBE_NO_GROUPS',
    kind: 'not-found',
    message: `Cannot find a PostgresGroup: there is none in namespace "${namespace}" of context "${name}"`,
    todo,
  });
}

function chooseCluster(groups: readonly PostgresGroup[], namespace: string, wished: string | undefined): string {
  const names = [...new Set(groups.map(globalClusterName))];
  const [first] = names;
  if (wished === undefined && names.length === 1 && first !== undefined) return first;
  if (wished !== undefined && names.includes(wished)) return wished;
  throw new UserError({
    code: 'GROUP_NOT_FOUND',
    kind: 'not-found',
    message:
      wished === undefined
        ? `Cannot choose a global cluster: namespace "${namespace}" holds ${names.length}`
        : `Cannot find the global cluster "${wished}" in namespace "${namespace}"`,
    todo: `Name one with --cluster: ${names.join(', ')}.`,
  });
}

/** The best first: ready ones, then those that run. */
function vantagePods(pods: readonly GroupPod[]): GroupPod[] {
  const rank = (pod: GroupPod) => (pod.isEnding ? 2 : 0) + (pod.isReady ? 0 : 1);
  return pods
    .filter(({ workload, absence }) => workload === 'postgres' && absence === null)
    .sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
}

async function accessOf(
  client: KubeClient,
  context: KubeContext,
  { groups, whole, globalCluster, pods, services }: Observed,
  vantage: PodVantage,
): Promise<KubernetesAccess> {
  const balancers = balancerAddresses(services);
  const plan = planGlobalCluster(whole.groups, {
    published: { ...whole.published, ...Object.fromEntries(balancers.map(({ service, hosts }) => [service, hosts])) },
  });
  const here = new Set(groups.map(({ metadata }) => metadata.name));
  const first = plan.groups.find(({ name }) => here.has(name)) as GroupPlan;
  const namespace = first.namespace;
  const password = once(async () => {
    const ref = { kind: KUBE_KINDS.Secret, namespace, name: appSecret(first.name) };
    const secret = await client.get(ref).catch((error: unknown) => {
      throw asUserError(error, context);
    });
    return Buffer.from(String((secret.data as Record<string, string>).password ?? ''), 'base64').toString('utf8');
  });
  const entries = entriesOf(plan, balancers);
  const proxies = pods.filter(({ workload }) => workload === 'proxy').map((pod) => proxyAccess(plan, pod));
  return {
    platform: 'kubernetes',
    groups,
    plan,
    nodes: plan.groups.flatMap((group) =>
      group.nodes.map((node) => (here.has(group.name) ? nodeAccess(group, node.name, pods) : remoteNode(first, node))),
    ),
    proxies,
    vantage,
    vantagePlan: withInsideNames(plan),
    entries,
    balancers: balancersOf(plan, balancers).filter(({ group }) => here.has(group)),
    unanswered: [],
    stored: groups.flatMap(storedStatusOf),
    // All groups are of one namespace, so a Service's name says enough.
    published: (_group, service) => balancers.find((one) => one.service === service)?.hosts ?? [],
    examineEntries: async () => {
      if (entries.length === 0) return [];
      const { database, owner: user } = first.bootstrap;
      const ca = await readTrustBundle(client, context, first);
      const means = { ...clientMeans({ ca, database, user, password: await password() }), isNameAsked: true };
      return await examineAll(entries, async () => means);
    },
    startHint: '`kubectl describe pod` says more',
    application: first.bootstrap,
    applicationPassword: password,
    ways: await waysOf(client, context, first, plan, balancers),
    postgresMajor: plan.postgresMajor,
    postgresBin: null,
    logs: async (target) => podLogs(context.dial, pods, { target, globalCluster }),
    dial: context.dial,
    pods,
    trustBundle: () => readTrustBundle(client, context, first),
  };
}

/** With when the operator wrote it, as the API server notes for each manager of fields. */
function storedStatusOf({ metadata, status }: PostgresGroup): StoredStatus[] {
  const parsed = postgresGroupStatusSchema.safeParse(status);
  if (!parsed.success) return [];
  const managed = managedFieldsSchema.safeParse(metadata.managedFields);
  const times = (managed.data ?? []).flatMap(({ subresource, time }) =>
    subresource === 'status' && time ? [time] : [],
  );
  const writtenAtMs = Math.max(...times.map((time) => Date.parse(time)));
  return [
    { group: metadata.name, writtenAtMs: Number.isFinite(writtenAtMs) ? writtenAtMs : null, status: parsed.data },
  ];
}

const managedFieldsSchema = z.array(z.looseObject({ subresource: z.string().optional(), time: z.string().optional() }));

function nodeAccess(group: GroupPlan, node: string, pods: readonly GroupPod[]): NodeAccess {
  const pod = pods.find((one) => one.node === node);
  const target = (port: number) => ({ host: node, address: null, port });
  return {
    name: node,
    group: group.name,
    agent: target(pod?.ports.agent ?? AGENT_PORT),
    postgres: target(pod?.ports.postgres ?? POSTGRES_PORT),
    absence: pod === undefined ? 'it has no pod' : pod.absence,
    faults: pod?.isEnding ? ['its pod is being deleted'] : [],
  };
}

/** Of another Kubernetes cluster: dialled from a pod here, by the name that servers here dial. */
function remoteNode(from: GroupPlan, node: NodePlan): NodeAccess {
  const host = dialHost(from, node);
  const target = (port: number) => ({ host, address: null, port });
  return {
    name: node.name,
    group: node.group,
    agent: target(AGENT_PORT),
    postgres: target(POSTGRES_PORT),
    absence: null,
    faults: [],
  };
}

/** Each pod of the Deployment by its own address: a Service would lead to any of them. */
function proxyAccess(plan: GlobalPlan, pod: GroupPod): ProxyAccess {
  const group = plan.groups.find(({ name }) => name === pod.group);
  const target = (host: string, port: number | undefined) => ({
    host,
    address: pod.address,
    port: port ?? POSTGRES_PORT,
  });
  const host = writeService(pod.group);
  return {
    name: pod.name,
    group: pod.group,
    write: target(host, pod.ports.write),
    read: pod.ports.read === undefined ? null : target(host, pod.ports.read),
    // Pods of a Deployment are alike: all have the certificate of the plan's first proxy.
    health: target(group?.proxies[0]?.name ?? pod.name, pod.ports.health),
    absence: pod.address === null ? (pod.absence ?? 'its pod has no address yet') : pod.absence,
    faults: pod.isEnding ? ['its pod is being deleted'] : [],
  };
}

async function waysOf(
  client: KubeClient,
  context: KubeContext,
  first: GroupPlan,
  plan: GlobalPlan,
  balancers: readonly PublishedAddress[],
): Promise<ConnectionWay[]> {
  const inside: ConnectionWay = {
    from: 'inside',
    places: placesOf(withInsideNames(plan), () => null),
    sslRootCert: APP_CA_FILE,
    passfile: null,
  };
  const addressOf = (service: string): string | null =>
    balancers.find((one) => one.service === service)?.hosts[0] ?? null;
  const entries = plan.groups.filter(({ name }) => addressOf(plan.globalCluster) !== null || addressOf(name) !== null);
  if (entries.length === 0) return [inside];
  const sslRootCert = await saveTrustBundle(client, context, first);
  return [{ from: 'outside', places: placesOf(plan, addressOf), sslRootCert, passfile: null }, inside];
}

/** Every load balancer's first address, by the name that clients are given for its Service. */
function entriesOf(plan: GlobalPlan, balancers: readonly PublishedAddress[]): ClusterAccess['entries'] {
  return balancers.flatMap(({ service: name, hosts }) => {
    const service = plan.groups.flatMap(({ services }) => services).find((one) => one.name === name);
    const [address = null] = hosts;
    const host = service?.fqdns[0];
    // Clients have no business with the record's members: their own edges are the nodes'.
    if (host === undefined || service?.kind === 'etcd') return [];
    return [{ purpose: 'client' as const, target: `${name} load balancer`, host, address, port: POSTGRES_PORT }];
  });
}

/** Those that the plan has, whether they have an address or not. */
function balancersOf(plan: GlobalPlan, balancers: readonly PublishedAddress[]): ClusterAccess['balancers'] {
  return plan.groups.flatMap((group) =>
    balancedServices(group).map(({ name, fqdns }) => ({
      group: group.name,
      service: name,
      fqdns,
      hosts: balancers.find(({ service }) => service === name)?.hosts ?? [],
    })),
  );
}

/** @param addressOf what to dial for a Service: an address of its load balancer; null: its name resolves. */
function placesOf(plan: GlobalPlan, addressOf: (service: string) => string | null): ConnectionWay['places'] {
  const either = (global: string, own: string) => addressOf(global) ?? addressOf(own);
  return {
    plan,
    nodes: plan.groups.flatMap((group) =>
      group.nodes.map(({ name }) => ({ name, group: group.name, address: addressOf(name) })),
    ),
    proxies: plan.groups
      .filter(({ proxies }) => proxies.length > 0)
      .map((group) => ({
        group: group.name,
        write: either(plan.globalCluster, group.name),
        read: group.proxies.some(({ read }) => read) ? either(`${plan.globalCluster}-r`, `${group.name}-r`) : undefined,
      })),
  };
}

/** The bundle as a file of this machine, for libpq: it holds no secret, and stays for connection strings that were printed. */
async function saveTrustBundle(client: KubeClient, context: KubeContext, group: GroupPlan): Promise<string> {
  const text = await readTrustBundle(client, context, group);
  const folder = join(cacheFolder(), 'trust', encodeURIComponent(context.name));
  const path = join(folder, `${group.namespace}-${group.name}.crt`);
  await mkdir(folder, { recursive: true });
  await writeFile(`${path}.${process.pid}`, text, { mode: 0o644 });
  await rename(`${path}.${process.pid}`, path);
  return path;
}

async function readTrustBundle(client: KubeClient, context: KubeContext, group: GroupPlan): Promise<string> {
  const ref = { kind: KUBE_KINDS.ConfigMap, namespace: group.namespace, name: caConfigMap(group.name) };
  const object = await client.get(ref).catch((error: unknown) => {
    throw asUserError(error, context);
  });
  return String((object.data as Record<string, string> | undefined)?.['ca.crt'] ?? '');
}

function once<T>(read: () => Promise<T>): () => Promise<T> {
  let reading: Promise<T> | null = null;
  return () => (reading ??= read());
}

function notInstalled({ name }: KubeContext): UserError {
  return new UserError({
    code: 'PGSPAN_NOT_INSTALLED',
    kind: 'not-found',
    message: `Cannot find PostgresGroups in context "${name}": this Kubernetes cluster does not know the resource`,
    todo: 'Install pgspan with `pgspan install manifests | kubectl apply --server-side -f -`, or name another --context.',
  });
}

/** With what to do; anything else stays what it is. */
/** What a person can do about an error of the API server. */
export function asUserError(error: unknown, { name }: KubeContext): unknown {
  if (error instanceof ApiError) {
    const isRight = error.status === 401 || error.status === 403;
    return new UserError({
      code: error.code,
      kind: isRight ? 'missing' : 'failed',
      message: error.message,
      todo: isRight
        ? 'Ask for the right that it names (docs/connecting.md lists those that pgspan uses), or use another --context.'
        : 'Look at the object with kubectl, and try again.',
      cause: error,
    });
  }
  if (error instanceof ApiUnreachableError) {
    return new UserError({
      code: error.code,
      message: error.message,
      todo: `Check context "${name}" and the way to its API server with \`kubectl version\`.`,
      cause: error,
    });
  }
  return error;
}
