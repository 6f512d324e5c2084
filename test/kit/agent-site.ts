/**
 * A local site of three groups of one node each, without proxies, for tests of what one instance agent does: its processes by
 * name, its files, its own status, and single agents started and signalled without the rest of `local up`.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import pg from 'pg';
import type { InstanceConfig } from '../../src/api/agent-config.ts';
import { type NodeStatus, nodeStatusSchema } from '../../src/api/node-status.ts';
import { createReloadableTls } from '../../src/base/mutual-tls.ts';
import { waitUntil } from '../../src/base/wait-until.ts';
import { type AgentAnswer, askAgent } from '../../src/platform/agent-api.ts';
import { type BuiltInCa, createBuiltInCa, loadBuiltInCa } from '../../src/platform/certificates/built-in-ca.ts';
import { openLocalAccess } from '../../src/platform/local/access.ts';
import { stopSite } from '../../src/platform/local/down.ts';
import {
  cutTarget,
  fillDiskOf,
  freezeTarget,
  healTarget,
  killTarget,
  thawTarget,
} from '../../src/platform/local/faults/faults.ts';
import { parseTarget } from '../../src/platform/local/faults/targets.ts';
import { launchProgram } from '../../src/platform/local/launch.ts';
import { signalProcess, type SiteProcess } from '../../src/platform/local/processes.ts';
import {
  appPasswordFile,
  authorityFolder,
  configFile,
  dataDirectory,
  type LocalSite,
  nodeFolder,
  openSite,
  postgresLogFile,
  recordFolder,
  processesOf,
  programLogFile,
  runtimeDirectory,
  stateDirectory,
} from '../../src/platform/local/site.ts';
import { startSite } from '../../src/platform/local/up.ts';
import { loadManifests } from '../../src/platform/manifest-files.ts';
import { findPostgres } from '../../src/platform/postgres-installation.ts';
import { agentProgram } from '../../src/platform/program.ts';

export const NODES = ['leo-1', 'ait-1', 'pit-1'] as const;

const manifestOf = (spec: readonly string[]): string =>
  ['leo', 'ait', 'pit']
    .map(
      (group) => `
apiVersion: pgspan.io/v1alpha1
kind: PostgresGroup
metadata: { name: ${group} }
spec:
  instances: 1
  storage: { size: 512Mi }
  globalCluster: { name: agents, primaryGroup: leo }
  connectivity: { dns: { domain: db.example.com } }
  proxySettings: { instances: 0 }
${spec.map((line) => `  ${line}\n`).join('')}`,
    )
    .join('---');

/** The machine may be busy with other tests. */
const WHOLE_LIMIT_MS = 120_000;
const ASK_TIMEOUT_MS = 5000;

export class AgentSite {
  readonly folder: string;
  readonly #base: string;
  readonly #addresses: string;
  #manifest: string;
  readonly #clients = new Set<pg.Client>();

  /**
   * @param addresses such as `127.66`: where loopback addresses are taken from
   * @param spec more lines for the spec of every group, such as `replication: { scope: group }`
   */
  constructor(addresses: string, ...spec: string[]) {
    this.#addresses = addresses;
    this.#manifest = manifestOf(spec);
    this.#base = mkdtempSync('/tmp/pgspan-agents-');
    chmodSync(this.#base, 0o711);
    this.folder = join(this.#base, 'state');
  }

  /** A site of other groups than those three. */
  static of(addresses: string, manifest: string): AgentSite {
    const site = new AgentSite(addresses);
    site.#manifest = manifest;
    return site;
  }

  get site(): LocalSite {
    return openSite(this.folder);
  }

  /** `local up`: writes all files and starts what is missing. The first one makes the site. */
  async up(): Promise<void> {
    let groups = null;
    if (!existsSync(join(this.folder, 'site.json'))) {
      const manifest = join(this.#base, 'site.yaml');
      writeFileSync(manifest, this.#manifest);
      groups = await loadManifests(manifest);
    }
    const postgres = findPostgres();
    await startSite({ folder: this.folder, groups, postgres, user: null, disks: true, addressRange: this.#addresses });
  }

  /** One agent alone, with the files as they are: `up` would write them anew. Resolves when it answers. */
  async startAgent(node: string): Promise<void> {
    await this.launchAgent(node);
    await this.until(node, 'answers', () => true);
  }

  /** The same for one that nobody will trust: resolves when its process runs. */
  async launchAgent(node: string): Promise<void> {
    const { state } = this.site;
    const folder = nodeFolder(this.site, node);
    await launchProgram({
      siteId: state.siteId,
      part: `${node}/agent`,
      program: await agentProgram('agent'),
      args: ['instance', '--config', configFile(folder)],
      logFile: programLogFile(folder),
      user: state.user,
    });
  }

  async startRecord(): Promise<void> {
    const { state } = this.site;
    await launchProgram({
      siteId: state.siteId,
      part: 'record',
      program: await agentProgram('agent'),
      args: ['record-server', '--config', configFile(recordFolder(this.site))],
      logFile: programLogFile(recordFolder(this.site)),
      user: state.user,
    });
  }

  /** Ends every process and removes everything. */
  async close(): Promise<void> {
    for (const client of this.#clients) await client.end().catch(() => {});
    if (existsSync(join(this.folder, 'site.json'))) await stopSite({ folder: this.folder, keepData: false });
    rmSync(this.#base, { recursive: true, force: true });
  }

  // What a node is

  /** What the agent says of its node; null: it does not answer. */
  async status(node: string): Promise<NodeStatus | null> {
    try {
      const { status, body } = await this.ask(node, 'GET', '/v1/status');
      return status === 200 ? (nodeStatusSchema.passthrough().parse(body) as NodeStatus) : null;
    } catch {
      return null;
    }
  }

  async ask(node: string, method: 'GET' | 'POST', path: string, body?: unknown): Promise<AgentAnswer> {
    const access = openLocalAccess(this.folder);
    const target = access.nodes.find(({ name }) => name === node)?.agent;
    if (target === undefined) throw new Error(`There is no node "${node}"`);
    const credentials = await createReloadableTls(access.credentials);
    return await askAgent({
      target,
      credentials,
      method,
      path,
      body,
      timeoutMs: method === 'GET' ? ASK_TIMEOUT_MS : 60_000,
    });
  }

  /** Waits until what the agent says of its node is as wanted, and returns it. */
  async until(
    node: string,
    what: string,
    wanted: (status: NodeStatus) => boolean,
    timeoutMs = 60_000,
  ): Promise<NodeStatus> {
    let last: NodeStatus | null = null;
    try {
      return await waitUntil(`${node} ${what}`, { timeoutMs, intervalMs: 50 }, async () => {
        last = await this.status(node);
        return last !== null && wanted(last) ? last : null;
      });
    } catch (error) {
      const { activity, reason } = (last ?? {}) as Partial<NodeStatus>;
      const tail = this.agentLog(node).split('\n').slice(-12).join('\n');
      throw new Error(`${(error as Error).message}; it says ${activity}: ${reason?.message}\n${tail}`, {
        cause: error,
      });
    }
  }

  /** Waits until every node leads or follows and is a voting member. @returns the leader's name. */
  async whole(nodes: readonly string[] = NODES, timeoutMs = WHOLE_LIMIT_MS): Promise<string> {
    let leader = '';
    for (const node of nodes) {
      const isSettled = ({ activity, isMember }: NodeStatus): boolean =>
        isMember && (activity === 'leading' || activity === 'following');
      const status = await this.until(node, 'leads or follows and votes', isSettled, timeoutMs);
      if (status.activity === 'leading') leader = node;
    }
    // Whoever was asked first may have changed meanwhile.
    return (await this.leads(leader)) ? leader : await this.whole(nodes, timeoutMs);
  }

  async leads(node: string): Promise<boolean> {
    const status = await this.status(node);
    return (
      status?.activity === 'leading' && status.leaderView.leader === node && status.leaderView.phase === 'published'
    );
  }

  agentLog(node: string): string {
    return readFileSync(programLogFile(nodeFolder(this.site, node)), 'utf8');
  }

  postgresLog(node: string): string {
    return readFileSync(postgresLogFile(this.site, node), 'utf8');
  }

  // Its processes

  processes(part: string): SiteProcess[] {
    return processesOf(this.site).filter((process) => process.part === part);
  }

  /** Postmasters of the node: servers whose parent is none of its servers. More than one must never be. */
  postmasters(node: string): number[] {
    const servers = this.processes(`${node}/postgres`).filter(({ executable }) => executable === 'postgres');
    const pids = new Set(servers.map(({ pid }) => pid));
    return servers.filter(({ parentPid }) => !pids.has(parentPid)).map(({ pid }) => pid);
  }

  signalAgent(node: string, signal: NodeJS.Signals): void {
    for (const process of this.processes(`${node}/agent`)) signalProcess(process, signal);
  }

  /** Sends the signal and waits until the agent's process has ended. */
  async endAgent(node: string, signal: NodeJS.Signals): Promise<void> {
    this.signalAgent(node, signal);
    await waitUntil(
      `the agent of ${node} has ended`,
      { timeoutMs: 30_000 },
      () => this.processes(`${node}/agent`).length === 0,
    );
  }

  async kill(target: string): Promise<void> {
    await killTarget(this.site, parseTarget(this.site.state, target));
  }
  async freeze(target: string): Promise<void> {
    await freezeTarget(this.site, parseTarget(this.site.state, target));
  }
  async thaw(target: string): Promise<void> {
    await thawTarget(this.site, parseTarget(this.site.state, target));
  }
  cut(target: string): void {
    cutTarget(this.site, parseTarget(this.site.state, target));
  }
  fillDisk(node: string): void {
    fillDiskOf(this.site, parseTarget(this.site.state, node));
  }
  heal(): void {
    healTarget(this.site, null);
  }

  // Its files

  dataDirectory(node: string): string {
    return dataDirectory(this.site, node);
  }

  voterFile(node: string): string {
    return join(stateDirectory(this.site, node), 'voter.json');
  }

  voter(node: string): { incarnation: string; promisedTerm: number; rewinding: boolean } {
    return JSON.parse(readFileSync(this.voterFile(node), 'utf8'));
  }

  tlsFolder(node: string): string {
    return join(nodeFolder(this.site, node), 'tls');
  }

  config(node: string): InstanceConfig {
    return JSON.parse(readFileSync(configFile(nodeFolder(this.site, node)), 'utf8'));
  }

  /** Changes the configuration of a node as a platform does; the agent takes it by SIGHUP. */
  configure(node: string, change: (config: InstanceConfig) => InstanceConfig): void {
    const config = this.config(node);
    const next = { ...change(config), generation: config.generation + 1 };
    this.write(configFile(nodeFolder(this.site, node)), JSON.stringify(next));
  }

  /** A file of the user that runs the agents, owner-only, replaced as a whole. */
  write(path: string, text: string): void {
    const { user } = this.site.state;
    writeFileSync(`${path}.new`, text, { mode: 0o600 });
    if (user !== null) chownSync(`${path}.new`, user.uid, user.gid);
    execFileSync('mv', [`${path}.new`, path]);
  }

  applicationPassword(): string {
    return readFileSync(appPasswordFile(this.site), 'utf8').trimEnd();
  }

  /** Replaces the certificate of a node's agent by one that expired an hour ago, or that no CA of the site has signed. */
  async issueWrongCertificate(node: string, kind: 'expired' | 'foreign'): Promise<void> {
    const { globalCluster } = this.site.state;
    const group = node.slice(0, node.lastIndexOf('-'));
    const ca =
      kind === 'expired'
        ? await this.#authority(group)
        : await createBuiltInCa({ globalCluster, group, now: new Date() });
    const issuedAt = kind === 'expired' ? new Date(Date.now() - 2 * 3_600_000) : new Date();
    await this.#replaceCertificate(node, ca, { lifetimeMs: 3_600_000, issuedAt });
  }

  /** Replaces the certificate of a node's agent by a right one that ends in `lifetimeMs`. */
  async issueShortCertificate(node: string, lifetimeMs: number): Promise<void> {
    const ca = await this.#authority(node.slice(0, node.lastIndexOf('-')));
    await this.#replaceCertificate(node, ca, { lifetimeMs, issuedAt: new Date() });
  }

  async #authority(group: string): Promise<BuiltInCa> {
    const folder = authorityFolder(this.site, group);
    return await loadBuiltInCa({
      certPem: readFileSync(join(folder, 'ca.crt'), 'utf8'),
      keyPem: readFileSync(join(folder, 'ca.key'), 'utf8'),
    });
  }

  async #replaceCertificate(
    node: string,
    ca: BuiltInCa,
    { lifetimeMs, issuedAt }: { readonly lifetimeMs: number; readonly issuedAt: Date },
  ): Promise<void> {
    const nodes = openLocalAccess(this.folder).plan.groups.flatMap((one) => one.nodes);
    const request = nodes.find(({ name }) => name === node)?.certificate;
    if (request === undefined) throw new Error(`There is no node "${node}"`);
    const { certPem, keyPem } = await ca.issue({ ...request, lifetimeMs }, issuedAt);
    this.write(join(this.tlsFolder(node), 'tls.crt'), certPem);
    this.write(join(this.tlsFolder(node), 'tls.key'), keyPem);
  }

  /** Fingerprint of the certificate that the server showed to this session. */
  certificateOf(client: pg.Client): string {
    const { stream } = (client as unknown as { connection: { stream: TLSSocket } }).connection;
    return (stream.getPeerX509Certificate()?.fingerprint256 ?? '').replaceAll(':', '').toLowerCase();
  }

  /** One of PostgreSQL's programs as the user that runs the agents. */
  runAsOwner([program, ...words]: [string, ...string[]]): void {
    const { user, postgresBin } = this.site.state;
    const options = { cwd: '/', stdio: 'ignore', env: { LC_ALL: 'C.UTF-8' } } as const;
    execFileSync(join(postgresBin, program), words, {
      ...options,
      ...(user === null ? {} : { uid: user.uid, gid: user.gid }),
    });
  }

  /**
   * PostgreSQL's programs, of which pg_rewind is killed by the kernel when it writes its first WAL segment, and then neither
   * ends nor goes on; the second time it is the real one. `marker` exists once it has died.
   */
  binWithRewindThatDies(node: string): { bin: string; marker: string } {
    const { postgresBin, user } = this.site.state;
    const bin = join(this.#base, `bin-${node}`);
    mkdirSync(bin);
    for (const program of readdirSync(postgresBin)) symlinkSync(join(postgresBin, program), join(bin, program));
    rmSync(join(bin, 'pg_rewind'));
    const marker = join(bin, 'died');
    const script = `#!/bin/sh
real='${join(postgresBin, 'pg_rewind')}'
[ -e '${marker}' ] && exec "$real" "$@"
(ulimit -c 0; ulimit -f 8192; exec "$real" "$@") && exit 0
: > '${marker}'
exec sleep 600
`;
    writeFileSync(join(bin, 'pg_rewind'), script, { mode: 0o755 });
    if (user !== null) chownSync(bin, user.uid, user.gid);
    return { bin, marker };
  }

  // SQL

  /** A session of the application on this node, with its certificate verified. */
  async connect(node: string): Promise<pg.Client> {
    const access = openLocalAccess(this.folder);
    const address = this.site.state.nodes.find(({ name }) => name === node)?.address;
    if (address === undefined) throw new Error(`There is no node "${node}"`);
    const client = new pg.Client({
      host: address,
      port: this.site.state.ports.postgres,
      user: 'app',
      database: 'app',
      password: await access.applicationPassword(),
      ssl: { ca: readFileSync(access.credentials.caFile, 'utf8'), servername: node },
      connectionTimeoutMillis: 5000,
    });
    client.on('error', () => {});
    client.once('end', () => this.#clients.delete(client));
    await client.connect();
    this.#clients.add(client);
    return client;
  }

  /** One statement as superuser over the local socket; its rows without alignment, as psql prints them. */
  superuser(node: string, text: string): string {
    const { user, ports } = this.site.state;
    const words = ['-XAtq', '-h', runtimeDirectory(this.site, node), '-p', String(ports.postgres), '-U', 'postgres'];
    const done = spawnSync('psql', [...words, '-d', 'app', '-c', text], {
      encoding: 'utf8',
      cwd: '/',
      env: { PATH: process.env.PATH, LC_ALL: 'C.UTF-8', PGCONNECT_TIMEOUT: '5' },
      ...(user === null ? {} : { uid: user.uid, gid: user.gid }),
    });
    if (done.status !== 0) throw new Error(`"${text}" on ${node}: ${done.stderr}`);
    return done.stdout.trim();
  }
}

/** Writes one row after another through whoever leads, and remembers what was acknowledged. */
export class Writer {
  readonly acknowledged: number[] = [];
  /** Longest time between two acknowledgements. */
  longestGapMs = 0;
  readonly #site: AgentSite;
  readonly #nodes: readonly string[];
  #isEnding = false;
  #key = 0;
  #lastMs = performance.now();
  #done: Promise<void>;

  /** @param nodes those that may lead */
  constructor(site: AgentSite, firstNode: string, nodes: readonly string[] = NODES) {
    this.#site = site;
    this.#nodes = nodes;
    this.#done = this.#run(firstNode);
  }

  async #run(firstNode: string): Promise<void> {
    let node = firstNode;
    while (!this.#isEnding) {
      const client = await this.#site.connect(node).catch(() => null);
      if (client === null || !(await this.#write(client)))
        node = this.#nodes[(this.#nodes.indexOf(node) + 1) % this.#nodes.length] as string;
      await client?.end().catch(() => {});
    }
  }

  /** Until an error; false if this node is no leader. */
  async #write(client: pg.Client): Promise<boolean> {
    try {
      const { rows } = await client.query('select pg_is_in_recovery() as standby');
      if (rows[0].standby === true) return false;
      await client.query('create table if not exists written (key int primary key)');
      while (!this.#isEnding) {
        const key = ++this.#key;
        await client.query('insert into written values ($1)', [key]);
        this.acknowledged.push(key);
        const nowMs = performance.now();
        this.longestGapMs = Math.max(this.longestGapMs, nowMs - this.#lastMs);
        this.#lastMs = nowMs;
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      return true;
    } catch {
      return false;
    }
  }

  /** Waits for so many more acknowledgements. */
  async goesOn(count = 3, timeoutMs = 60_000): Promise<void> {
    const wanted = this.acknowledged.length + count;
    await waitUntil('writes are acknowledged', { timeoutMs }, () => this.acknowledged.length >= wanted);
  }

  /** Forgets the gaps so far. */
  mark(): void {
    this.longestGapMs = 0;
    this.#lastMs = performance.now();
  }

  async stop(): Promise<void> {
    this.#isEnding = true;
    await this.#done;
  }

  /** Keys that were acknowledged and are not on this node. */
  missingOn(node: string): number[] {
    const there = new Set(this.#site.superuser(node, 'select key from written').split('\n').map(Number));
    return this.acknowledged.filter((key) => !there.has(key));
  }
}
