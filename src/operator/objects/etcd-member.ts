/**
 * pgspan's own member of etcd: one pod with a volume, on the certificate of the plan. Everything is said by etcd's own variables
 * (ETCD_*), since the public image has no shell. What only the first start reads (`--initial-cluster`) is in a ConfigMap that the
 * container reads anew at each start; everything else is in the pod's template, so that a change of it shows as a new revision.
 *
 * Why the first start is kept apart: after it the settings say `existing` and name nobody else, so a container that finds its
 * folder empty later ends instead of starting a second cluster, or of coming back as a member that has forgotten its votes.
 * https://etcd.io/docs/v3.6/op-guide/configuration/
 */
import { createHash } from 'node:crypto';
import { workloadLabels } from '../../api/labels.ts';
import { ETCD_CLIENT_PORT, ETCD_PEER_PORT } from '../../core/topology/names.ts';
import type { EtcdMemberPlan, TimingPlan } from '../../core/topology/plan-types.ts';
import type { ConfigMap, Container, PodTemplate, Probe, StatefulSet } from '../../platform/kubernetes/object-types.ts';
import { groupLabels, ownedMetadata } from './metadata.ts';
import { etcdAccount, etcdConfigMap, etcdStatefulSet, etcdTlsSecret, VOLUME_CLAIM_TEMPLATE } from './object-names.ts';
import { CONTAINER_SECURITY, POD_SECURITY, SECRET_FILE_MODE, schedulingOf, withRevision } from './pod-parts.ts';
import { ETCD_HEALTH_PORT, ETCD_VOLUME_FOLDER, TLS_FOLDER } from './pod-places.ts';
import type { EtcdStart, RenderInput } from './render-input.ts';

/** On the ConfigMap: what the operator remembers of its member. */
export const ETCD_MEMORY_ANNOTATION = 'pgspan.io/etcd-member';

export const ETCD_CONTAINER = 'etcd';
const WORKLOAD = 'etcd';

/** What a member with one small key needs; the largest part is Go's own. */
const REQUESTS = { cpu: '50m', memory: '96Mi' } as const;

/** etcd stops at once: it hands its lead over first, which takes an election of a second. */
const TERMINATION_GRACE_SECONDS = 20;

/** A record has 16 KiB at most, and an hour of its changes is kept; with more than this something is wrong. */
const QUOTA_BYTES = 256 * 1024 * 1024;

/**
 * Milliseconds. `lan`: etcd's own defaults. `wan`: for round trips of up to 200 ms
 * (https://etcd.io/docs/v3.6/tuning/#time-parameters: heartbeat about one round trip, election at least ten).
 */
const TIMES = { lan: { heartbeat: 100, election: 1000 }, wan: { heartbeat: 200, election: 2000 } } as const;

export function renderEtcdConfig(input: RenderInput): ConfigMap[] {
  const { etcd } = input.groupPlan;
  const { etcd: start } = input.facts;
  if (etcd === null || start === null) return [];
  return [
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: ownedMetadata(input, etcdConfigMap(etcd.name), {
        workload: WORKLOAD,
        annotations: { [ETCD_MEMORY_ANNOTATION]: start.memoryText },
      }),
      data: {
        ETCD_INITIAL_CLUSTER: start.initialCluster,
        ETCD_INITIAL_CLUSTER_STATE: start.initialClusterState,
      },
    },
  ];
}

export function renderEtcdMember(input: RenderInput): StatefulSet[] {
  const { groupPlan, group, facts } = input;
  const { etcd } = groupPlan;
  const start = facts.etcd;
  if (etcd === null || start === null || start.folder === '') return [];
  const { storage } = group.spec.coordination.etcdMember;
  const stored = facts.storedVolumes[etcdStatefulSet(etcd.name)];
  const storageClass = stored === undefined ? (storage.storageClass ?? null) : stored.storageClass;
  return [
    {
      apiVersion: 'apps/v1',
      kind: 'StatefulSet',
      metadata: ownedMetadata(input, etcdStatefulSet(etcd.name), { workload: WORKLOAD }),
      spec: {
        replicas: 1,
        serviceName: etcd.name,
        podManagementPolicy: 'Parallel',
        revisionHistoryLimit: 1,
        // Members of several Kubernetes clusters take turns: the operators see to that.
        updateStrategy: { type: 'OnDelete' },
        persistentVolumeClaimRetentionPolicy: {
          whenDeleted: group.spec.storage.retain ? 'Retain' : 'Delete',
          whenScaled: 'Retain',
        },
        selector: { matchLabels: workloadLabels({ group: groupPlan.name, workload: WORKLOAD }) },
        template: renderPod(input, etcd, start),
        volumeClaimTemplates: [
          {
            metadata: { name: VOLUME_CLAIM_TEMPLATE, labels: groupLabels(input, WORKLOAD) },
            spec: {
              accessModes: ['ReadWriteOnce'],
              ...(storageClass === null ? {} : { storageClassName: storageClass }),
              resources: { requests: { storage: stored?.size ?? storage.size } },
            },
          },
        ],
      },
    },
  ];
}

function renderPod(input: RenderInput, etcd: EtcdMemberPlan, start: EtcdStart): PodTemplate {
  return withRevision({
    metadata: { labels: groupLabels(input, WORKLOAD) },
    spec: {
      serviceAccountName: etcdAccount(etcd.name),
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      terminationGracePeriodSeconds: TERMINATION_GRACE_SECONDS,
      securityContext: POD_SECURITY,
      ...schedulingOf(input, WORKLOAD),
      containers: [container(input, etcd, start)],
      volumes: [{ name: 'tls', secret: { secretName: etcdTlsSecret(etcd.name), defaultMode: SECRET_FILE_MODE } }],
    },
  });
}

function container(input: RenderInput, etcd: EtcdMemberPlan, start: EtcdStart): Container {
  const { plan, group, facts } = input;
  const { imageName, resources } = group.spec.coordination.etcdMember;
  const { requests, limits } = resources;
  return {
    name: ETCD_CONTAINER,
    image: imageName,
    ...(facts.imagePullPolicy === undefined ? {} : { imagePullPolicy: facts.imagePullPolicy }),
    command: ['etcd'],
    env: settingsOf(etcd, start, { timing: plan.timing, trustBundle: facts.trustBundle, token: tokenOf(input) }),
    envFrom: [{ configMapRef: { name: etcdConfigMap(etcd.name) } }],
    ports: [
      { name: 'client', containerPort: ETCD_CLIENT_PORT, protocol: 'TCP' },
      { name: 'peer', containerPort: ETCD_PEER_PORT, protocol: 'TCP' },
      { name: 'health', containerPort: ETCD_HEALTH_PORT, protocol: 'TCP' },
    ],
    startupProbe: probe('/metrics', { periodSeconds: 1, timeoutSeconds: 5, failureThreshold: 2 ** 31 - 1 }),
    // A member without a quorum lives: killing it would help nobody.
    livenessProbe: probe('/metrics', { periodSeconds: 20, timeoutSeconds: 10, failureThreshold: 3 }),
    // For people: the Service publishes members that are not ready, which must find each other.
    readinessProbe: probe('/health', { periodSeconds: 5, timeoutSeconds: 5, failureThreshold: 2 }),
    // Why it ended is in the pod's status then (operator/etcd/etcd-pod.ts).
    terminationMessagePolicy: 'FallbackToLogsOnError',
    resources: {
      requests: { ...REQUESTS, ...definedOf(requests) },
      ...(Object.keys(limits).length === 0 ? {} : { limits: definedOf(limits) }),
    },
    securityContext: CONTAINER_SECURITY,
    volumeMounts: [
      { name: VOLUME_CLAIM_TEMPLATE, mountPath: ETCD_VOLUME_FOLDER },
      { name: 'tls', mountPath: TLS_FOLDER, readOnly: true },
    ],
  };
}

/** Another one for each group that founds a cluster: etcd derives the cluster's id from it, so two never mix. */
function tokenOf({ plan, facts }: RenderInput): string {
  return `${plan.globalCluster}-${facts.ownerUid}`;
}

interface SettingsContext {
  readonly timing: TimingPlan;
  readonly trustBundle: string;
  readonly token: string;
}

function settingsOf(
  etcd: EtcdMemberPlan,
  { folder }: EtcdStart,
  { timing, trustBundle, token }: SettingsContext,
): { name: string; value: string }[] {
  const { heartbeat, election } = TIMES[timing.preset];
  const files = { TRUSTED_CA_FILE: 'ca.crt', CERT_FILE: 'tls.crt', KEY_FILE: 'tls.key' };
  const tls = ['', 'PEER_'].flatMap((prefix): [string, string][] => [
    [`${prefix}CLIENT_CERT_AUTH`, 'true'],
    ...Object.entries(files).map(([name, file]): [string, string] => [`${prefix}${name}`, `${TLS_FOLDER}/${file}`]),
  ]);
  const settings: [string, string][] = [
    ['NAME', etcd.name],
    ['DATA_DIR', `${ETCD_VOLUME_FOLDER}/${folder}`],
    ['LISTEN_CLIENT_URLS', `https://0.0.0.0:${ETCD_CLIENT_PORT}`],
    ['LISTEN_PEER_URLS', `https://0.0.0.0:${ETCD_PEER_PORT}`],
    ['LISTEN_METRICS_URLS', `http://0.0.0.0:${ETCD_HEALTH_PORT}`],
    ['ADVERTISE_CLIENT_URLS', etcd.peerUrl.replace(/:[0-9]+$/, `:${ETCD_CLIENT_PORT}`)],
    ['INITIAL_ADVERTISE_PEER_URLS', etcd.peerUrl],
    ['INITIAL_CLUSTER_TOKEN', token],
    ['HEARTBEAT_INTERVAL', String(heartbeat)],
    ['ELECTION_TIMEOUT', String(election)],
    // One key lives here, and old revisions of it are of no use.
    ['AUTO_COMPACTION_MODE', 'periodic'],
    ['AUTO_COMPACTION_RETENTION', '1h'],
    ['QUOTA_BACKEND_BYTES', String(QUOTA_BYTES)],
    ['LOGGER', 'zap'],
    ...tls,
    // A peer's connection comes from a pod or from behind a translated address, never from where its names lead. The second
    // is the name from 3.6 on; a variable that a version does not know costs it a warning.
    ['EXPERIMENTAL_PEER_SKIP_CLIENT_SAN_VERIFICATION', 'true'],
    ['PEER_SKIP_CLIENT_SAN_VERIFICATION', 'true'],
  ];
  return [
    ...settings.map(([name, value]) => ({ name: `ETCD_${name}`, value })),
    // etcd reads renewed certificates with each handshake, and the bundle at its start only: a new CA needs a new pod.
    { name: 'TRUST_BUNDLE_DIGEST', value: createHash('sha256').update(trustBundle).digest('hex').slice(0, 16) },
  ];
}

function probe(path: string, times: Omit<Probe, 'httpGet'>): Probe {
  return { httpGet: { path, port: 'health', scheme: 'HTTP' }, ...times };
}

function definedOf(amounts: { readonly cpu?: string | undefined; readonly memory?: string | undefined }) {
  return Object.fromEntries(Object.entries(amounts).filter((one): one is [string, string] => one[1] !== undefined));
}
