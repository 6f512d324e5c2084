/** The conformance suite of platforms, on pods. */
import { after, before, describe } from 'node:test';
import { KubernetesCluster } from '../kubernetes/kit/cluster.ts';
import { kubectl } from '../kubernetes/kit/environment.ts';
import { threeNodes } from '../kubernetes/kit/groups.ts';
import { freshNamespace, inNamespace, installPgspan, pgspan, removeNamespace } from '../kubernetes/kit/install.ts';
import { needs } from '../kit/requirement.ts';
import { whole } from '../scenarios/runner.ts';
import { describePlatform } from './platform.ts';

const NAMESPACE = 'pgspan-conformance';
const TEXTS = 'cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null; true';

describe('the Kubernetes platform', { ...needs('kubernetes', 'kubectl'), timeout: 900_000 }, () => {
  const cluster = new KubernetesCluster(NAMESPACE);

  before(async () => {
    await installPgspan();
    await freshNamespace(NAMESPACE);
    await cluster.apply(threeNodes());
    await whole(cluster, 300_000);
  });
  after(async () => {
    await cluster.close();
    await removeNamespace(NAMESPACE);
  });

  describePlatform(() => ({
    cluster,
    // What psql takes must come last.
    pgspan: (verb = '', ...words) => pgspan([verb, ...inNamespace(NAMESPACE), ...words]),
    password: async () => (await cluster.access()).applicationPassword(),
    processTexts: (node) => kubectl(['-n', NAMESPACE, 'exec', `${node}-0`, '-c', 'postgres', '--', 'sh', '-c', TEXTS]),
  }));
});
