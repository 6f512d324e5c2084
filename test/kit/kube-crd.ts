/** The CustomResourceDefinition of these sources in the cluster of KUBECONFIG, and where its resources are. */
import { setTimeout as delay } from 'node:timers/promises';
import { crdManifest } from '../../src/platform/kubernetes/install/install-manifests.ts';
import type { TestKube } from './kube-api.ts';

const ESTABLISHED_TIMEOUT_MS = 20_000;

/** As `kubectl apply --server-side` does it. Left in place: other tests, and whoever works with the cluster, need it too. */
export async function applyCrd(kube: TestKube): Promise<void> {
  const crd = crdManifest();
  const path = `/apis/apiextensions.k8s.io/v1/customresourcedefinitions/${crd.metadata.name}`;
  const answer = await kube.ask('PATCH', `${path}?fieldManager=kubectl&force=true`, {
    body: crd,
    contentType: 'application/apply-patch+yaml',
  });
  if (answer.status >= 300) throw new Error(`The API server refuses the CRD: ${JSON.stringify(answer.body)}`);
  const deadlineMs = performance.now() + ESTABLISHED_TIMEOUT_MS;
  while (!isEstablished(await kube.call('GET', path))) {
    if (performance.now() > deadlineMs) throw new Error('The CRD was not established in time');
    await delay(100);
  }
}

function isEstablished(crd: unknown): boolean {
  const { status } = crd as { status?: { conditions?: { type: string; status: string }[] } };
  return status?.conditions?.some(({ type, status: is }) => type === 'Established' && is === 'True') ?? false;
}

/** Path of the groups of the test's namespace. */
export const groupsPath = (kube: TestKube): string =>
  `/apis/pgspan.io/v1alpha1/namespaces/${kube.namespace}/postgresgroups`;
