/**
 * The proxies: pods that are all alike, replaced one by one and never fewer than asked for. They hold no key of a database
 * and need no API of Kubernetes.
 */
import { workloadLabels } from '../../api/labels.ts';
import type { Container, Deployment, PodTemplate } from '../../platform/kubernetes/object-types.ts';
import { resolverParts } from './dns-sidecar.ts';
import { groupLabels, ownedMetadata } from './metadata.ts';
import { proxyAccount, proxyConfigMap, proxyTlsSecret, proxyWorkload } from './object-names.ts';
import {
  CONTAINER_SECURITY,
  POD_SECURITY,
  probe,
  SECRET_FILE_MODE,
  schedulingOf,
  untilReady,
  withRevision,
} from './pod-parts.ts';
import {
  CONFIG_FOLDER,
  PGSPAN_PROGRAM,
  PROXY_CONFIG_KEY,
  PROXY_HEALTH_PORT,
  PROXY_READ_PORT,
  PROXY_WRITE_PORT,
  TLS_FOLDER,
} from './pod-places.ts';
import type { RenderInput } from './render-input.ts';

/**
 * Between the deletion of a pod and the moment when no machine sends it new connections any more: EndpointSlices and
 * kube-proxy's rules are usually there within a second.
 */
const UNPUBLISH_SECONDS = 3;
/** For closing what is left when the drain is over. */
const END_SECONDS = 5;

/** What one proxy needs with a few hundred sessions; no limits: a proxy that is killed ends all of them. */
const REQUESTS = { cpu: '20m', memory: '64Mi' } as const;

/** null: this group has no proxies. */
export function renderProxyDeployment(input: RenderInput): Deployment | null {
  const { groupPlan } = input;
  if (groupPlan.proxies.length === 0) return null;
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: ownedMetadata(input, proxyWorkload(groupPlan.name), { workload: 'proxy' }),
    spec: {
      replicas: groupPlan.proxies.length,
      revisionHistoryLimit: 2,
      strategy: { type: 'RollingUpdate', rollingUpdate: { maxUnavailable: 0, maxSurge: 1 } },
      selector: { matchLabels: workloadLabels({ group: groupPlan.name, workload: 'proxy' }) },
      template: renderProxyPod(input),
    },
  };
}

function renderProxyPod(input: RenderInput): PodTemplate {
  const { groupPlan } = input;
  // It dials servers by the names that servers use, and has the same way to them.
  const resolver = resolverParts(input, 'proxy');
  const drainSeconds = Math.ceil(groupPlan.proxyLimits.drainMs / 1000);
  return withRevision({
    metadata: { labels: groupLabels(input, 'proxy') },
    spec: {
      serviceAccountName: proxyAccount(groupPlan.name),
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      terminationGracePeriodSeconds: UNPUBLISH_SECONDS + drainSeconds + END_SECONDS,
      securityContext: { ...POD_SECURITY, ...resolver.sysctls },
      ...resolver.dns,
      ...schedulingOf(input, 'proxy'),
      ...(resolver.initContainers.length === 0 ? {} : { initContainers: resolver.initContainers }),
      containers: [proxyContainer(input)],
      volumes: [
        { name: 'config', configMap: { name: proxyConfigMap(groupPlan.name) } },
        { name: 'tls', secret: { secretName: proxyTlsSecret(groupPlan.name), defaultMode: SECRET_FILE_MODE } },
        ...resolver.volumes,
      ],
    },
  });
}

function proxyContainer({ groupPlan, facts }: RenderInput): Container {
  const { programImage, imagePullPolicy } = facts;
  const reads = groupPlan.proxies.some(({ read }) => read);
  return {
    name: 'proxy',
    image: programImage,
    ...(imagePullPolicy === undefined ? {} : { imagePullPolicy }),
    command: [PGSPAN_PROGRAM, 'proxy', '--config', `${CONFIG_FOLDER}/${PROXY_CONFIG_KEY}`],
    ports: [
      { name: 'write', containerPort: PROXY_WRITE_PORT, protocol: 'TCP' },
      ...(reads ? [{ name: 'read', containerPort: PROXY_READ_PORT, protocol: 'TCP' } as const] : []),
      { name: 'health', containerPort: PROXY_HEALTH_PORT, protocol: 'TCP' },
    ],
    startupProbe: untilReady('health'),
    livenessProbe: probe('/livez', 'health', { periodSeconds: 20, timeoutSeconds: 5, failureThreshold: 3 }),
    // Ready while there is no leader: it holds connections then, which is what it is for.
    readinessProbe: probe('/readyz', 'health', { periodSeconds: 5, timeoutSeconds: 3, failureThreshold: 2 }),
    lifecycle: { preStop: { sleep: { seconds: UNPUBLISH_SECONDS } } },
    resources: { requests: REQUESTS },
    securityContext: CONTAINER_SECURITY,
    volumeMounts: [
      { name: 'config', mountPath: CONFIG_FOLDER, readOnly: true },
      { name: 'tls', mountPath: TLS_FOLDER, readOnly: true },
    ],
  };
}
