/**
 * postgresql.conf of a group, each setting with where it comes from and why: owned by pgspan, tuned for the node's size,
 * a default of ours, or the user's own, which wins over the last two. What a user may not say is setting-problems.ts.
 *
 * Six settings must be at least as high on a standby as on its leader, or it serves no reads and stops replaying
 * (https://www.postgresql.org/docs/current/hot-standby.html#HOT-STANDBY-ADMIN). Any node may lead, so they are equal
 * on all nodes of the global cluster: the highest that any group wants.
 */
import { DEFAULT_SETTINGS, RESERVED_CONNECTIONS } from './default-settings.ts';
import { OWNED_SETTINGS } from './owned-settings.ts';
import { SERVER_SETTINGS } from './setting-values.ts';
import { type NodeSize, tunedConnections, tuneSettings } from './tuning.ts';

export type SettingOrigin = 'owned' | 'tuned' | 'default' | 'user';

export interface Setting {
  readonly name: string;
  /** Without quotes. null: only the platform or the agent knows it. */
  readonly value: string | null;
  readonly origin: SettingOrigin;
  /** A sentence without a final period. */
  readonly reason: string;
  readonly appliesBy: 'reload' | 'restart';
}

export type SettingDraft = Omit<Setting, 'appliesBy'>;

/** A group that has nodes. */
export interface SettingsInput {
  readonly group: string;
  readonly size: NodeSize;
  /** As in `.spec.postgresql.parameters`. */
  readonly parameters: Readonly<Record<string, string>>;
}

/** What holds for all nodes of the global cluster. */
export interface GlobalSettingsInput {
  /** Nodes with data, in all groups. */
  readonly nodeCount: number;
  readonly detectionMs: number;
  readonly postgresMajor: number;
}

/** Settings of each group, in the order given; the user's are taken as they are. */
export function planSettings(groups: readonly SettingsInput[], global: GlobalSettingsInput): Setting[][] {
  const equal = equalSettings(groups, global);
  const maxConnections = Number(equal.find((setting) => setting.name === 'max_connections')?.value);
  return groups.map((group) => {
    const drafts = [
      ...ownedSettings(global),
      ...tuneSettings(group.size, maxConnections),
      ...DEFAULT_SETTINGS,
      ...userSettings(group),
      ...equal,
    ];
    // Of one name the last draft counts, at the place of the first.
    const byName = new Map(drafts.map((draft) => [draft.name, draft]));
    return [...byName.values()].filter((draft) => existsIn(draft.name, global.postgresMajor)).map(withApplication);
  });
}

/** Names in any case are one setting to PostgreSQL. */
export function userParameters(group: SettingsInput): [name: string, value: string][] {
  return Object.entries(group.parameters).map(([name, value]) => [name.toLowerCase(), value]);
}

export interface SettingFloor {
  readonly name: string;
  readonly value: number;
  readonly reason: string;
}

/** Lowest values that the topology can work with; a user may go above them. */
export function settingFloors({ nodeCount }: GlobalSettingsInput): SettingFloor[] {
  const others = Math.max(nodeCount - 1, 0);
  return floorsFor(others, `${others} other node${others === 1 ? '' : 's'}`);
}

function floorsFor(others: number, nodes: string): SettingFloor[] {
  return [
    {
      name: 'max_wal_senders',
      value: Math.max(10, 2 * others + 4),
      reason: `two for each of ${nodes}, since a dead connection may linger beside a new one, and four for clones and tools`,
    },
    {
      name: 'max_replication_slots',
      value: Math.max(10, others + 8),
      reason: `one for each of ${nodes}, and eight for yours`,
    },
    {
      name: 'max_connections',
      value: RESERVED_CONNECTIONS + 17,
      reason: `${RESERVED_CONNECTIONS} are kept for the agent`,
    },
  ];
}

function ownedSettings(global: GlobalSettingsInput): SettingDraft[] {
  // A frozen standby holds its slot, and a frozen leader its standby, for this long at most; five times the detection,
  // so that what only delays a stream does not end it.
  const timeoutMs = Math.max(5 * global.detectionMs, 2000);
  const reason = 'five times the detection of failures: a dead connection must not hold a slot for long';
  return [
    ...Object.entries(OWNED_SETTINGS)
      .filter(([, { kind }]) => kind !== 'unset')
      .map(([name, { value, reason }]): SettingDraft => ({ name, value, origin: 'owned', reason })),
    { name: 'wal_sender_timeout', value: `${timeoutMs}ms`, origin: 'owned', reason },
    { name: 'wal_receiver_timeout', value: `${timeoutMs}ms`, origin: 'owned', reason },
  ];
}

function userSettings(group: SettingsInput): SettingDraft[] {
  const reason = `spec.postgresql.parameters of group "${group.group}"`;
  return userParameters(group).map(([name, value]) => ({ name, value, origin: 'user', reason }));
}

/** Settings that must be equal everywhere: ours, or the highest that a user says. */
function equalSettings(groups: readonly SettingsInput[], global: GlobalSettingsInput): SettingDraft[] {
  const cpus = Math.max(0, ...groups.map((group) => Math.ceil(group.size.cpus ?? 0)));
  const connections = Math.max(0, ...groups.map((group) => tunedConnections(group.size.memoryBytes)));
  const draft = (name: string, value: number, origin: SettingOrigin, reason: string): SettingDraft =>
    highest({ name, value: String(value), origin, reason: `${reason}; ${EQUAL}` }, groups);
  const room = roomFor(global.nodeCount - 1);
  const roomy = floorsFor(room, `up to ${room} other nodes`);
  const floored = (name: string) => {
    const { value, reason } = roomy.find((one) => one.name === name) as SettingFloor;
    return draft(name, value, 'tuned', reason);
  };
  return [
    draft(
      'max_connections',
      connections,
      'tuned',
      'one for each 16MB of the largest node, 40 to 500; 100 where its memory is not said',
    ),
    draft('max_worker_processes', Math.max(8, 2 * cpus), 'tuned', 'twice the processors, at least 8'),
    floored('max_wal_senders'),
    floored('max_replication_slots'),
    draft('max_prepared_transactions', 0, 'default', 'off, as PostgreSQL has it'),
    draft('max_locks_per_transaction', 64, 'default', 'as PostgreSQL has it'),
  ];
}

/** A node more must not mean a restart of all: there is room for the next eight. */
const NODES_ROOM = 8;

function roomFor(others: number): number {
  return NODES_ROOM * Math.max(1, Math.ceil(others / NODES_ROOM));
}

const EQUAL = 'equal on all nodes, since any may lead';

function highest(ours: SettingDraft, groups: readonly SettingsInput[]): SettingDraft {
  let result = ours;
  for (const group of groups) {
    const value = userParameters(group).find(([name]) => name === ours.name)?.[1];
    if (value === undefined || (result.origin === 'user' && Number(value) <= Number(result.value))) continue;
    const reason = `spec.postgresql.parameters of group "${group.group}"; ${EQUAL}`;
    result = { name: ours.name, value, origin: 'user', reason };
  }
  return result;
}

function existsIn(name: string, major: number): boolean {
  const setting = SERVER_SETTINGS.get(name);
  return setting === undefined || (major >= setting.firstMajor && major <= setting.lastMajor);
}

/** A setting that this table does not know is an extension's; whether a reload is enough, only the server can say. */
function withApplication(draft: SettingDraft): Setting {
  return { ...draft, appliesBy: SERVER_SETTINGS.get(draft.name)?.appliesBy ?? 'restart' };
}
