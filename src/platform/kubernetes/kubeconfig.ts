/**
 * Which API server is meant, and who we are to it: kubeconfig files as kubectl reads them, or the ServiceAccount of a pod.
 * Files of KUBECONFIG are merged, the first that names a thing wins. Client certificates, tokens, token files and exec
 * plugins (client.authentication.k8s.io/v1) work; the long removed auth-provider does not.
 * https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
 */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, dirname, join, resolve } from 'node:path';
import type { ConnectionOptions } from 'node:tls';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import * as z from 'zod';
import { UserError } from '../../base/user-error.ts';

/** Where the API server is and who we are to it. */
export interface KubeDial {
  /** Base URL of the API server, without the path of a request. */
  readonly server: URL;
  readonly tls: ConnectionOptions;
  /** Authorization, as it is at this moment: tokens are short-lived. */
  headers(): Promise<Readonly<Record<string, string>>>;
}

export interface KubeContext {
  /** Name of the context; `in-cluster` in a pod. */
  readonly name: string;
  /** Of the context, else `default`. */
  readonly namespace: string;
  readonly dial: KubeDial;
}

export interface KubeconfigChoice {
  /** A file instead of KUBECONFIG and ~/.kube/config. */
  readonly file?: string | undefined;
  /** A context instead of the current one. */
  readonly context?: string | undefined;
}

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';
/** kubelet rotates a pod's token long before its end; a file is read again after this. */
const TOKEN_FILE_FRESH_MS = 60_000;
/** Cloud plugins ask a server of their own; a person at a browser is not waited for. */
const PLUGIN_TIMEOUT_MS = 60_000;
/** A token is asked for anew so long before its end. */
const PLUGIN_EXPIRY_MARGIN_MS = 30_000;

const clusterSchema = z.looseObject({
  server: z.url(),
  'certificate-authority': z.string().optional(),
  'certificate-authority-data': z.string().optional(),
  'insecure-skip-tls-verify': z.boolean().optional(),
  'tls-server-name': z.string().optional(),
  'proxy-url': z.string().optional(),
});
const pluginSchema = z.looseObject({
  command: z.string(),
  args: z.array(z.string()).nullish(),
  env: z.array(z.looseObject({ name: z.string(), value: z.string() })).nullish(),
  apiVersion: z.string(),
  installHint: z.string().optional(),
  provideClusterInfo: z.boolean().optional(),
});
const userSchema = z.looseObject({
  'client-certificate': z.string().optional(),
  'client-certificate-data': z.string().optional(),
  'client-key': z.string().optional(),
  'client-key-data': z.string().optional(),
  token: z.string().optional(),
  tokenFile: z.string().optional(),
  username: z.string().optional(),
  password: z.string().optional(),
  exec: pluginSchema.nullish(),
});
const contextSchema = z.looseObject({
  cluster: z.string(),
  user: z.string().optional(),
  namespace: z.string().optional(),
});
const fileSchema = z.looseObject({
  'current-context': z.string().nullish(),
  clusters: z.array(z.object({ name: z.string(), cluster: clusterSchema })).nullish(),
  users: z.array(z.object({ name: z.string(), user: userSchema.nullish() })).nullish(),
  contexts: z.array(z.object({ name: z.string(), context: contextSchema })).nullish(),
});
type Cluster = z.infer<typeof clusterSchema>;
type User = z.infer<typeof userSchema>;
type Plugin = z.infer<typeof pluginSchema>;

interface Found<T> {
  readonly value: T;
  /** Paths in a file are relative to it. */
  readonly folder: string;
}

/** Throws UserError KUBECONFIG_MISSING, KUBECONFIG_INVALID, KUBE_CONTEXT_UNKNOWN. */
export async function openKubeContext(
  choice: KubeconfigChoice,
  env: NodeJS.ProcessEnv = process.env,
): Promise<KubeContext> {
  const files = kubeconfigFiles(choice, env);
  if (files.length === 0) {
    if (choice.context === undefined && isInCluster(env)) return inClusterContext(env);
    throw kubeconfigMissing(choice.file);
  }
  const merged = await Promise.all(files.map(readKubeconfig));
  const name =
    choice.context ?? merged.map(({ value }) => value['current-context']).find((one) => one != null && one !== '');
  if (name == null)
    throw contextUnknown(
      '',
      merged.flatMap(({ value }) => names(value.contexts)),
    );
  const context = find(merged, ({ contexts }) => contexts?.find((one) => one.name === name)?.context);
  if (context === null)
    throw contextUnknown(
      name,
      merged.flatMap(({ value }) => names(value.contexts)),
    );
  const cluster = find(merged, ({ clusters }) => clusters?.find((one) => one.name === context.value.cluster)?.cluster);
  if (cluster === null)
    throw invalid(
      files.join(delimiter),
      `context "${name}" names the cluster "${context.value.cluster}", which is not there`,
    );
  const user = find(merged, ({ users }) => users?.find((one) => one.name === context.value.user)?.user);
  return {
    name,
    namespace: context.value.namespace ?? 'default',
    dial: await dialOf(cluster, user ?? { value: {}, folder: '/' }, files.join(delimiter)),
  };
}

/** Of all files, in their order. Throws UserError KUBECONFIG_MISSING, KUBECONFIG_INVALID. */
export async function contextNames(
  choice: Pick<KubeconfigChoice, 'file'>,
  env: NodeJS.ProcessEnv = process.env,
): Promise<string[]> {
  const files = kubeconfigFiles(choice, env);
  if (files.length === 0) throw kubeconfigMissing(choice.file);
  const merged = await Promise.all(files.map(readKubeconfig));
  return [...new Set(merged.flatMap(({ value }) => names(value.contexts)))];
}

/** True if a kubeconfig is there at all, or this is a pod. */
export function hasKubeconfig(env: NodeJS.ProcessEnv = process.env): boolean {
  return kubeconfigFiles({}, env).length > 0 || isInCluster(env);
}

function kubeconfigFiles({ file }: KubeconfigChoice, env: NodeJS.ProcessEnv): string[] {
  if (file !== undefined) return [resolve(file)];
  const listed = (env.KUBECONFIG ?? '').split(delimiter).filter((path) => path !== '');
  const candidates = listed.length > 0 ? listed : [join(env.HOME ?? homedir(), '.kube', 'config')];
  return candidates.map((path) => resolve(path)).filter((path) => existsSync(path));
}

async function readKubeconfig(path: string): Promise<Kubeconfig> {
  let value: unknown;
  try {
    value = parse(await readFile(path, 'utf8'));
  } catch (error) {
    throw invalid(path, (error as Error).message.split('\n')[0] ?? '', error);
  }
  const parsed = fileSchema.safeParse(value ?? {});
  if (!parsed.success) throw invalid(path, z.prettifyError(parsed.error).replaceAll('\n', ' '));
  return { value: parsed.data, folder: dirname(path) };
}

function names(list: readonly { readonly name: string }[] | null | undefined): string[] {
  return (list ?? []).map(({ name }) => name);
}

type Kubeconfig = Found<z.infer<typeof fileSchema>>;

/** The first file that names it wins. */
function find<T>(
  files: readonly Kubeconfig[],
  pick: (file: z.infer<typeof fileSchema>) => T | null | undefined,
): Found<T> | null {
  for (const { value, folder } of files) {
    const found = pick(value);
    if (found != null) return { value: found, folder };
  }
  return null;
}

async function dialOf(cluster: Found<Cluster>, user: Found<User>, file: string): Promise<KubeDial> {
  if (cluster.value['proxy-url'] !== undefined)
    throw invalid(
      file,
      `the cluster is reached through the proxy ${cluster.value['proxy-url']}, which pgspan cannot do`,
    );
  const { value } = user;
  const plugin = value.exec == null ? null : pluginCredentials(value.exec, user.folder, cluster.value, file);
  const credentials = plugin === null ? null : await plugin();
  const cert = credentials?.cert ?? (await pemOf(user, 'client-certificate', file));
  const key = credentials?.key ?? (await pemOf(user, 'client-key', file));
  const ca = await pemOf(cluster, 'certificate-authority', file);
  const serverName = cluster.value['tls-server-name'];
  return {
    server: new URL(cluster.value.server),
    tls: {
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined || key === undefined ? {} : { cert, key }),
      ...(serverName === undefined ? {} : { servername: serverName }),
      rejectUnauthorized: cluster.value['insecure-skip-tls-verify'] !== true,
    },
    headers: headersOf(user, plugin),
  };
}

function headersOf({ value, folder }: Found<User>, plugin: PluginCredentials | null): KubeDial['headers'] {
  if (plugin !== null) return async () => bearer((await plugin()).token);
  if (value.tokenFile !== undefined) {
    const read = freshFile(resolve(folder, value.tokenFile));
    return async () => bearer(await read());
  }
  if (value.token !== undefined) return async () => bearer(value.token);
  if (value.username === undefined) return async () => ({});
  const basic = Buffer.from(`${value.username}:${value.password ?? ''}`).toString('base64');
  return async () => ({ authorization: `Basic ${basic}` });
}

function bearer(token: string | undefined): Record<string, string> {
  return token === undefined ? {} : { authorization: `Bearer ${token}` };
}

async function pemOf(
  { value, folder }: Found<Cluster | User>,
  field: 'client-certificate' | 'client-key' | 'certificate-authority',
  file: string,
): Promise<string | undefined> {
  const data = (value as Record<string, unknown>)[`${field}-data`];
  if (typeof data === 'string') return Buffer.from(data, 'base64').toString('latin1');
  const path = (value as Record<string, unknown>)[field];
  if (typeof path !== 'string') return undefined;
  try {
    return await readFile(resolve(folder, path), 'latin1');
  } catch (error) {
    throw invalid(file, `${field} cannot be read: ${(error as Error).message}`, error);
  }
}

interface Credentials {
  readonly token: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
}
type PluginCredentials = () => Promise<Credentials>;

const execCredentialSchema = z.looseObject({
  status: z.looseObject({
    token: z.string().optional(),
    clientCertificateData: z.string().optional(),
    clientKeyData: z.string().optional(),
    expirationTimestamp: z.string().optional(),
  }),
});

/** https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins */
function pluginCredentials(plugin: Plugin, folder: string, cluster: Cluster, file: string): PluginCredentials {
  let last: { readonly credentials: Credentials; readonly untilMs: number } | null = null;
  return async () => {
    if (last !== null && Date.now() < last.untilMs) return last.credentials;
    const { status } = await runPlugin(plugin, folder, cluster, file);
    const expiry =
      status.expirationTimestamp === undefined ? Number.POSITIVE_INFINITY : Date.parse(status.expirationTimestamp);
    const credentials = { token: status.token, cert: status.clientCertificateData, key: status.clientKeyData };
    last = { credentials, untilMs: expiry - PLUGIN_EXPIRY_MARGIN_MS };
    return credentials;
  };
}

async function runPlugin(
  plugin: Plugin,
  folder: string,
  cluster: Cluster,
  file: string,
): Promise<z.infer<typeof execCredentialSchema>> {
  // A path with a slash is relative to the kubeconfig, a bare name is looked up in PATH.
  const command = plugin.command.includes('/') ? resolve(folder, plugin.command) : plugin.command;
  const { server } = cluster;
  const info = {
    apiVersion: plugin.apiVersion,
    kind: 'ExecCredential',
    spec: {
      interactive: false,
      ...(plugin.provideClusterInfo === true
        ? { cluster: { server, 'certificate-authority-data': cluster['certificate-authority-data'] } }
        : {}),
    },
  };
  const own = Object.fromEntries((plugin.env ?? []).map(({ name, value }) => [name, value]));
  try {
    const { stdout } = await promisify(execFile)(command, plugin.args ?? [], {
      env: { ...process.env, ...own, KUBERNETES_EXEC_INFO: JSON.stringify(info) },
      timeout: PLUGIN_TIMEOUT_MS,
      maxBuffer: 1024 * 1024,
    });
    return execCredentialSchema.parse(JSON.parse(stdout));
  } catch (cause) {
    const { stderr, message } = cause as { stderr?: string; message: string };
    throw new UserError({
      code: 'KUBE_PLUGIN_FAILED',
      message: `Cannot get credentials from "${plugin.command}" (${file}): ${(stderr?.trim() || message).slice(0, 500)}`,
      todo: plugin.installHint?.trim() ?? 'Run the command by hand and log in; kubectl would use the same one.',
      cause,
    });
  }
}

function isInCluster(env: NodeJS.ProcessEnv): boolean {
  return env.KUBERNETES_SERVICE_HOST !== undefined && existsSync(join(SERVICE_ACCOUNT, 'token'));
}

async function inClusterContext(env: NodeJS.ProcessEnv): Promise<KubeContext> {
  const host = env.KUBERNETES_SERVICE_HOST ?? '';
  const token = freshFile(join(SERVICE_ACCOUNT, 'token'));
  return {
    name: 'in-cluster',
    namespace: (await readFile(join(SERVICE_ACCOUNT, 'namespace'), 'utf8')).trim(),
    dial: {
      server: new URL(`https://${host.includes(':') ? `[${host}]` : host}:${env.KUBERNETES_SERVICE_PORT ?? '443'}`),
      tls: { ca: await readFile(join(SERVICE_ACCOUNT, 'ca.crt')) },
      headers: async () => bearer(await token()),
    },
  };
}

function freshFile(path: string): () => Promise<string> {
  let last: { readonly text: string; readonly readAtMs: number } | null = null;
  return async () => {
    if (last === null || Date.now() - last.readAtMs > TOKEN_FILE_FRESH_MS)
      last = { text: (await readFile(path, 'utf8')).trim(), readAtMs: Date.now() };
    return last.text;
  };
}

function kubeconfigMissing(file: string | undefined): UserError {
  return new UserError({
    code: 'KUBECONFIG_MISSING',
    kind: 'not-found',
    message: `Cannot find a Kubernetes cluster: ${file === undefined ? 'there is neither KUBECONFIG nor ~/.kube/config' : `there is no "${file}"`}`,
    todo: 'Name a kubeconfig with --kubeconfig or KUBECONFIG.',
  });
}

function contextUnknown(name: string, known: readonly string[]): UserError {
  return new UserError({
    code: 'KUBE_CONTEXT_UNKNOWN',
    kind: 'not-found',
    message:
      name === ''
        ? 'Cannot choose a Kubernetes cluster: there is no current context'
        : `Cannot use context "${name}": the kubeconfig has no such context`,
    todo:
      known.length === 0
        ? 'Name another kubeconfig with --kubeconfig.'
        : `Name one with --context: ${known.join(', ')}.`,
  });
}

function invalid(file: string, found: string, cause?: unknown): UserError {
  return new UserError({
    code: 'KUBECONFIG_INVALID',
    kind: 'usage',
    message: `Cannot use the kubeconfig "${file}": ${found}`,
    todo: 'Correct it, or name another one with --kubeconfig; `kubectl config view` shows what kubectl reads.',
    ...(cause === undefined ? {} : { cause }),
  });
}
