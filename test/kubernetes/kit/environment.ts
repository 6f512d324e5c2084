/**
 * What the tests on Kubernetes are given, as from kind or any other cluster:
 *
 *   KUBECONFIG       one context per cluster; a test on one cluster takes the first, one on three the first three
 *   PGSPAN_IMAGE     tag of pgspan's image, loaded or pullable there       (default pgspan:dev)
 *   PGSPAN_NEXT_IMAGE   another tag of it, or another version: what an upgrade goes to (default PGSPAN_IMAGE-next)
 *   POSTGRES_IMAGE   tag of PostgreSQL's image                             (default postgres:18)
 *   ETCD_IMAGE       tag of etcd's image                                   (default quay.io/coreos/etcd:v3.6.5)
 *   PGSPAN_EXTERNAL_DNS=1   it publishes the host names of external-dns's annotation; tests of names outside need it
 *   PGSPAN_BALANCER_HOSTNAME   annotation of a Service, as key=value, whose load balancer has a host name in its status (optional)
 *   PGSPAN_FAULTS    program that breaks pods and clusters (faults.ts); tests of such faults need it
 *
 * What is missing is said where a test is declared, by `needs('kubernetes', 'kubectl')` (test/kit/requirement.ts).
 *
 * Load balancers and volumes are the cluster's own: Services of type LoadBalancer must get an address that this machine
 * reaches, and the default StorageClass must make volumes. On kind: cloud-provider-kind, and kind's own class.
 */
import { execFile, execFileSync } from 'node:child_process';
import { promisify } from 'node:util';

export const PGSPAN_IMAGE = process.env.PGSPAN_IMAGE ?? 'pgspan:dev';
export const PGSPAN_NEXT_IMAGE = process.env.PGSPAN_NEXT_IMAGE ?? `${PGSPAN_IMAGE}-next`;
export const POSTGRES_IMAGE = process.env.POSTGRES_IMAGE ?? 'postgres:18';
export const BALANCER_HOSTNAME = process.env.PGSPAN_BALANCER_HOSTNAME ?? null;
export const ETCD_IMAGE = process.env.ETCD_IMAGE ?? 'quay.io/coreos/etcd:v3.6.5';
export const FAULTS_PROGRAM = process.env.PGSPAN_FAULTS ?? null;

/** The contexts of KUBECONFIG, in their order. Throws when there is none. */
export function contexts(): string[] {
  const text = execFileSync('kubectl', ['config', 'get-contexts', '-o', 'name'], { encoding: 'utf8' });
  const names = text.split('\n').filter((name) => name !== '');
  if (names.length === 0) throw new Error('KUBECONFIG has no context');
  return names;
}

let first: string | null = null;
export function context(): string {
  first ??= contexts()[0] as string;
  return first;
}

/** `kubectl --context FIRST ...`, as a user types it; resolves with what it printed. Rejects with what it said. */
export async function kubectl(words: readonly string[], input?: string, on: string = context()): Promise<string> {
  const running = promisify(execFile)('kubectl', ['--context', on, ...words], {
    timeout: 300_000,
    maxBuffer: 64 * 1024 * 1024,
  });
  // It may end before it has read anything; what it says tells why.
  running.child.stdin?.on('error', () => {});
  running.child.stdin?.end(input ?? '');
  try {
    return (await running).stdout;
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: string };
    throw new Error(`kubectl ${words.join(' ')}: ${stderr?.trim() || message}`, { cause: error });
  }
}
