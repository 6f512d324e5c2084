/** Whether PostgreSQL would take a setting, judged without a server: its name, its type, its range, its majors. */
import { nearest } from '../../base/nearest.ts';
import { SERVER_SETTINGS_TABLE } from './server-settings.ts';

export interface ServerSetting {
  readonly name: string;
  /** How a change takes effect. */
  readonly appliesBy: 'reload' | 'restart';
  readonly type: 'bool' | 'enum' | 'integer' | 'real' | 'string';
  /** Unit of a number without one: `kB`, `8kB`, `ms`, …; null: none. */
  readonly unit: string | null;
  readonly min: number | null;
  readonly max: number | null;
  readonly values: readonly string[];
  readonly firstMajor: number;
  readonly lastMajor: number;
}

/** By name, in lower case: PostgreSQL does not distinguish. */
export const SERVER_SETTINGS: ReadonlyMap<string, ServerSetting> = new Map(
  SERVER_SETTINGS_TABLE.trim()
    .split('\n')
    .map((line) => {
      const setting = parseRow(line);
      return [setting.name, setting];
    }),
);

export interface ValueProblem {
  readonly found: string;
  readonly accepted: string;
}

/** null: PostgreSQL takes it, or it is unknown here and like nothing that is known (an extension's, a newer minor's). */
export function settingProblem(name: string, value: string, major: number): ValueProblem | null {
  const setting = SERVER_SETTINGS.get(name.toLowerCase());
  if (setting === undefined) return misspelled(name);
  if (major < setting.firstMajor) {
    return { found: `PostgreSQL ${major} has no such setting`, accepted: `it came with ${setting.firstMajor}` };
  }
  if (major > setting.lastMajor) {
    return { found: `PostgreSQL ${major} has no such setting`, accepted: `it went after ${setting.lastMajor}` };
  }
  const accepted = refusal(setting, value);
  return accepted === null ? null : { found: `found "${value}"`, accepted };
}

/** Bytes, milliseconds or the plain number that a value means; null if it is none. */
export function settingNumber(name: string, value: string): number | null {
  const setting = SERVER_SETTINGS.get(name.toLowerCase());
  if (setting === undefined) return null;
  const parsed = parseNumber(setting, value);
  return parsed === null ? null : parsed * (setting.unit === null ? 1 : (UNITS[setting.unit]?.factor as number));
}

/** Two letters at most: names of one family differ by a word, and a newer server may know one that this table does not. */
const MISSPELLING_LETTERS_MAX = 2;

function misspelled(name: string): ValueProblem | null {
  if (name.includes('.')) return null;
  const meant = nearest(name, [...SERVER_SETTINGS.keys()], MISSPELLING_LETTERS_MAX);
  return meant === undefined ? null : { found: 'PostgreSQL has no such setting', accepted: `did you mean "${meant}"?` };
}

/** What would be accepted, or null if the value is. */
function refusal(setting: ServerSetting, value: string): string | null {
  switch (setting.type) {
    case 'string':
      return null;
    case 'bool':
      return BOOL_WORDS.includes(value.trim().toLowerCase()) ? null : 'accepted: on or off';
    case 'enum': {
      // Servers hide old spellings of some values, among them those of a setting that was a bool once.
      const known = [...setting.values, ...BOOL_WORDS, 'debug', 'info'];
      const isKnown = known.some((one) => one.toLowerCase() === value.trim().toLowerCase());
      return isKnown ? null : `accepted: ${setting.values.join(', ')}`;
    }
    default:
      return numberRefusal(setting, value);
  }
}

const BOOL_WORDS = ['on', 'off', 'true', 'false', 'yes', 'no', '1', '0'];

function numberRefusal(setting: ServerSetting, value: string): string | null {
  const number = parseNumber(setting, value);
  const unit = setting.unit === null ? '' : ` (in ${setting.unit})`;
  // The largest double is no limit that anybody needs to read.
  const range =
    (setting.max ?? Infinity) > 1e300
      ? `accepted: at least ${setting.min}${unit}`
      : `accepted: ${setting.min} to ${setting.max}${unit}`;
  if (number === null) {
    if (setting.unit === null) return range;
    return `accepted: a number with one of ${unitsOfKind(setting.unit).join(', ')} (capitals count)`;
  }
  const [min, max] = [setting.min ?? -Infinity, setting.max ?? Infinity];
  return number >= min && number <= max ? null : range;
}

interface Unit {
  readonly kind: 'memory' | 'time';
  /** In bytes or milliseconds. */
  readonly factor: number;
}

/** The units that PostgreSQL knows, and those in which pg_settings counts. */
const UNITS: Readonly<Record<string, Unit>> = {
  B: { kind: 'memory', factor: 1 },
  kB: { kind: 'memory', factor: 2 ** 10 },
  '8kB': { kind: 'memory', factor: 2 ** 13 },
  MB: { kind: 'memory', factor: 2 ** 20 },
  GB: { kind: 'memory', factor: 2 ** 30 },
  TB: { kind: 'memory', factor: 2 ** 40 },
  us: { kind: 'time', factor: 0.001 },
  ms: { kind: 'time', factor: 1 },
  s: { kind: 'time', factor: 1000 },
  min: { kind: 'time', factor: 60_000 },
  h: { kind: 'time', factor: 3_600_000 },
  d: { kind: 'time', factor: 86_400_000 },
};

function unitsOfKind(unit: string): string[] {
  return Object.keys(UNITS).filter((one) => one !== '8kB' && UNITS[one]?.kind === UNITS[unit]?.kind);
}

/** In the setting's own unit. */
function parseNumber(setting: ServerSetting, value: string): number | null {
  const match = /^\s*([-+]?(?:0x[0-9a-f]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[-+]?[0-9]+)?))\s*([A-Za-z]*)\s*$/i.exec(
    value,
  );
  if (match === null) return null;
  const number = Number(match[1]);
  const unit = match[2] as string;
  if (unit === '') return number;
  const [from, to] = [UNITS[unit], UNITS[setting.unit ?? '']];
  if (from === undefined || to === undefined || from.kind !== to.kind) return null;
  return (number * from.factor) / to.factor;
}

function parseRow(line: string): ServerSetting {
  const [name, appliesBy, type, unit, min, max, values, first, last] = line.split('|') as [string, ...string[]];
  return {
    name,
    appliesBy: appliesBy as ServerSetting['appliesBy'],
    type: type as ServerSetting['type'],
    unit: unit || null,
    min: min ? Number(min) : null,
    max: max ? Number(max) : null,
    values: values ? values.split(',') : [],
    firstMajor: Number(first || 0),
    lastMajor: Number(last || Number.POSITIVE_INFINITY),
  };
}
