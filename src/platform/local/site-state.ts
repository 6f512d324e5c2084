/**
 * What a local site remembers between commands: one file, `site.json`, in the site's state folder.
 *
 *   <state>/site.json             this
 *   <state>/site.lock             held by the one command that changes the site
 *   <state>/keeper.log            of the process that renews certificates (keeper.ts)
 *   <state>/authorities/<group>/  the group's CA with its key, for the commands only
 *   <state>/ca.crt                the trust bundle of all groups, for every client
 *   <state>/client/               certificate and passwords for the person at the terminal
 *   <state>/record/ , proxies/<proxy>/ , nodes/<node>/    config.json, tls/, log
 *   <state>/etcd/<member>/        a member of the site's own etcd: tls/, data/, log
 *   <state>/nodes/<node>/volume/  the node's own disk: data/ (PGDATA) and state/ (the agent's promise)
 *   <runtime>/<node>/             sockets and heartbeats; <runtime> is short, a socket's path has at most 107 bytes
 *
 * No pids: processes are found by their marks (processes.ts), which stay right after any crash.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as z from 'zod';
import { parsePostgresGroup } from '../../api/parse-manifest.ts';
import type { PostgresGroup } from '../../api/postgres-group.ts';
import { UserError } from '../../base/user-error.ts';

const addressSchema = z.string().regex(/^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/);
const nameSchema = z.string().regex(/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/);

const siteNodeSchema = z.strictObject({
  name: nameSchema,
  group: nameSchema,
  address: addressSchema,
  /** `image`: the volume is a file system of its own in a file; `folder`: a plain folder, which has no disk faults. */
  volume: z.enum(['image', 'folder']),
});
export type SiteNode = z.infer<typeof siteNodeSchema>;

const siteProxySchema = z.strictObject({
  name: nameSchema,
  group: nameSchema,
  writeAddress: addressSchema,
  /** null: read routing is off. */
  readAddress: addressSchema.nullable(),
});
export type SiteProxy = z.infer<typeof siteProxySchema>;

/** A member of the site's own etcd, one for each group that was there when the site was made. */
const siteEtcdMemberSchema = z.strictObject({
  name: nameSchema,
  group: nameSchema,
  address: addressSchema,
  /** Who runs it; null: who runs the programs. Etcd cannot choose the source of its connections, so `cut` knows it by its user. */
  uid: z.int().nullable(),
});
export type SiteEtcdMember = z.infer<typeof siteEtcdMemberSchema>;

/** Faults that outlive the command which made them, so that any later command can undo them. Kill and freeze are seen in /proc. */
const faultsSchema = z.strictObject({
  /** Targets that are cut off: `leo`, `leo-1`, `leo-1/postgres`, `leo-proxy-1`, `record`, … */
  cut: z.array(z.string().max(130)),
  /** Nodes whose disk is filled. */
  fullDisk: z.array(nameSchema),
  /** Nodes whose disk is slow. */
  slowDisk: z.array(nameSchema),
});
export type SiteFaults = z.infer<typeof faultsSchema>;

export const siteStateSchema = z.strictObject({
  format: z.literal(1),
  /** Eight hexadecimal digits; part of every mark, of the runtime folder and of the packet filter's table. */
  siteId: z.string().regex(/^[0-9a-f]{8}$/),
  globalCluster: nameSchema,
  /** The manifests that the site runs, parsed: a PostgresGroup each. */
  groups: z.array(z.unknown()),
  /** Grows with each change of what the agents' files say. */
  generation: z.int().min(1),
  /** First three bytes of the site's /24. */
  subnet: z.string(),
  ports: z.strictObject({
    postgres: z.int(),
    agent: z.int(),
    path: z.int(),
    record: z.int(),
    health: z.int(),
    etcdClient: z.int().default(2379),
    etcdPeer: z.int().default(2380),
  }),
  /** Who runs the programs; null: the person who started the site. */
  user: z.strictObject({ name: z.string(), uid: z.int(), gid: z.int() }).nullable(),
  postgresBin: z.string(),
  postgresMajor: z.int(),
  runtimeDirectory: z.string(),
  /** True if `up` made the state folder, so that `down` removes it as well. */
  folderMade: z.boolean(),
  nodes: z.array(siteNodeSchema),
  proxies: z.array(siteProxySchema),
  /** Node that makes the first database, and the group whose CA certifies the record and the person at the terminal. */
  primaryGroup: nameSchema,
  /** The record's own process; null: an etcd keeps the record. */
  recordAddress: addressSchema.nullable(),
  /** Members of the site's own etcd; none: another store. They are those of the site's beginning: etcd is not told of later groups. */
  etcd: z.array(siteEtcdMemberSchema).default([]),
  faults: faultsSchema,
});
export type SiteState = z.infer<typeof siteStateSchema>;

export const NO_FAULTS: SiteFaults = { cut: [], fullDisk: [], slowDisk: [] };

/** The site in this folder, or null. Throws UserError STATE_UNREADABLE for a file that is no site of this version. */
export function readSiteState(folder: string): SiteState | null {
  let text: string;
  try {
    text = readFileSync(join(folder, 'site.json'), 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw unreadable(folder, code ?? String(error), error);
  }
  try {
    return siteStateSchema.parse(JSON.parse(text));
  } catch (error) {
    throw unreadable(folder, 'its site.json is not one that this version of pgspan writes', error);
  }
}

/** The site in this folder. Throws UserError NO_SITE when there is none. */
export function requireSiteState(folder: string): SiteState {
  const state = readSiteState(folder);
  if (state !== null) return state;
  throw new UserError({
    code: 'NO_SITE',
    kind: 'not-found',
    message: `Cannot find a local site in "${folder}": there is no site.json`,
    todo: 'Start one with `pgspan local up -f MANIFEST`, name the folder of a running one with --state, or a Kubernetes cluster with --context.',
  });
}

/** The manifests that the site runs. Throws UserError STATE_UNREADABLE when this version accepts one of them no more. */
export function siteGroups(state: SiteState): PostgresGroup[] {
  return state.groups.map((value) => {
    const parsed = parsePostgresGroup(value, 'site.json');
    if (parsed.kind === 'accepted') return parsed.group;
    const [problem] = parsed.problems;
    throw unreadable('site.json', `"${problem?.path}" of a manifest in it: ${problem?.found}`, parsed.problems);
  });
}

/** Replaces site.json as a whole: a reader sees the old or the new one, never half of it. */
export function writeSiteState(folder: string, state: SiteState): void {
  const path = join(folder, 'site.json');
  writeFileSync(`${path}.new`, `${JSON.stringify(siteStateSchema.parse(state), null, 2)}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

/**
 * Makes the state folder if need be, and refuses one that holds anything else than a site.
 * @returns true if it was made.
 */
export function prepareStateFolder(folder: string): boolean {
  if (!existsSync(folder)) {
    mkdirSync(folder, { recursive: true, mode: 0o711 });
    return true;
  }
  const foreign = readdirSync(folder).filter((name) => !OWN_ENTRIES.has(name));
  if (foreign.length === 0) return false;
  throw new UserError({
    code: 'STATE_FOLDER_FOREIGN',
    kind: 'unsafe',
    message: `Cannot keep a site's state in "${folder}": it holds other things, such as "${foreign[0]}"`,
    todo: 'Name an empty folder, or one that does not exist yet, with --state.',
  });
}

/** Removes what a site keeps in its folder, and the folder itself if the site made it. */
export function removeStateFolder(folder: string, folderMade: boolean): void {
  if (folderMade) rmSync(folder, { recursive: true, force: true });
  else for (const name of OWN_ENTRIES) rmSync(join(folder, name), { recursive: true, force: true });
}

const OWN_ENTRIES = new Set([
  'site.json',
  'site.json.new',
  'site.lock',
  'keeper.log',
  'keeper.log.1',
  'ca.crt',
  'ca.crt.new',
  'client',
  'authorities',
  'record',
  'etcd',
  'proxies',
  'nodes',
]);

function unreadable(folder: string, found: string, cause: unknown): UserError {
  return new UserError({
    code: 'STATE_UNREADABLE',
    message: `Cannot read the local site in "${folder}": ${found}`,
    todo: 'Name another folder with --state, or remove this one if the site is not needed any more.',
    cause,
  });
}
