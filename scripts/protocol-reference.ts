/**
 * Writes docs/reference/protocol-rules.md from test/rules/rule-table.ts:
 *   node scripts/protocol-reference.ts
 * test/rules/rule-table.test.ts fails when it is not current.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Holder, ruleTable } from '../test/rules/rule-table.ts';

export const PROTOCOL_PAGE = 'docs/reference/protocol-rules.md';

export function protocolPage(): string {
  const lines = [
    '# The rules of leadership, and what holds each',
    '',
    '<!-- Made by scripts/protocol-reference.ts from test/rules/rule-table.ts; change it there. -->',
    '',
    'For each rule there is a *mutation*: a variant of the system without it. `npm test` runs every one, and fails if it does no harm:',
    'then the rule does nothing, or the test does not show what it is for. M are the members that vote, w is the number of them that',
    'must hold a commit before it is acknowledged, v the number that must be heard before a new leader is elected.',
    '',
    '- **explorer** (`test/model/`): every reachable state of a small system over the real decision functions; a lost write, two leaders',
    '  of one term, a late acknowledgement or a timeline begun twice is a violation.',
    '- **simulation** (`test/simulation/`): the same functions with clocks, disks, a network and processes, in histories told step by',
    '  step; beside them `npm test` runs thousands of random ones.',
    '- **test**: of the function, the process, or PostgreSQL itself.',
    '',
  ];
  for (const { title, rules } of ruleTable) {
    lines.push(`## ${title}`, '', '| rule | without it, caught by |', '|---|---|');
    for (const { rule, heldBy } of rules) lines.push(`| ${rule} | ${heldBy.map(describeHolder).join('<br>')} |`);
    lines.push('');
  }
  return lines.join('\n');
}

export function describeHolder(holder: Holder): string {
  if ('explorer' in holder) return `explorer: ${holder.explorer}`;
  if ('simulation' in holder) return `simulation: ${holder.simulation}`;
  return `test: ${holder.test}, “${holder.title}”`;
}

if (import.meta.main) {
  await writeFile(join(import.meta.dirname, '..', PROTOCOL_PAGE), protocolPage());
}
