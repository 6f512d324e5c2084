/**
 * Everything that a Kubernetes cluster needs before its first group, in the order in which it is applied. The Helm chart
 * (helm-chart.ts) is made from the same objects.
 */
import { postgresGroupCrd } from './crd.ts';
import { INSTALL_LABELS, type InstallOptions, type Manifest } from './manifest.ts';
import { operatorWorkload } from './operator-deployment.ts';
import { operatorRights } from './operator-rights.ts';

export const INSTALL_DEFAULTS = {
  namespace: 'pgspan-system',
  replicas: 1,
  watchNamespaces: [],
  networkPolicy: false,
  // The limit stops a leak, and is far from what a large cluster takes.
  resources: { requests: { cpu: '20m', memory: '96Mi' }, limits: { memory: '256Mi' } },
} as const satisfies Omit<InstallOptions, 'image'>;

export function installManifests(options: InstallOptions): Manifest[] {
  return [
    operatorNamespace(options.namespace),
    crdManifest(),
    ...operatorRights(options),
    ...operatorWorkload(options),
  ];
}

export function crdManifest(): Manifest {
  const crd = postgresGroupCrd();
  return { ...crd, metadata: { ...crd.metadata, labels: INSTALL_LABELS } };
}

export function operatorNamespace(name: string): Manifest {
  return {
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name, labels: { ...INSTALL_LABELS, 'pod-security.kubernetes.io/enforce': 'restricted' } },
  };
}
