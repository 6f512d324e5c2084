/**
 * Which questions the resolver answers by its rules, and how. Rules are tried in their order, the first whose host is the
 * name decides.
 *
 *   result is an address    A or AAAA of it; for every other type "the name is there and has nothing of it"
 *   result is a name        the question is asked for that name, and the answer given under the name that was asked for
 *
 * The name that a rule leads to is looked up once more among the rules for exact names, so that a rule can lead to a name of
 * ours; expressions are not tried again, since one that matches its own result would make longer names for ever. A rule whose
 * result is the name itself says: ask upstream, whatever comes later.
 */
import { isIP } from 'node:net';
import { DNS_CLASS_IN, type Question } from '../../wire/dns-message.ts';
import { encodeName, nameText } from '../../wire/dns-names.ts';

export interface SplitRule {
  /** Name, or regular expression for the whole name in lower case, without a final dot. */
  readonly host: string;
  /** Address or name; `${1}` is the expression's first group. */
  readonly result: string;
  readonly regex: boolean;
}

export interface RuleSet {
  /** By name: the first rule for it. */
  readonly exact: ReadonlyMap<string, { readonly index: number; readonly result: string }>;
  readonly patterns: readonly { readonly index: number; readonly pattern: RegExp; readonly result: string }[];
}

/** @param flags of the expressions: `l` where the process has the engine that takes linear time. Throws SyntaxError. */
export function compileRules(rules: readonly SplitRule[], flags: '' | 'l' = ''): RuleSet {
  const exact = new Map<string, { index: number; result: string }>();
  const patterns: { index: number; pattern: RegExp; result: string }[] = [];
  for (const [index, { host, result, regex }] of rules.entries()) {
    if (regex) patterns.push({ index, pattern: new RegExp(`^(?:${host})$`, flags), result });
    else if (!exact.has(plainName(host))) exact.set(plainName(host), { index, result });
  }
  return { exact, patterns };
}

export type RuleDecision =
  /** No rule: as it is to an upstream. */
  | { readonly kind: 'forward' }
  /** An upstream's answer for `target`, under the name that was asked for. */
  | { readonly kind: 'rename'; readonly target: string }
  | { readonly kind: 'address'; readonly address: string }
  /** A rule that cannot be carried out; a sentence part. */
  | { readonly kind: 'broken'; readonly reason: string };

const FORWARD: RuleDecision = { kind: 'forward' };

/** More than anybody writes by hand. */
const STEPS_MAX = 8;

export function decideByRules(rules: RuleSet, question: Pick<Question, 'key' | 'class'>): RuleDecision {
  if (question.class !== DNS_CLASS_IN) return FORWARD;
  const name = nameText(question.key);
  if (name === null || name === '') return FORWARD;
  const first = firstResult(rules, name);
  if (first === null) return FORWARD;
  const seen = [name];
  let result = first;
  for (;;) {
    if (isIP(result) !== 0) return { kind: 'address', address: result };
    const target = plainName(result);
    if (encodeName(target) === null) return { kind: 'broken', reason: `the rule for "${name}" leads to "${result}"` };
    const next = rules.exact.get(target)?.result;
    const isEnd = next === undefined || plainName(next) === target;
    if (target === name && seen.length === 1) return FORWARD;
    if (isEnd) return { kind: 'rename', target };
    if (seen.includes(target) || seen.length >= STEPS_MAX)
      return { kind: 'broken', reason: `the rules lead in a circle: ${[...seen, target].join(', ')}` };
    seen.push(target);
    result = next;
  }
}

/** What the first rule for the name leads to; null: there is none. */
function firstResult({ exact, patterns }: RuleSet, name: string): string | null {
  const fixed = exact.get(name);
  for (const { index, pattern, result } of patterns) {
    if (fixed !== undefined && fixed.index < index) break;
    const match = pattern.exec(name);
    if (match !== null) return fillIn(result, match);
  }
  return fixed?.result ?? null;
}

function fillIn(result: string, match: RegExpExecArray): string {
  return result.replace(/\$\{([0-9]+)\}/g, (_all, number: string) => match[Number(number)] ?? '');
}

function plainName(text: string): string {
  return text.toLowerCase().replace(/\.$/, '');
}

/**
 * What in an expression needs an engine that may take exponential time; null: nothing. The resolver runs without it, so that
 * no name can stop it.
 */
export function nonLinearPart(expression: string): string | null {
  // Escaped characters and classes of characters mean themselves.
  const bare = expression.replace(/\\[^1-9k]/g, '..').replace(/\[(?:\\.|[^\]\\])*\]/g, '.');
  return /\(\?<?[=!]|\\[1-9]|\\k</.exec(bare)?.[0] ?? null;
}
