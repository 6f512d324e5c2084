/**
 * cut and heal: the kernel drops the packets that cross a border, both ways, of existing connections too, and says
 * nothing to either side (no reset, no ICMP), as a broken network does.
 *
 * Every program of a site has an address of its own and uses it as the source of its connections as well, so a border
 * is a set of addresses: dropped is what has one end inside and the other outside. A client's 127.0.0.1 is outside.
 * The drop is in the `input` hook: in `output` the sender's write would fail with EPERM, which no network does.
 * Only etcd cannot choose its source: what a member dials comes from 127.0.0.1. Each member has a user of its own, by whom its
 * connections are marked on their way out, and the mark is dropped on the way in, both ways.
 *
 * One table of nftables per site, `inet pgspan_<site id>`, always loaded as a whole from the site's list of cuts in one
 * transaction: what is cut is what the list says, also after a crash in the middle.
 */
import { UserError } from '../../../base/user-error.ts';
import type { SiteState } from '../site-state.ts';
import { runTool, type ToolResult } from '../system-tool.ts';
import { type FaultTarget, isPartOfTarget, parseTarget } from './targets.ts';

/** Makes the kernel's table say what `state.faults.cut` says; removes the table when nothing is cut. Throws UserError CUT_NOT_POSSIBLE. */
export function applyCuts(state: SiteState): void {
  const ruleset = renderCuts(state);
  // `add` before `delete`: deleting a table that does not exist is an error in this version of the transaction.
  const script = `add table ${tableName(state)}\ndelete table ${tableName(state)}\n${ruleset}`;
  const result = runTool('nft', ['-f', '-'], script);
  if (!result.ok) throw cutNotPossible(result);
}

/** Throws UserError CUT_NOT_POSSIBLE if this process may not change the packet filter, or has none. */
export function assertCutPossible(): void {
  const result = runTool('nft', ['list', 'tables']);
  if (!result.ok) throw cutNotPossible(result);
}

/** The table as text of nft(8); empty when nothing is cut. */
export function renderCuts(state: SiteState): string {
  const targets = state.faults.cut.map((text) => parseTarget(state, text));
  if (targets.length === 0) return '';
  return [
    `table ${tableName(state)} {`,
    ...targets.flatMap((target, index) => chain(`cut_${index}`, dropRules(state, target))),
    ...markedMembers(state, targets),
    ...chain('border', [
      'type filter hook input priority filter; policy accept;',
      // The path port serves the node's own PostgreSQL, which dials it from 127.0.0.1: that is inside.
      ...state.nodes.flatMap(({ address }) => [
        `ip daddr ${address} tcp dport ${state.ports.path} accept`,
        `ip saddr ${address} tcp sport ${state.ports.path} accept`,
      ]),
      ...targets.flatMap((target) => dialersOf(state, target).map(({ mark }) => `ct mark ${mark} counter drop`)),
      ...targets.flatMap((target, index) => {
        const inside = `{ ${addressesOf(state, target).join(', ')} }`;
        return [
          `ip saddr ${inside} ip daddr != ${inside} jump cut_${index}`,
          `ip daddr ${inside} ip saddr != ${inside} jump cut_${index}`,
        ];
      }),
    ]),
    '}',
    '',
  ].join('\n');
}

/**
 * What happens to a packet that crosses the target's border. The parts of a node share its address; PostgreSQL's traffic
 * is what has its port on either side. (Not `sport != x dport != x` in one rule: nft 1.0.6 makes one comparison of it.)
 */
function dropRules(state: SiteState, target: FaultTarget): string[] {
  const { postgres } = state.ports;
  if (target.kind !== 'part') return ['counter drop'];
  if (target.part === 'postgres') return [`tcp sport ${postgres} counter drop`, `tcp dport ${postgres} counter drop`];
  return [`tcp sport ${postgres} return`, `tcp dport ${postgres} return`, 'counter drop'];
}

/** Members of etcd in the target, each with the mark of what it dials outside of the target. */
function dialersOf(state: SiteState, target: FaultTarget): { uid: number; mark: string }[] {
  return state.etcd.flatMap(({ name, uid }, index) =>
    uid !== null && isPartOfTarget(state, target, name)
      ? [{ uid, mark: `0x${(MARK_FIRST + index).toString(16)}` }]
      : [],
  );
}

/** Far from the few low bits that container networks use. */
const MARK_FIRST = 0x7067_0000;

function markedMembers(state: SiteState, targets: readonly FaultTarget[]): string[] {
  const rules = targets.flatMap((target) => {
    const inside = `{ ${addressesOf(state, target).join(', ')} }`;
    return dialersOf(state, target).map(
      ({ uid, mark }) => `meta skuid ${uid} ip saddr != ${inside} ip daddr != ${inside} ct mark set ${mark}`,
    );
  });
  if (rules.length === 0) return [];
  return chain('dialled', ['type filter hook output priority mangle; policy accept;', ...rules]);
}

function chain(name: string, lines: readonly string[]): string[] {
  return [`  chain ${name} {`, ...lines.map((line) => `    ${line}`), '  }'];
}

function addressesOf(state: SiteState, target: FaultTarget): string[] {
  const { etcd } = state;
  if (target.kind === 'record')
    return state.recordAddress === null ? etcd.map(({ address }) => address) : [state.recordAddress];
  const owner = target.kind === 'part' ? target.node : target.name;
  const isMeant = ({ name, group }: { name: string; group: string }) => name === owner || group === owner;
  const nodes = state.nodes.filter(isMeant).map(({ address }) => address);
  const proxies = state.proxies
    .filter(isMeant)
    .flatMap(({ writeAddress, readAddress }) => (readAddress === null ? [writeAddress] : [writeAddress, readAddress]));
  return [...nodes, ...proxies, ...etcd.filter(isMeant).map(({ address }) => address)];
}

function tableName(state: SiteState): string {
  return `inet pgspan_${state.siteId}`;
}

function cutNotPossible({ isMissing, complaint }: ToolResult): UserError {
  return new UserError({
    code: 'CUT_NOT_POSSIBLE',
    kind: 'missing',
    message: `Cannot cut off part of the site: ${isMissing ? 'the program "nft" is not installed' : complaint}`,
    todo: 'Cutting drops packets in the kernel. It needs the program `nft` (Debian package nftables) and root, or the capability CAP_NET_ADMIN.',
  });
}
