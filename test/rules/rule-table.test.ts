/** The table of rules is whole: what it names is there, and every mutation of the explorer and of the simulation is in it. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, test } from 'node:test';
import { describeHolder, PROTOCOL_PAGE, protocolPage } from '../../scripts/protocol-reference.ts';
import { mutations } from '../model/mutations.ts';
import { simulationMutations } from '../simulation/mutations.ts';
import { type Holder, ruleTable } from './rule-table.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const holders: readonly Holder[] = ruleTable.flatMap(({ rules }) => rules.flatMap(({ heldBy }) => heldBy));

describe('each rule is held by what there is', () => {
  for (const { title, rules } of ruleTable)
    test(title, (context) => {
      for (const { rule, heldBy } of rules) {
        assert.ok(heldBy.length > 0, rule);
        for (const holder of heldBy) assertIsThere(holder);
        context.diagnostic(`${rule}  <-  ${heldBy.map(describeHolder).join('; ')}`);
      }
    });
});

function assertIsThere(holder: Holder): void {
  if ('explorer' in holder)
    return assert.ok(
      mutations.some(({ name }) => name === holder.explorer),
      holder.explorer,
    );
  if ('simulation' in holder)
    return assert.ok(
      simulationMutations.some(({ name }) => name === holder.simulation),
      holder.simulation,
    );
  const text = readFileSync(join(ROOT, holder.test), 'utf8');
  const quoted = [`test('${holder.title}`, `test("${holder.title}`];
  assert.ok(
    quoted.some((one) => text.includes(one)),
    `${holder.test} has no test "${holder.title}"`,
  );
}

test('every mutation belongs to a rule', () => {
  const named = new Set(
    holders.map((one) => ('explorer' in one ? one.explorer : 'simulation' in one ? one.simulation : '')),
  );
  const all = [...mutations, ...simulationMutations].map(({ name }) => name);
  assert.deepEqual(
    all.filter((name) => !named.has(name)),
    [],
  );
});

test(`${PROTOCOL_PAGE} is current (else: npm run docs)`, () => {
  assert.equal(readFileSync(join(ROOT, PROTOCOL_PAGE), 'utf8'), protocolPage());
});
