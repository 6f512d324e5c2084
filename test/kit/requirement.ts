/**
 * What a test needs of the machine, said where the test is declared:
 *
 *   test('cuts a node off without a reset', needs('root', 'nft', 'netns'), async () => { ... });
 *
 * A test whose needs are not met is skipped with the reason; `npm test` lists those at the end, and with PGSPAN_TEST_ALL=1 counts
 * them as failed. A need of a server version (`postgres>=17`) is another thing: the test belongs to the run on another PostgreSQL,
 * and is failed only if no run of CI had it (.ci/run).
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { findPostgres } from '../../src/platform/postgres-installation.ts';

/**
 * - `root`: this process is root.
 * - `postgres`, `postgres>=N`: a supported PostgreSQL, of that major or later; see PGSPAN_POSTGRES_BIN.
 * - `psql`, `etcd`, `nft`, `ip`, `openssl`, `git`, `npm`, `mkfs.ext4`, `debootstrap`: the program.
 * - `registry`: npm, and an npm registry that answers it.
 * - `loopback`: all of 127.0.0.0/8 can be bound (not so on macOS).
 * - `kubernetes`: KUBECONFIG names a file. That of a home is not taken: tests make namespaces and delete them.
 * - `three-kubernetes`: KUBECONFIG has three contexts at least, of three clusters that reach each other's load balancers.
 * - `kubernetes-faults`: a program that breaks pods and clusters (PGSPAN_FAULTS, test/kubernetes/kit/faults.ts). `kubectl`: the program.
 * - `external-dns`: the Kubernetes cluster publishes the annotation external-dns.alpha.kubernetes.io/hostname of a Service with a
 *   load balancer, and its pods resolve that name (PGSPAN_EXTERNAL_DNS=1).
 * - `balancer-hostnames`: an annotation gives load balancers host names (PGSPAN_BALANCER_HOSTNAME, test/kubernetes/kit/environment.ts).
 * - `netns`: may make network namespaces. `mount`: may mount file systems. `cgroup`: may make control groups.
 */
export type Requirement =
  | 'root'
  | 'postgres'
  | `postgres>=${number}`
  | 'psql'
  | 'etcd'
  | 'nft'
  | 'ip'
  | 'openssl'
  | 'git'
  | 'npm'
  | 'mkfs.ext4'
  | 'debootstrap'
  | 'registry'
  | 'loopback'
  | 'kubernetes'
  | 'kubernetes-faults'
  | 'three-kubernetes'
  | 'kubectl'
  | 'external-dns'
  | 'balancer-hostnames'
  | 'netns'
  | 'mount'
  | 'cgroup';

/** Begins the reason of a test that belongs to the run on another PostgreSQL. */
export const OTHER_POSTGRES = 'runs on another PostgreSQL: ';

/** Options for `test` or `suite`: skip with the reason when something is missing. May be spread beside other options. */
export function needs(...requirements: readonly Requirement[]): { skip: string | false } {
  const missing = requirements.map(problem).filter((text) => text !== undefined);
  // What no other server would mend counts first.
  const reasons = missing.filter((text) => !text.startsWith(OTHER_POSTGRES));
  if (reasons.length > 0) return { skip: reasons.join('; ') };
  return { skip: missing[0] ?? false };
}

const known = new Map<Requirement, string | undefined>();

function problem(requirement: Requirement): string | undefined {
  if (!known.has(requirement)) known.set(requirement, findProblem(requirement));
  return known.get(requirement);
}

function findProblem(requirement: Requirement): string | undefined {
  switch (requirement) {
    case 'root':
      return process.getuid?.() === 0 ? undefined : 'needs root';
    case 'postgres':
      return postgresProblem(0);
    case 'loopback':
      return process.platform === 'linux' ? undefined : 'needs all of 127.0.0.0/8 (Linux)';
    case 'registry':
      return works('npm', ['view', 'yaml', 'version']) ? undefined : 'needs an npm registry';
    case 'kubernetes':
      return (process.env.KUBECONFIG ?? '') === '' ? 'needs a Kubernetes cluster (KUBECONFIG)' : undefined;
    case 'kubernetes-faults':
      return (process.env.PGSPAN_FAULTS ?? '') === ''
        ? 'needs a program that makes faults on Kubernetes (PGSPAN_FAULTS)'
        : undefined;
    case 'three-kubernetes':
      return kubernetesContexts() >= 3 ? undefined : 'needs three Kubernetes clusters (contexts of KUBECONFIG)';
    case 'external-dns':
      return (process.env.PGSPAN_EXTERNAL_DNS ?? '') === ''
        ? 'needs a Kubernetes cluster with external-dns (PGSPAN_EXTERNAL_DNS)'
        : undefined;
    case 'balancer-hostnames':
      return (process.env.PGSPAN_BALANCER_HOSTNAME ?? '') === ''
        ? 'needs load balancers with host names (PGSPAN_BALANCER_HOSTNAME)'
        : undefined;
    case 'netns':
      return works('unshare', ['-n', 'true']) ? undefined : 'needs the right to make network namespaces';
    case 'mount':
      return works('unshare', ['-m', '--propagation', 'unchanged', 'mount', '-t', 'tmpfs', 'none', '/mnt'])
        ? undefined
        : 'needs the right to mount file systems';
    case 'cgroup':
      return process.getuid?.() === 0 && existsSync('/sys/fs/cgroup') ? undefined : 'needs control groups, as root';
    case 'psql':
    case 'kubectl':
    case 'etcd':
    case 'nft':
    case 'ip':
    case 'openssl':
    case 'git':
    case 'npm':
    case 'mkfs.ext4':
    case 'debootstrap':
      return isOnPath(requirement) ? undefined : `needs the program ${requirement}`;
    default:
      return postgresProblem(Number(requirement.slice('postgres>='.length)));
  }
}

function kubernetesContexts(): number {
  if ((process.env.KUBECONFIG ?? '') === '') return 0;
  const { stdout } = spawnSync('kubectl', ['config', 'get-contexts', '-o', 'name'], { encoding: 'utf8' });
  return (stdout ?? '').split('\n').filter((name) => name !== '').length;
}

function postgresProblem(majorMin: number): string | undefined {
  try {
    const { major } = findPostgres();
    return major >= majorMin ? undefined : `${OTHER_POSTGRES}needs ${majorMin} or later, this is ${major}`;
  } catch (error) {
    return `needs PostgreSQL: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** Root's PATH may lack the folders of system programs. */
function isOnPath(program: string): boolean {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return folders.some((folder) => folder !== '' && existsSync(join(folder, program)));
}

function works(command: string, words: readonly string[]): boolean {
  return spawnSync(command, words, { stdio: 'ignore' }).status === 0;
}
