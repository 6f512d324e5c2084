/**
 * psql against a cluster on Kubernetes, two ways:
 *
 *   port-forward   the psql of this machine, through a port of 127.0.0.1 that leads to a pod; verify-full by the Service's name
 *   exec           the psql of PostgreSQL's own image, in a pod: nothing is needed here, and the password stays there
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import posix from 'node:path/posix';
import { UserError } from '../base/user-error.ts';
import { connectionVariables, type ConnectionSpec, formatPgpass } from '../core/connection/formats.ts';
import type { KubernetesAccess } from '../platform/kubernetes/access.ts';
import { execInPod } from '../platform/kubernetes/pod-exec.ts';
import { forwardPort, type PodPort } from '../platform/kubernetes/pod-forward.ts';
import type { GroupPod } from '../platform/kubernetes/pods.ts';
import { connectionSpec } from './connection.ts';

export interface PsqlTarget {
  /** null: the global names. */
  readonly group: string | null;
  readonly node: string | null;
  readonly read: boolean;
}

/** @returns psql's exit code. */
export async function psqlByPortForward(
  access: KubernetesAccess,
  target: PsqlTarget,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<number> {
  const spec = await connectionSpec(access, target.group, { ...flagsOf(target), from: 'inside' });
  const choose = async (): Promise<PodPort> => podPort(access, target);
  await choose(); // said before psql starts
  const forwarded = await forwardPort(access.dial, choose, (error) =>
    process.stderr.write(`pgspan: ${error.message}\n`),
  );
  const folder = await mkdtemp(join(tmpdir(), 'pgspan-psql-'));
  try {
    await chmod(folder, 0o700);
    const hosts = spec.hosts.slice(0, 1).map((host) => ({ ...host, address: forwarded.address, port: forwarded.port }));
    const files = { ca: join(folder, 'ca.crt'), pass: join(folder, 'pgpass') };
    await writeFile(files.ca, await access.trustBundle());
    const passText = formatPgpass({ ...spec, hosts });
    await writeFile(files.pass, `${passText}\n`, { mode: 0o600 });
    const here: ConnectionSpec = { ...spec, hosts, password: null, passfile: files.pass, sslRootCert: files.ca };
    const child = spawn('psql', args, { stdio: 'inherit', env: { ...env, ...connectionVariables(here) } });
    return await new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => resolve(code ?? 128 + constants.signals[signal ?? 'SIGTERM']));
    });
  } finally {
    await rm(folder, { recursive: true, force: true });
    await forwarded.close();
  }
}

/** True if this machine has a psql. */
export function hasPsql(env: NodeJS.ProcessEnv = process.env): boolean {
  return (env.PATH ?? '').split(delimiter).some((folder) => folder !== '' && existsSync(join(folder, 'psql')));
}

function flagsOf({ read, node }: PsqlTarget) {
  return { read, ...(node === null ? {} : { node }) };
}

/** A node's own pod, else a ready proxy of the group: of any group, they all reach the same leader. */
function podPort({ pods }: KubernetesAccess, { node, group, read }: PsqlTarget): PodPort {
  const name = node !== null ? 'postgres' : read ? 'read' : 'write';
  const usable = pods.filter(({ absence, isEnding }) => absence === null && !isEnding);
  const candidates = usable
    .filter((pod) =>
      node === null ? pod.workload === 'proxy' && (group === null || pod.group === group) : pod.node === node,
    )
    .sort((a, b) => Number(b.isReady) - Number(a.isReady));
  const pod = candidates[0];
  const port = pod?.ports[name];
  if (pod !== undefined && port !== undefined) return { namespace: pod.namespace, pod: pod.name, port };
  throw new UserError({
    code: 'POD_MISSING',
    kind: 'not-found',
    message: `Cannot reach "${node ?? group ?? 'the cluster'}": ${pod === undefined ? `no ${node === null ? 'proxy' : 'pod of it'} runs` : `its pods have no port "${name}"`}`,
    todo: 'Look at `pgspan status`, and at the pods with `kubectl get pods`.',
  });
}

/** @returns psql's exit code. */
export async function psqlByExec(
  access: KubernetesAccess,
  target: PsqlTarget,
  args: readonly string[],
): Promise<number> {
  const spec = await connectionSpec(access, target.group, { ...flagsOf(target), from: 'inside', password: false });
  const pod = execPod(access);
  const [program = '', config = ''] = pod.command;
  const isTerminal = process.stdin.isTTY === true && process.stdout.isTTY === true;
  const [host] = spec.hosts;
  const words = [host?.host ?? '', String(host?.port ?? ''), spec.database, spec.targetSessionAttrs];
  const session = await execInPod(
    access.dial,
    {
      namespace: pod.namespace,
      pod: pod.name,
      container: pod.container,
      command: [
        posix.join(posix.dirname(program), 'pgspan'),
        'psql-in-pod',
        '--config',
        config,
        ...words,
        isTerminal ? (process.env.TERM ?? 'xterm') : 'dumb',
        ...args,
      ],
      stdin: true,
      tty: isTerminal,
    },
    { onStdout: (chunk) => void process.stdout.write(chunk), onStderr: (chunk) => void process.stderr.write(chunk) },
  );
  const resize = (): void => session.resize({ columns: process.stdout.columns, rows: process.stdout.rows });
  if (isTerminal) {
    process.stdin.setRawMode(true);
    resize();
    process.stdout.on('resize', resize);
  }
  process.stdin.on('data', (chunk: Buffer) => {
    if (session.write(chunk)) return;
    process.stdin.pause();
    void session.drained().then(() => process.stdin.resume());
  });
  process.stdin.once('end', () => session.endStdin());
  try {
    return await session.exited;
  } finally {
    process.stdout.off('resize', resize);
    if (isTerminal) process.stdin.setRawMode(false);
    process.stdin.pause();
    process.stdin.destroy();
    session.close();
  }
}

function execPod({ pods }: KubernetesAccess): GroupPod {
  const usable = pods.filter(
    ({ workload, absence, isEnding }) => workload === 'postgres' && absence === null && !isEnding,
  );
  const pod = usable.sort((a, b) => Number(b.isReady) - Number(a.isReady))[0];
  if (pod !== undefined) return pod;
  throw new UserError({
    code: 'POD_MISSING',
    kind: 'not-found',
    message: 'Cannot start psql in a pod: no pod of PostgreSQL runs',
    todo: 'Look at `pgspan status`, and at the pods with `kubectl get pods`.',
  });
}
