/** What a user may not say in `.spec.postgresql.parameters`, and why (requirement E2). */
import { OWNED_SETTINGS } from './owned-settings.ts';
import { settingNumber, settingProblem } from './setting-values.ts';
import { type GlobalSettingsInput, type SettingsInput, settingFloors, userParameters } from './settings.ts';
import { formatBytes, postgresMemoryBytes } from './tuning.ts';

export interface SettingProblem {
  readonly name: string;
  readonly found: string;
  readonly accepted: string;
}

export function settingProblems(group: SettingsInput, global: GlobalSettingsInput): SettingProblem[] {
  return userParameters(group).flatMap(([name, value]) => {
    const problem = judge(name, value, group, global);
    return problem === null ? [] : [{ name, ...problem }];
  });
}

type Judgement = Omit<SettingProblem, 'name'> | null;

function judge(name: string, value: string, group: SettingsInput, global: GlobalSettingsInput): Judgement {
  const owned = OWNED_SETTINGS[name] ?? TIMEOUTS[name];
  if (owned !== undefined)
    return { found: 'this setting belongs to pgspan', accepted: `leave it out: ${owned.reason}` };
  if (name.startsWith('include')) return { found: 'no other file is read', accepted: 'write the settings themselves' };
  // A line break would end the line of the file and begin another setting.
  if (/[\0\r\n]/.test(value)) return { found: 'found a line break', accepted: 'accepted: a value on one line' };
  return (
    settingProblem(name, value, global.postgresMajor) ??
    narrowed(name, value) ??
    belowFloor(name, value, global) ??
    beyondMemory(name, value, group)
  );
}

const TIMEOUTS: Readonly<Record<string, { readonly reason: string }>> = {
  wal_sender_timeout: { reason: 'it follows spec.coordination.detectionMs' },
  wal_receiver_timeout: { reason: 'it follows spec.coordination.detectionMs' },
};

/** Settings of which we take fewer values than PostgreSQL. */
const NARROWED: Readonly<Record<string, { readonly values: readonly string[]; readonly reason: string }>> = {
  wal_level: { values: ['replica', 'logical'], reason: 'replication needs it' },
  ssl_min_protocol_version: { values: ['TLSv1.2', 'TLSv1.3'], reason: 'older versions are broken' },
};

function narrowed(name: string, value: string): Judgement {
  const rule = NARROWED[name];
  if (rule === undefined || rule.values.some((one) => one.toLowerCase() === value.toLowerCase())) return null;
  return { found: `found "${value}"`, accepted: `accepted: ${rule.values.join(', ')}, since ${rule.reason}` };
}

function belowFloor(name: string, value: string, global: GlobalSettingsInput): Judgement {
  const floor = settingFloors(global).find((one) => one.name === name);
  if (floor === undefined || Number(value) >= floor.value) return null;
  return { found: `found ${value}`, accepted: `accepted: at least ${floor.value} (${floor.reason})` };
}

/** The kernel would kill PostgreSQL, again and again. */
function beyondMemory(name: string, value: string, group: SettingsInput): Judgement {
  const { memoryBytes } = group.size;
  if (name !== 'shared_buffers' || memoryBytes === null) return null;
  const bytes = settingNumber(name, value);
  const limit = postgresMemoryBytes(memoryBytes);
  if (bytes === null || bytes < limit) return null;
  return {
    found: `found ${value}`,
    accepted: `accepted: less than ${formatBytes(limit)}, which the memory of the pod leaves PostgreSQL`,
  };
}
