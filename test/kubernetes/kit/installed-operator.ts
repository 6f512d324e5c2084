/** The operator that is installed in the cluster would do what a test wants to see its own operator do: it rests meanwhile. */
import { waitUntil } from '../../../src/base/wait-until.ts';
import type { TestKube } from '../../kit/kube-api.ts';

const DEPLOYMENT = '/apis/apps/v1/namespaces/pgspan-system/deployments/pgspan-operator';
const SOON = { timeoutMs: 60_000, intervalMs: 250 } as const;

/** Waits until none of its pods is left. `resume` brings back as many as there were. */
export async function pauseInstalledOperator(kube: TestKube): Promise<{ resume(): Promise<void> }> {
  const { status, body } = await kube.ask('GET', DEPLOYMENT);
  if (status === 404) return { resume: async () => {} };
  const { replicas = 1 } = (body as { spec: { replicas?: number } }).spec;
  await kube.call('PATCH', DEPLOYMENT, { spec: { replicas: 0 } });
  const pods = '/api/v1/namespaces/pgspan-system/pods?labelSelector=app.kubernetes.io/name%3Dpgspan-operator';
  await waitUntil('the installed operator has ended', SOON, async () => {
    const { items } = (await kube.call('GET', pods)) as { items: unknown[] };
    return items.length === 0;
  });
  return {
    async resume() {
      await kube.call('PATCH', DEPLOYMENT, { spec: { replicas } });
    },
  };
}
