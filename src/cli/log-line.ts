/** One line of an agent's JSON log as a person reads it: time, level, message, fields. Any other line stays as it is. */

const LEVELS: Readonly<Record<number, string>> = {
  10: 'trace',
  20: 'debug',
  30: 'info',
  40: 'warn',
  50: 'error',
  60: 'fatal',
};
/** Said by the file's name already, or of no use to a person. */
const HIDDEN = new Set(['level', 'time', 'msg', 'pid', 'hostname', 'node', 'name', 'group']);

/** `10:36:22.123 info  swap term=2 won=true` from pino's JSON. */
export function formatLogLine(line: string): string {
  const entry = parse(line);
  if (entry === null) return line;
  const level = typeof entry.level === 'number' ? (LEVELS[entry.level] ?? String(entry.level)) : String(entry.level);
  const time = typeof entry.time === 'number' ? `${new Date(entry.time).toISOString().slice(11, 23)} ` : '';
  const fields = Object.entries(entry)
    .filter(([name]) => !HIDDEN.has(name))
    .map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  return [`${time}${level.padEnd(5)}`, String(entry.msg ?? ''), ...fields].join(' ');
}

function parse(line: string): Record<string, unknown> | null {
  if (!line.startsWith('{')) return null;
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null && 'msg' in value ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}
