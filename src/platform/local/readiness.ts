/**
 * Waits until a site is ready, and tells what happens meanwhile: one line for each change of a node.
 * Ready: each node leads or follows and votes if it shall, and each proxy takes clients.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { createReloadableTls } from '../../base/mutual-tls.ts';
import { UserError } from '../../base/user-error.ts';
import type { ReplicationPlan } from '../../core/topology/plan-types.ts';
import { nodeStatusSchema } from '../../api/node-status.ts';
import { type AgentRequest, askAgent } from '../agent-api.ts';
import { PORTS } from './placement.ts';
import {
  clientFolder,
  etcdFolder,
  type LocalSite,
  nodeFolder,
  processesOf,
  proxyFolder,
  programLogFile,
  tlsFilesIn,
} from './site.ts';

export interface ReadinessOptions {
  readonly site: LocalSite;
  /** Who shall vote when all is well. */
  readonly replication: Pick<ReplicationPlan, 'scope' | 'voters' | 'relayGroups'>;
  readonly timeoutMs: number;
  /** Not waited for: who is frozen or cut off on purpose does not become ready. */
  readonly except: readonly string[];
  /** Called with each change: `leo-1`, `cloning 40 %`. */
  readonly onChange: (name: string, text: string) => void;
}

const ASK_EVERY_MS = 100;
const ASK_TIMEOUT_MS = 1000;
/** Lines of a log that an error shows. */
const LOG_LINES_SHOWN = 5;
const LOG_TAIL_BYTES = 8 * 1024;

/** Throws UserError SITE_NOT_READY, PROGRAM_ENDED. */
export async function waitForSite(options: ReadinessOptions): Promise<void> {
  const { site, replication, timeoutMs } = options;
  const credentials = await createReloadableTls(tlsFilesIn(clientFolder(site)));
  const deadline = performance.now() + timeoutMs;
  const watched: Watched[] = [
    ...site.state.nodes.map(({ name, address }) => ({
      name,
      part: `${name}/agent`,
      folder: nodeFolder(site, name),
      target: { host: name, address, port: PORTS.agent },
      votes: (leader: string | null) => shallVote(site, replication, name, leader),
    })),
    ...site.state.proxies.map(({ name, writeAddress }) => ({
      name,
      part: name,
      folder: proxyFolder(site, name),
      target: { host: name, address: writeAddress, port: PORTS.health },
      votes: () => false,
    })),
  ]
    .filter(({ name }) => !options.except.includes(name))
    .map((server) => ({ ...server, said: '', isReady: false }));
  const ask = async (server: Watched): Promise<void> => {
    const common = { target: server.target, credentials, timeoutMs: ASK_TIMEOUT_MS };
    const text = server.part.endsWith('/agent') ? await askNode(server, common) : await askProxy(server, common);
    if (text !== server.said) options.onChange(server.name, text);
    server.said = text;
  };
  const askQuietly = (server: Watched) =>
    ask(server).catch((error: Error) => {
      server.lastError = error;
    });
  for (;;) {
    await Promise.all(watched.filter(({ isReady }) => !isReady).map(askQuietly));
    const waiting = watched.filter(({ isReady }) => !isReady);
    if (waiting.length === 0) return;
    assertAlive(site, waiting);
    if (performance.now() > deadline) throw notReady(waiting, timeoutMs);
    await delay(ASK_EVERY_MS);
  }
}

interface Watched {
  readonly name: string;
  readonly part: string;
  readonly folder: string;
  readonly target: { host: string; address: string; port: number };
  /** By the name of the leader. */
  readonly votes: (leader: string | null) => boolean;
  said: string;
  isReady: boolean;
  lastError?: Error;
}

/** With `scope: group` the members are those of the group that leads, whichever it is. */
function shallVote(
  { state }: LocalSite,
  { scope, voters, relayGroups }: ReadinessOptions['replication'],
  name: string,
  leader: string | null,
): boolean {
  const groupOf = (node: string | null) => state.nodes.find((one) => one.name === node)?.group;
  if (scope === 'global') return voters.includes(name) || relayGroups.includes(groupOf(name) ?? '');
  return groupOf(name) === groupOf(leader);
}

type Ask = Omit<AgentRequest, 'path'>;

/** A voting node is ready when it is a member: before that, the loss of another one may stop writes. */
async function askNode(server: Watched, ask: Ask): Promise<string> {
  const { activity, progressPercent, reason, isMember, shallVote, leaderView } = nodeStatusSchema.parse(
    (await askAgent({ ...ask, path: '/v1/status' })).body,
  );
  const isUp = (await askAgent({ ...ask, path: '/readyz' })).status === 200;
  const isSettled = activity === 'leading' || activity === 'following';
  server.isReady = isUp && isSettled && (isMember || shallVote === false || !server.votes(leaderView.leader));
  if (isSettled) return server.isReady ? activity : `${activity}, not yet a voting member`;
  return `${activity}${progressPercent === null ? '' : ` ${progressPercent} %`}: ${reason.message}`;
}

async function askProxy(server: Watched, ask: Ask): Promise<string> {
  server.isReady = (await askAgent({ ...ask, path: '/readyz' })).status === 200;
  return server.isReady ? 'ready' : 'not ready';
}

/** Whoever has ended will not become ready: say so at once, with its last words. */
function assertAlive(site: LocalSite, waiting: readonly Watched[]): void {
  const running = new Set(processesOf(site).map(({ part }) => part));
  const members = site.state.etcd.map(({ name }) => ({ name, part: name, folder: etcdFolder(site, name) }));
  const ended = [...members, ...waiting].find(({ part }) => !running.has(part));
  if (ended === undefined) return;
  throw new UserError({
    code: 'PROGRAM_ENDED',
    message: `Cannot bring up "${ended.name}": its program ended. It said last:\n${lastLines(programLogFile(ended.folder))}`,
    todo: `Look at \`pgspan logs ${ended.name}\`, then run \`pgspan local up\` again, or remove the site with \`pgspan local down\`.`,
  });
}

function notReady(waiting: readonly Watched[], timeoutMs: number): UserError {
  const states = waiting.map(({ name, said, lastError }) => `"${name}" (${said || lastError?.message || 'no answer'})`);
  return new UserError({
    code: 'SITE_NOT_READY',
    kind: 'timeout',
    message: `Cannot bring the site up within ${Math.round(timeoutMs / 1000)} s: not ready are ${states.join(', ')}`,
    todo: 'It goes on starting. Look at `pgspan status` and `pgspan logs NODE`, or wait longer with --timeout.',
  });
}

/** The end of a log, indented. */
export function lastLines(path: string): string {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return '    (nothing)';
  }
  try {
    const { size } = fstatSync(fd);
    const bytes = Buffer.alloc(Math.min(size, LOG_TAIL_BYTES));
    readSync(fd, bytes, 0, bytes.length, size - bytes.length);
    const lines = bytes.toString('utf8').trimEnd().split('\n').slice(-LOG_LINES_SHOWN);
    return lines.map((line) => `    ${line.slice(0, 300)}`).join('\n');
  } finally {
    closeSync(fd);
  }
}
