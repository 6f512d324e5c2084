/** `pgspan join`: lets a group join the global cluster of another one, by the token of an invitation (docs/joining.md). */
import { readFile } from 'node:fs/promises';
import { Command } from 'commander';
import type { Invitation } from '../api/invitation.ts';
import { durationMs, durationSchema } from '../api/postgres-group-values.ts';
import { UserError } from '../base/user-error.ts';
import { delay } from '../base/wait-until.ts';
import { FINAL_JOIN_REASONS } from '../core/joining/decide-joining.ts';
import { parseToken } from '../core/joining/token.ts';
import type { ClusterSession, JoinProgress } from '../platform/kubernetes/invitations.ts';
import type { AccessFlags } from './cluster-access.ts';
import { outputOption, printValue } from './cluster-access.ts';

interface JoinFlags extends AccessFlags {
  readonly group?: string;
  readonly file?: string;
  readonly print?: boolean;
  readonly timeout: string;
  readonly output?: 'json' | 'yaml';
}

const LOOK_MS = 1000;
/** What stood there before is not about this token. */
const STALE_MS = 20_000;
const EXAMPLES = `
Examples:
  pgspan join TOKEN --context pit -n shop -f pit.yaml   makes the group, and waits until it has joined
  pgspan join TOKEN --context pit -n shop               for a group that is there, and has no database yet
  pgspan join - -f pit.yaml <token.txt                  a token that shall not be seen in the list of processes
  pgspan join TOKEN -f pit.yaml --print                 print what to apply, and do nothing`;

export function joinCommand(): Command {
  return new Command('join')
    .description('Let a group of this Kubernetes cluster join the global cluster that a token invites it to.')
    .argument('<token>', 'as `pgspan invite` printed it; `-`: read from stdin')
    .option('-f, --file <manifest>', 'manifest of the group, which is applied (default: the group that is there)')
    .option('--group <name>', 'the group, where a namespace holds several')
    .option('--print', 'print the Secret and the manifest instead of applying them')
    .option('--timeout <time>', 'give up waiting after this', '10m')
    .option('--kubeconfig <file>', 'this kubeconfig (default: $KUBECONFIG, else ~/.kube/config)')
    .option('--context <name>', 'this context of the kubeconfig (default: its current one)')
    .option('-n, --namespace <name>', "namespace of the group (default: the context's)")
    .addOption(outputOption(['json', 'yaml'], 'result in this form'))
    .addHelpText('after', EXAMPLES)
    .action(async (token: string, flags: JoinFlags) => await join(token, flags));
}

async function join(given: string, flags: JoinFlags): Promise<void> {
  const token = (given === '-' ? await readStdin() : given).replaceAll(/\s+/g, '');
  const invitation = readToken(token);
  const timeoutMs = readTimeout(flags.timeout);
  const manifest = flags.file === undefined ? null : await readManifest(flags.file, flags.group, invitation);
  const { withKubernetes } = await import('../platform/kubernetes/invitations.ts');
  if (flags.print === true) return await print(token, flags, manifest);
  const group = await withKubernetes(flags, async (session) => {
    const name = await ask(session, { manifest, invitation, token, wished: flags.group });
    await waitForJoin(session, name, invitation, timeoutMs);
    return name;
  });
  const { globalCluster, group: invitedBy } = invitation;
  if (flags.output !== undefined) return await printValue({ group, globalCluster, invitedBy }, flags.output);
  process.stdout.write(
    `Group "${group}" belongs to "${globalCluster}" now. Its nodes are made: pgspan status --watch\n`,
  );
}

function readToken(token: string): Invitation {
  const parsed = parseToken(token);
  if (parsed.kind === 'invitation') return parsed.invitation;
  throw new UserError({
    code: 'TOKEN_INVALID',
    kind: 'usage',
    message: `Cannot read the token: ${parsed.message.charAt(0).toLowerCase()}${parsed.message.slice(1)}`,
    todo: 'Copy it again, whole, from what `pgspan invite` printed.',
  });
}

interface Manifest {
  readonly name: string;
  readonly namespace: string | undefined;
  readonly object: Readonly<Record<string, unknown>>;
}

/** With the field that names the token. Throws UserError MANIFEST_…, JOIN_OTHER_CLUSTER. */
async function readManifest(file: string, wished: string | undefined, invitation: Invitation): Promise<Manifest> {
  const { loadManifests } = await import('../platform/manifest-files.ts');
  const { joinField, otherCluster } = await import('../platform/kubernetes/invitations.ts');
  const { parseAllDocuments } = await import('yaml');
  const { globalClusterName } = await import('../api/postgres-group.ts');
  const groups = await loadManifests(file);
  const group =
    wished === undefined && groups.length === 1 ? groups[0] : groups.find(({ metadata }) => metadata.name === wished);
  if (group === undefined) {
    throw new UserError({
      code: 'GROUP_NOT_FOUND',
      kind: 'not-found',
      message:
        wished === undefined
          ? `Cannot choose a group: "${file}" holds ${groups.length}`
          : `Cannot find group "${wished}" in "${file}"`,
      todo: `Name one with --group: ${groups.map(({ metadata }) => metadata.name).join(', ')}.`,
    });
  }
  const { name } = group.metadata;
  if (globalClusterName(group) !== invitation.globalCluster)
    throw otherCluster(name, globalClusterName(group), invitation);
  // As its user wrote it: defaults are for the API server to fill in.
  const written = parseAllDocuments(await readFile(file, 'utf8'))
    .map(
      (document) =>
        document.toJS() as {
          kind?: string;
          metadata?: { name?: string; namespace?: string };
          spec?: Record<string, unknown>;
        } | null,
    )
    .find((one) => one?.kind === 'PostgresGroup' && one.metadata?.name === name);
  const spec = written?.spec ?? {};
  const globalCluster = { ...(spec.globalCluster as Record<string, unknown> | undefined), join: joinField(name) };
  return { name, namespace: written?.metadata?.namespace, object: { ...written, spec: { ...spec, globalCluster } } };
}

async function ask(
  session: ClusterSession,
  {
    manifest,
    invitation,
    token,
    wished,
  }: {
    readonly manifest: Manifest | null;
    readonly invitation: Invitation;
    readonly token: string;
    readonly wished: string | undefined;
  },
): Promise<string> {
  const { askToJoin, findGroup, renderTokenSecret } = await import('../platform/kubernetes/invitations.ts');
  if (manifest === null) {
    const object = await findGroup(session, wished);
    await askToJoin(session, object, invitation, token);
    return object.metadata.name;
  }
  const { client, namespace } = session;
  const metadata = { ...(manifest.object.metadata as object), name: manifest.name, namespace };
  await client.apply(renderTokenSecret(manifest.name, namespace, token));
  await client.apply(
    { ...manifest.object, apiVersion: 'pgspan.io/v1alpha1', kind: 'PostgresGroup', metadata },
    { fieldManager: 'pgspan-join' },
  );
  return manifest.name;
}

/** Says on stderr whatever is new. Throws UserError JOIN_REFUSED, JOIN_UNFINISHED. */
async function waitForJoin(
  session: ClusterSession,
  name: string,
  invitation: Invitation,
  timeoutMs: number,
): Promise<void> {
  const { joinProgress } = await import('../platform/kubernetes/invitations.ts');
  const startMs = performance.now();
  let said = '';
  let first: JoinProgress | null = null;
  for (;;) {
    const progress = await joinProgress(session, name, invitation.id);
    first ??= progress;
    if (progress.isJoined) return;
    const elapsedMs = performance.now() - startMs;
    const isFresh = progress.reason !== first.reason || progress.message !== first.message || elapsedMs > STALE_MS;
    const line = `${progress.reason}: ${progress.message}`;
    if (isFresh && line !== said && progress.reason !== '') {
      process.stderr.write(`${line}\n`);
      said = line;
    }
    if (isFresh && FINAL_JOIN_REASONS.has(progress.reason)) {
      throw new UserError({
        code: 'JOIN_REFUSED',
        message: `Cannot join group "${name}" to "${invitation.globalCluster}": ${progress.message}`,
        todo: `Change what it names, or make a new invitation (${progress.reason}, see docs/joining.md).`,
      });
    }
    if (elapsedMs >= timeoutMs) {
      throw new UserError({
        code: 'JOIN_UNFINISHED',
        kind: 'timeout',
        message: `Cannot say that group "${name}" has joined: after ${Math.round(timeoutMs / 1000)} s it says ${line === ': ' ? 'nothing; its operator may not run' : line}`,
        todo: 'It goes on by itself: look at `kubectl describe postgresgroup`, and at the operators of both clusters.',
      });
    }
    await delay(LOOK_MS);
  }
}

async function print(token: string, flags: JoinFlags, manifest: Manifest | null): Promise<void> {
  const { joinField, renderTokenSecret } = await import('../platform/kubernetes/invitations.ts');
  const { stringify } = await import('yaml');
  const name = manifest?.name ?? flags.group;
  if (name === undefined) {
    throw new UserError({
      code: 'OPTION_INVALID',
      kind: 'usage',
      message: 'Cannot print what to apply: it is not said for which group',
      todo: 'Name it with --group, or its manifest with -f.',
    });
  }
  const namespace = flags.namespace ?? manifest?.namespace ?? 'default';
  const secret = stringify(renderTokenSecret(name, namespace, token), { lineWidth: 0 });
  const object = manifest?.object ?? {
    apiVersion: 'pgspan.io/v1alpha1',
    kind: 'PostgresGroup',
    metadata: { name, namespace },
    spec: { globalCluster: { join: joinField(name) } },
  };
  process.stdout.write(`${secret}---\n${stringify(object, { lineWidth: 0 })}`);
}

function readTimeout(text: string): number {
  if (durationSchema.safeParse(text).success) return durationMs(text);
  throw new UserError({
    code: 'OPTION_INVALID',
    kind: 'usage',
    message: `Cannot read --timeout "${text.slice(0, 40)}": it is no length of time`,
    todo: 'Give one such as 90s or 10m.',
  });
}

const STDIN_BYTES_MAX = 64 * 1024;

async function readStdin(): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > STDIN_BYTES_MAX) break;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
