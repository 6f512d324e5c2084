import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { genRecord } from '../../../test/kit/cluster-record.ts';
import { decidePutBack, decideRestore, type NodeMemory } from './restore-record.ts';

const RECORD = genRecord({ term: 4, version: 9, leader: 'leo-1' });
const INCARNATIONS = new Map(RECORD.members.map(({ node, incarnation }) => [node, incarnation]));

function memory(node: string, change: Partial<NodeMemory> = {}): NodeMemory {
  const incarnation = INCARNATIONS.get(node) ?? '0123456789ff';
  return { node, incarnation, promisedTerm: 4, seen: { term: 4, version: 9 }, record: RECORD, ...change };
}

/** What is decided, in a few words: `by leo-1`, `by ait-1, risk LeaderUnheard`, `refuse NewerSeen`. */
function outcome(
  answers: readonly NodeMemory[],
  silent: readonly string[] = [],
  scope: 'global' | 'group' = 'global',
): string {
  const decision = decideRestore({ answers, silent, scope });
  if (decision.kind === 'refuse') return `refuse ${decision.reason.code}`;
  return `by ${decision.by}${decision.risk === null ? '' : `, risk ${decision.risk.code}`}`;
}

const leo = memory('leo-1');
const ait = memory('ait-1');
const pit = memory('pit-1');
const older = { seen: { term: 4, version: 8 }, record: { ...RECORD, version: 8 } };

describe('putting the record back from the nodes', () => {
  test('is proven to lose nothing when every node answers and none has seen anything newer', () => {
    assert.equal(outcome([leo, ait, pit]), 'by leo-1');
    assert.equal(outcome([memory('leo-1', older), ait, memory('pit-1', older)]), 'by ait-1');
    assert.equal(
      outcome([leo, memory('ait-1', { promisedTerm: 7 }), memory('pit-1', { promisedTerm: 7 })]),
      'by leo-1',
    );
  });

  test('is proven by the leader and a write quorum that promised nothing higher', () => {
    assert.equal(outcome([leo, ait], ['pit-1']), 'by leo-1');
    assert.equal(outcome([leo], ['ait-1', 'pit-1']), 'by leo-1, risk ElectionPossible');
    assert.equal(outcome([leo, memory('ait-1', { promisedTerm: 5 })], ['pit-1']), 'by leo-1, risk ElectionPossible');
    assert.equal(outcome([memory('leo-1', { promisedTerm: 5 }), ait], ['pit-1']), 'by leo-1, risk ElectionPossible');
  });

  test('is a risk without the leader: it may have changed the members', () =>
    assert.equal(outcome([ait, pit], ['leo-1']), 'by ait-1, risk LeaderUnheard'));

  test('takes a node that has lost its disk for one that was not heard', () => {
    const wiped = { incarnation: 'aaaaaaaaaaaa', promisedTerm: 0, seen: { term: 0, version: 0 }, record: null };
    assert.equal(outcome([leo, ait, memory('pit-1', wiped)]), 'by leo-1');
    assert.equal(outcome([memory('leo-1', wiped), ait, pit]), 'by ait-1, risk LeaderUnheard');
  });

  test('needs every node where another group takes over without the votes of the members', () => {
    assert.equal(outcome([leo, ait, pit], [], 'group'), 'by leo-1');
    assert.equal(outcome([leo, ait], ['pit-1'], 'group'), 'by leo-1, risk TakeOverPossible');
  });

  test('is refused when a node has seen what none holds any more, and when none holds any', () => {
    assert.equal(outcome([leo, memory('ait-1', { seen: { term: 5, version: 10 } })]), 'refuse NewerSeen');
    assert.equal(
      outcome([memory('leo-1', { record: null, seen: { term: 0, version: 0 } })]),
      'refuse NothingRemembered',
    );
    assert.equal(outcome([], ['leo-1']), 'refuse NothingRemembered');
  });
});

describe('the node that puts it back', () => {
  const facts = { wanted: { term: 4, version: 9 }, remembered: RECORD, seen: { term: 4, version: 9 }, stored: null };
  const answer = (change: Partial<Parameters<typeof decidePutBack>[0]>): string => {
    const decision = decidePutBack({ ...facts, ...change });
    return decision.kind === 'put' ? 'put' : decision.reason.code;
  };

  test('does so where there is none, or an older one', () => {
    assert.equal(answer({}), 'put');
    assert.equal(answer({ stored: { ...RECORD, version: 8 } }), 'put');
    assert.equal(answer({ stored: { ...RECORD, version: 8, term: 3 } }), 'put');
  });

  test('leaves alone what is as new, newer, or of another database', () => {
    assert.equal(answer({ stored: RECORD }), 'RecordThere');
    assert.equal(answer({ stored: { ...RECORD, version: 10 } }), 'RecordThere');
    assert.equal(answer({ stored: { ...RECORD, version: 8, term: 5 } }), 'RecordThere');
    assert.equal(answer({ stored: { ...RECORD, version: 1, systemIdentifier: '7' } }), 'OtherDatabase');
  });

  test('refuses when it holds another one than was shown, or has seen a newer one since', () => {
    assert.equal(answer({ remembered: null }), 'RecordForgotten');
    assert.equal(answer({ wanted: { term: 4, version: 8 } }), 'RecordForgotten');
    assert.equal(answer({ seen: { term: 5, version: 10 } }), 'NewerSeen');
  });
});
