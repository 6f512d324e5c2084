/**
 * What a user may not write in `.spec.postgresql.pg_hba` and `pg_ident`: PostgreSQL keeps its old rules when one line of the
 * file is wrong, so a wrong line would hold up every later change; and two kinds of right lines break what pgspan promises.
 *
 * https://www.postgresql.org/docs/current/auth-pg-hba-conf.html
 */
import { isIP } from 'node:net';

export interface LineProblem {
  /** In the list of the manifest, from 0. */
  readonly index: number;
  readonly found: string;
  readonly accepted: string;
}

const TYPES = ['local', 'host', 'hostssl', 'hostnossl', 'hostgssenc', 'hostnogssenc'];
const METHODS = [
  'trust',
  'reject',
  'scram-sha-256',
  'md5',
  'password',
  'gss',
  'sspi',
  'ident',
  'peer',
  'ldap',
  'radius',
  'cert',
  'pam',
  'bsd',
  'oauth',
];

export function hbaProblems(lines: readonly string[]): LineProblem[] {
  return lines.flatMap((line, index) => {
    const problem = judgeHba(line);
    return problem === null ? [] : [{ index, ...problem }];
  });
}

export function identProblems(lines: readonly string[]): LineProblem[] {
  return lines.flatMap((line, index) => {
    const problem = judgeIdent(line);
    return problem === null ? [] : [{ index, ...problem }];
  });
}

type Judgement = { readonly found: string; readonly accepted: string } | null;

const refuse = (found: string, accepted: string): Judgement => ({ found, accepted });

function judgeHba(line: string): Judgement {
  const broken = judgeText(line);
  if (broken !== null) return broken;
  const words = splitHbaLine(line);
  if (words.length === 0) return null; // A comment.
  const [type = '', database, user, ...rest] = words;
  if (!TYPES.includes(type))
    return refuse(`found "${type}" as the kind of connection`, `accepted: ${TYPES.join(', ')}`);
  if (database === undefined || user === undefined) return refuse('it has no user', FORM);
  if ([database, user].some((list) => list.split(',').some((one) => one.startsWith('@')))) {
    return refuse('found a list in another file', 'write the names themselves, since no other file is read');
  }
  const afterAddress = type === 'local' ? { problem: null, words: rest } : takeAddress(rest);
  if (afterAddress.problem !== null) return afterAddress.problem;
  const method = afterAddress.words[0];
  if (method === undefined) return refuse('it has no method', FORM);
  if (!METHODS.includes(method)) return refuse(`found "${method}" as the method`, `accepted: ${METHODS.join(', ')}`);
  const isPlaintextAllowed = type !== 'local' && type !== 'hostssl' && method !== 'reject';
  if (isPlaintextAllowed)
    return refuse(`"${type}" would let in connections without TLS`, 'accepted: "hostssl", or the method "reject"');
  return null;
}

const FORM = 'accepted: "hostssl DATABASE USER ADDRESS METHOD [OPTION=VALUE …]"';

/** Takes `ADDRESS/BITS`, `ADDRESS MASK`, or a word from the front. */
function takeAddress(words: readonly string[]): { readonly problem: Judgement; readonly words: readonly string[] } {
  const [address, next = ''] = words;
  if (address === undefined) return { problem: refuse('it has no address', FORM), words: [] };
  if (['all', 'samehost', 'samenet'].includes(address)) return { problem: null, words: words.slice(1) };
  const [host = '', bits, ...more] = address.split('/');
  const version = isIP(host);
  if (version === 0) {
    const problem = refuse(
      `found the name "${address}" as the address`,
      'accepted: a range such as "10.0.0.0/8", all, samehost or samenet; a rule that waits for DNS can lock everybody out',
    );
    return { problem, words: [] };
  }
  if (bits === undefined) {
    if (isIP(next) !== version)
      return {
        problem: refuse(`found "${address}" without a range`, `accepted: "${address}/${version === 4 ? 32 : 128}"`),
        words: [],
      };
    return { problem: null, words: words.slice(2) };
  }
  const isRange = more.length === 0 && /^[0-9]{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128);
  return {
    problem: isRange ? null : refuse(`found the range "${address}"`, 'accepted: a range such as "10.0.0.0/8"'),
    words: words.slice(1),
  };
}

function judgeIdent(line: string): Judgement {
  const broken = judgeText(line);
  if (broken !== null) return broken;
  const words = splitHbaLine(line);
  if (words.length === 0) return null;
  if (words.length !== 3) return refuse(`found ${words.length} words`, 'accepted: "MAP SYSTEM-USER DATABASE-USER"');
  if (words[0] === 'pgspan') return refuse('the map "pgspan" belongs to pgspan', 'use another name for the map');
  return null;
}

function judgeText(line: string): Judgement {
  if (/[\0\r\n]/.test(line)) return refuse('found a line break', 'accepted: one line in each entry of the list');
  if ((line.match(/"/g) ?? []).length % 2 === 1) return refuse('a quote is not closed', 'close it');
  if (/\\\s*$/.test(line)) return refuse('found a "\\" at the end', 'write the whole line in one entry');
  if (/^\s*(include|include_dir|include_if_exists)\b/.test(line))
    return refuse('no other file is read', 'write the lines themselves');
  return null;
}

/** Words of a line; quotes hold blanks together, `a, b` is one list, `#` begins a comment. */
export function splitHbaLine(line: string): string[] {
  const words: string[] = [];
  for (const [text] of line.replace(/\s*,\s*/g, ',').matchAll(/#.*$|(?:"[^"]*"|[^\s"#])+/g)) {
    if (text.startsWith('#')) break;
    words.push(text.replaceAll('"', ''));
  }
  return words;
}
