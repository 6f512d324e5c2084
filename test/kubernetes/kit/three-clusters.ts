/**
 * One database over three Kubernetes clusters, each with an operator of its own that looks after one namespace. The record is in
 * pgspan's own members of etcd, one in each group.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import type { PostgresGroupManifest } from '../../../src/api/postgres-group.ts';
import type { PostgresGroupStatus } from '../../../src/api/postgres-group-status.ts';
import { waitUntil } from '../../../src/base/wait-until.ts';
import type { WriterTarget } from '../../../src/platform/local/writer-process.ts';
import { BALANCER_HOSTNAME, contexts, ETCD_IMAGE, kubectl, PGSPAN_IMAGE, POSTGRES_IMAGE } from './environment.ts';
import { freshNamespace, pgspan, removeNamespace, ROOT } from './install.ts';

export const GROUPS = ['leo', 'ait', 'pit'] as const;
export type GroupName = (typeof GROUPS)[number];
export const PASSWORD = 'correct-horse-battery';
/** The operators' rights come from the install file for one namespace, whose standard is the strictest. */
const OPERATOR = 'pgspan-operator';
const LONG = { timeoutMs: 300_000, intervalMs: 500 } as const;

/** Its load balancers have host names where the clusters can give some, the others' have addresses. */
export const BY_NAME: GroupName | null = BALANCER_HOSTNAME === null ? null : 'pit';

function hostNames(): Pick<
  PostgresGroupManifest['spec']['connectivity'],
  'nodeServiceTemplate' | 'groupServiceTemplate'
> {
  const [key = '', value = ''] = (BALANCER_HOSTNAME ?? '').split('=');
  const template = { metadata: { annotations: { [key]: value } } };
  return { nodeServiceTemplate: template, groupServiceTemplate: template };
}

export class ThreeClusters {
  readonly namespace: string;
  readonly #contexts: Readonly<Record<GroupName, string>>;
  readonly #folder = mkdtempSync(join(tmpdir(), 'pgspan-three-'));
  /** As they were applied last. */
  readonly manifests = new Map<GroupName, PostgresGroupManifest>();

  private constructor(namespace: string) {
    const all = contexts();
    const named = GROUPS.every((group) => all.includes(group)) ? GROUPS : all;
    const [leo = '', ait = '', pit = ''] = named;
    this.#contexts = { leo, ait, pit };
    this.namespace = namespace;
  }

  /** Installs the operators, and what the manifests refer to. */
  static async prepare(namespace: string): Promise<ThreeClusters> {
    const clusters = new ThreeClusters(namespace);
    await Promise.all(GROUPS.map((group) => clusters.#prepareCluster(group)));
    return clusters;
  }

  contextOf(group: GroupName): string {
    return this.#contexts[group];
  }

  kubectl(group: GroupName, words: readonly string[], input?: string): Promise<string> {
    return kubectl(['-n', this.namespace, ...words], input, this.#contexts[group]);
  }

  pgspan(group: GroupName, words: readonly string[]): Promise<string> {
    return pgspan([...words, '--context', this.#contexts[group], '-n', this.namespace]);
  }

  /** The example of a group. Applied as it is, nobody knows anybody's CA. */
  example(group: GroupName): PostgresGroupManifest {
    const text = readFileSync(join(ROOT, 'examples/three-clusters', `${group}.yaml`), 'utf8');
    // The names of a domain of its own, should others use the same name server.
    const manifest = parse(text.replaceAll('db.example.com', 'three.example.com')) as PostgresGroupManifest;
    const etcdMember = { imageName: ETCD_IMAGE, storage: { size: '1Gi' } };
    return {
      ...manifest,
      spec: {
        ...manifest.spec,
        imageName: POSTGRES_IMAGE,
        resources: { requests: { cpu: '50m', memory: '192Mi' }, limits: { memory: '1Gi' } },
        coordination: { ...manifest.spec.coordination, etcdMember },
        connectivity: { ...manifest.spec.connectivity, ...(group === BY_NAME ? hostNames() : {}) },
      },
    };
  }

  async apply(group: GroupName, manifest: PostgresGroupManifest): Promise<void> {
    this.manifests.set(group, manifest);
    await this.kubectl(group, ['apply', '-f', '-'], stringify(manifest));
  }

  /** Waits for what each group tells others: the CA and the address of its group service. */
  async introduction(group: GroupName): Promise<{ readonly caBundle: string; readonly endpoint: string }> {
    return await waitUntil(`group ${group} tells of itself`, LONG, async () => {
      const caBundle = await this.ownAuthority(group);
      const path = 'jsonpath={.status.loadBalancer.ingress[0].ip}{.status.loadBalancer.ingress[0].hostname}';
      const endpoint = await this.kubectl(group, ['get', 'service', `${group}-group`, '-o', path]).catch(() => '');
      return caBundle === '' || endpoint === '' ? null : { caBundle, endpoint };
    });
  }

  /** Its own is the first certificate of the bundle; empty: not there yet. */
  async ownAuthority(group: GroupName): Promise<string> {
    return (await this.bundle(group))[0] ?? '';
  }

  async bundle(group: GroupName): Promise<string[]> {
    const bundle = ['get', 'configmap', `${group}-ca`, '-o', 'jsonpath={.data.ca\\.crt}'];
    const text = await this.kubectl(group, bundle).catch(() => '');
    return text.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----\n/g) ?? [];
  }

  async status(group: GroupName): Promise<PostgresGroupStatus> {
    const object = JSON.parse(await this.kubectl(group, ['get', 'postgresgroup', group, '-o', 'json'])) as {
      status?: PostgresGroupStatus;
    };
    return object.status ?? {};
  }

  async waitForStatus(
    group: GroupName,
    what: string,
    isIt: (status: PostgresGroupStatus) => boolean,
  ): Promise<PostgresGroupStatus> {
    let last: PostgresGroupStatus = {};
    return await waitUntil(`${group}: ${what}`, LONG, async () => {
      last = await this.status(group).catch(() => last);
      return isIt(last) ? last : null;
    }).catch((error: Error) => {
      throw new Error(`${error.message}; last: ${last.reason}: ${last.message}`, { cause: error });
    });
  }

  /** Every group healthy and ready, three members, and a vote in etcd for each: before that a lost cluster may take its quorum along. */
  async whole(): Promise<PostgresGroupStatus[]> {
    return await Promise.all(
      GROUPS.map((group) =>
        this.waitForStatus(
          group,
          'is healthy, with three members',
          ({ reason, members = [], conditions = [] }) =>
            reason === 'Healthy' &&
            members.length === 3 &&
            conditions.some(({ type, status }) => type === 'Ready' && status === 'True') &&
            conditions.some(({ type, message }) => type === 'RecordReady' && message?.startsWith('3 of 3') === true),
        ),
      ),
    );
  }

  /** By the Secret that applications have, through the group's own load balancer. */
  async writeTarget(group: GroupName): Promise<WriterTarget> {
    const secret = JSON.parse(await this.kubectl(group, ['get', 'secret', `${group}-app`, '-o', 'json'])) as {
      data: Record<string, string>;
    };
    const of = (key: string) => Buffer.from(secret.data[key] ?? '', 'base64').toString();
    const path = 'jsonpath={.status.loadBalancer.ingress[0].ip}';
    const hostaddr = await this.kubectl(group, ['get', 'service', group, '-o', path]);
    const passwordFile = join(this.#folder, `${group}.password`);
    const sslRootCert = join(this.#folder, `${group}.crt`);
    writeFileSync(passwordFile, of('password'), { mode: 0o600 });
    writeFileSync(sslRootCert, of('ca.crt'));
    const database = of('dbname');
    return { host: group, hostaddr, port: 5432, database, user: of('username'), passwordFile, sslRootCert };
  }

  async close(): Promise<void> {
    await Promise.all(GROUPS.map((group) => removeNamespace(this.namespace, this.#contexts[group]).catch(() => {})));
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #prepareCluster(group: GroupName): Promise<void> {
    const on = this.#contexts[group];
    // One that looks after all namespaces, of a test before this one, would look after these groups as well; `installPgspan` brings
    // it back.
    const other = ['-n', 'pgspan-system', 'scale', 'deployment', OPERATOR, '--replicas=0'];
    await kubectl(other, undefined, on).catch(() => {}); // there is none
    await freshNamespace(this.namespace, on);
    const install = ['install', 'manifests', '--image', PGSPAN_IMAGE, '--image-pull-policy', 'IfNotPresent'];
    const place = ['--namespace', this.namespace, '--watch-namespace', this.namespace];
    await kubectl(['apply', '--server-side', '--force-conflicts', '-f', '-'], await pgspan([...install, ...place]), on);
    await kubectl(
      ['wait', '--for=condition=Established', 'crd/postgresgroups.pgspan.io', '--timeout=60s'],
      undefined,
      on,
    );
    await this.kubectl(group, ['rollout', 'status', 'deployment', OPERATOR, '--timeout=120s']);
    const login = ['--from-literal=username=app', `--from-literal=password=${PASSWORD}`];
    await this.kubectl(group, ['create', 'secret', 'generic', 'orders-credentials', ...login]);
  }
}

/** The manifest with what the others have told of themselves. */
export function withPeers(
  manifest: PostgresGroupManifest,
  told: ReadonlyMap<string, { readonly caBundle: string; readonly endpoint: string }>,
): PostgresGroupManifest {
  const peers = (manifest.spec.globalCluster?.peers ?? []).map((peer) => ({ ...peer, ...told.get(peer.group) }));
  return { ...manifest, spec: { ...manifest.spec, globalCluster: { ...manifest.spec.globalCluster, peers } } };
}
