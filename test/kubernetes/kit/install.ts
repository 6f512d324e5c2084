/** pgspan on the cluster under test, as README says: the printed install file, applied. */
import { execFile } from 'node:child_process';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { context, kubectl, PGSPAN_IMAGE } from './environment.ts';

export const ROOT = resolve(import.meta.dirname, '../../..');
const READY_TIMEOUT = '120s';
const run = promisify(execFile);

/** `pgspan ...` on the sources. @returns what it printed; rejects with what it said. */
export async function pgspan(words: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  return (await pgspanResult(words, env)).stdout;
}

export async function pgspanResult(
  words: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<{ readonly stdout: string; readonly stderr: string }> {
  return await run(process.execPath, [join(ROOT, 'src/cli/main.ts'), ...words], {
    cwd: '/',
    env: { ...process.env, ...env },
    timeout: 300_000,
    maxBuffer: 16 * 1024 * 1024,
  });
}

/** Words that name a namespace of the cluster under test. */
export const inNamespace = (namespace: string): string[] => ['--context', context(), '-n', namespace];

/** Applies the install file and waits for the operator. Again on a cluster that has it: changes what differs. */
export async function installPgspan(image: string = PGSPAN_IMAGE): Promise<void> {
  const manifests = await pgspan(['install', 'manifests', '--image', image, '--image-pull-policy', 'IfNotPresent']);
  await kubectl(['apply', '--server-side', '--force-conflicts', '-f', '-'], manifests);
  await kubectl(['wait', '--for=condition=Established', 'crd/postgresgroups.pgspan.io', `--timeout=${READY_TIMEOUT}`]);
  await kubectl(['-n', 'pgspan-system', 'rollout', 'status', 'deployment', `--timeout=${READY_TIMEOUT}`]);
}

/** A namespace that holds pods to the strictest standard; one of that name is emptied first. */
export async function freshNamespace(name: string, on: string = context()): Promise<void> {
  await removeNamespace(name, on);
  await kubectl(['create', 'namespace', name], undefined, on);
  await kubectl(['label', 'namespace', name, 'pod-security.kubernetes.io/enforce=restricted'], undefined, on);
}

/**
 * The groups and their pods first: of a namespace with pods in it Kubernetes waits for half of their longest grace period, which
 * for PostgreSQL is minutes, before it looks again.
 */
export async function removeNamespace(name: string, on: string = context()): Promise<void> {
  const groups = ['-n', name, 'delete', 'postgresgroups', '--all', '--timeout=60s'];
  // Neither the namespace nor the resource need be there.
  await kubectl(groups, undefined, on).catch(() => {});
  const pods = ['-n', name, 'wait', '--for=delete', 'pods', '-l', 'pgspan.io/group', '--timeout=90s'];
  await kubectl(pods, undefined, on).catch(() => {});
  await kubectl(['delete', 'namespace', name, '--ignore-not-found', '--timeout=180s'], undefined, on);
}
