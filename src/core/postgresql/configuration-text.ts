/**
 * Reads a postgresql.conf that a user wrote, as guc-file.l of PostgreSQL reads it: `name = value` or `name value`, quotes
 * doubled or escaped, comments, the last of a name wins. Files that it includes are not there, so that is refused.
 *
 * https://www.postgresql.org/docs/current/config-setting.html#CONFIG-SETTING-CONFIGURATION-FILE
 */

export interface ConfigurationText {
  /** Names in lower case. */
  readonly parameters: Readonly<Record<string, string>>;
  readonly problems: readonly ConfigurationProblem[];
}

export interface ConfigurationProblem {
  /** From 1. */
  readonly line: number;
  readonly found: string;
  readonly accepted: string;
}

const SETTING =
  /^\s*(?<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_$]*)?)\s*(?:=\s*|\s)(?<value>'(?:[^'\\]|\\.|'')*'|[^\s'#]+)\s*(?:#.*)?$/;
const INCLUDE = /^include(_dir|_if_exists)?$/;
const SHOWN_LENGTH_MAX = 60;

export function parseConfigurationText(text: string): ConfigurationText {
  const parameters: Record<string, string> = {};
  const problems: ConfigurationProblem[] = [];
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    if (/^\s*(#|$)/.test(line)) continue;
    const { name, value } = SETTING.exec(line)?.groups ?? {};
    if (name === undefined || value === undefined) {
      problems.push({ line: index + 1, found: `found ${shown(line)}`, accepted: "accepted: name = 'value'" });
    } else if (INCLUDE.test(name.toLowerCase())) {
      problems.push({
        line: index + 1,
        found: `found "${name}"`,
        accepted: 'write the settings here, since no other file is there',
      });
    } else parameters[name.toLowerCase()] = unquote(value);
  }
  return { parameters, problems };
}

/** Lines of a pg_hba.conf or pg_ident.conf without comments; one that ends with a backslash goes on in the next. */
export function parseRuleLines(text: string): string[] {
  return text
    .replaceAll(/\\\r?\n/g, ' ')
    .split(/\r?\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', b: '\b', f: '\f' };

function unquote(value: string): string {
  if (!value.startsWith("'")) return value;
  return value
    .slice(1, -1)
    .replaceAll(/\\([0-7]{1,3})|\\(.)|''/g, (_whole, octal: string | undefined, character: string | undefined) => {
      if (octal !== undefined) return String.fromCharCode(Number.parseInt(octal, 8));
      return character === undefined ? "'" : (ESCAPES[character] ?? character);
    });
}

function shown(line: string): string {
  return JSON.stringify(line.length > SHOWN_LENGTH_MAX ? `${line.slice(0, SHOWN_LENGTH_MAX)}…` : line);
}
