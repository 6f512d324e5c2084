/** The operator's own Deployment. Its pods pass the Pod Security Standard `restricted`. */
import { createHash } from 'node:crypto';
import { OPERATOR_NAME, type OperatorConfig } from '../../../api/operator-config.ts';
import { INSTALL_LABELS, type InstallOptions, type Manifest } from './manifest.ts';
import { NAMESPACE_ROLE } from './operator-rights.ts';

const CONFIG_MAP = `${OPERATOR_NAME}-config`;
const CONFIG_FOLDER = '/etc/pgspan/operator';
const CONFIG_KEY = 'operator.json';
export const HEALTH_PORT = 8080;
/** Any number but root's: the image owns no file by it. */
const UID = 1000;

const SELECTOR = { 'app.kubernetes.io/name': INSTALL_LABELS['app.kubernetes.io/name'] };

/** Seconds that an operator takes to end what it is doing. It can be killed at any moment; this is for a quiet log. */
const GRACE_SECONDS = 10;

export function operatorConfig(options: InstallOptions): OperatorConfig {
  const { image, imagePullPolicy, namespace, watchNamespaces } = options;
  return {
    programImage: image,
    ...(imagePullPolicy === undefined ? {} : { imagePullPolicy }),
    namespace,
    serviceAccount: OPERATOR_NAME,
    watchNamespaces: [...watchNamespaces],
    namespaceRole: watchNamespaces.length === 0 ? NAMESPACE_ROLE : null,
    healthPort: HEALTH_PORT,
  };
}

/** @param configDigest default: that of the configuration, so that pods are made anew with it. */
export function operatorWorkload(options: InstallOptions, configDigest?: string): Manifest[] {
  const { namespace, networkPolicy } = options;
  const config = `${JSON.stringify(operatorConfig(options), null, 2)}\n`;
  return [
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: CONFIG_MAP, namespace, labels: INSTALL_LABELS },
      data: { [CONFIG_KEY]: config },
    },
    operatorDeployment(options, configDigest ?? createHash('sha256').update(config).digest('hex')),
    ...(networkPolicy ? [operatorNetworkPolicy(namespace)] : []),
  ];
}

function operatorDeployment(options: InstallOptions, configDigest: string): Manifest {
  const { namespace, replicas } = options;
  return {
    apiVersion: 'apps/v1',
    kind: 'Deployment',
    metadata: { name: OPERATOR_NAME, namespace, labels: INSTALL_LABELS },
    spec: {
      replicas,
      selector: { matchLabels: SELECTOR },
      strategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
      template: {
        metadata: { labels: INSTALL_LABELS, annotations: { 'pgspan.io/config': configDigest } },
        spec: {
          serviceAccountName: OPERATOR_NAME,
          automountServiceAccountToken: true,
          enableServiceLinks: false,
          terminationGracePeriodSeconds: GRACE_SECONDS,
          securityContext: {
            runAsNonRoot: true,
            runAsUser: UID,
            runAsGroup: UID,
            seccompProfile: { type: 'RuntimeDefault' },
          },
          topologySpreadConstraints: [
            {
              maxSkew: 1,
              topologyKey: 'kubernetes.io/hostname',
              whenUnsatisfiable: 'ScheduleAnyway',
              labelSelector: { matchLabels: SELECTOR },
            },
          ],
          containers: [operatorContainer(options)],
          volumes: [{ name: 'config', configMap: { name: CONFIG_MAP } }],
        },
      },
    },
  };
}

function operatorContainer({ image, imagePullPolicy, resources }: InstallOptions): object {
  const probe = (path: string, periodSeconds: number, failureThreshold: number) => ({
    httpGet: { path, port: 'health' },
    periodSeconds,
    timeoutSeconds: 5,
    failureThreshold,
  });
  return {
    name: 'operator',
    image,
    ...(imagePullPolicy === undefined ? {} : { imagePullPolicy }),
    args: ['operator', '--config', `${CONFIG_FOLDER}/${CONFIG_KEY}`],
    env: [{ name: 'POD_NAME', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }],
    ports: [{ name: 'health', containerPort: HEALTH_PORT, protocol: 'TCP' }],
    startupProbe: probe('/livez', 1, 60),
    livenessProbe: probe('/livez', 20, 3),
    // Also of a replica that waits: it is ready to take over.
    readinessProbe: probe('/readyz', 5, 3),
    resources,
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      readOnlyRootFilesystem: true,
    },
    volumeMounts: [{ name: 'config', mountPath: CONFIG_FOLDER, readOnly: true }],
  };
}

export function operatorNetworkPolicy(namespace: string): Manifest {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name: OPERATOR_NAME, namespace, labels: INSTALL_LABELS },
    spec: {
      podSelector: { matchLabels: SELECTOR },
      policyTypes: ['Ingress'],
      ingress: [{ ports: [{ protocol: 'TCP', port: 'health' }] }],
    },
  };
}
