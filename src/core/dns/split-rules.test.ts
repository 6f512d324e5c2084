import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { encodeName } from '../../wire/dns-names.ts';
import { compileRules, decideByRules, nonLinearPart, type SplitRule } from './split-rules.ts';

function decide(rules: readonly (Partial<SplitRule> & { host: string; result: string })[], name: string, klass = 1) {
  const key = (encodeName(name) as Buffer).toString('latin1').toLowerCase();
  return decideByRules(compileRules(rules.map((rule) => ({ regex: false, ...rule }))), { key, class: klass });
}

suite('split rules', () => {
  test('answer with an address, or for another name; everything else goes on', () => {
    const rules = [
      { host: 'Leo-1.Example.com.', result: 'leo-1-0.leo-pods.shop.svc.cluster.local' },
      { host: 'six.example.com', result: '2001:db8::1' },
      { host: '(.+)\\.peer\\.example\\.com', result: '${1}.vpc.internal', regex: true },
    ];
    assert.deepEqual(decide(rules, 'LEO-1.example.com'), {
      kind: 'rename',
      target: 'leo-1-0.leo-pods.shop.svc.cluster.local',
    });
    assert.deepEqual(decide(rules, 'six.example.com'), { kind: 'address', address: '2001:db8::1' });
    assert.deepEqual(decide(rules, 'a.b.peer.example.com'), { kind: 'rename', target: 'a.b.vpc.internal' });
    assert.deepEqual(decide(rules, 'leo-2.example.com'), { kind: 'forward' });
    assert.deepEqual(decide(rules, 'leo-1.example.com.shop.svc.cluster.local'), { kind: 'forward' });
    assert.deepEqual(decide(rules, 'leo-1.example.com', 3), { kind: 'forward' });
  });

  test('an expression is for the whole name', () => {
    const rules = [{ host: 'a|b\\.example', result: '192.0.2.1', regex: true }];
    assert.equal(decide(rules, 'b.example').kind, 'address');
    assert.equal(decide(rules, 'a.example').kind, 'forward');
    assert.equal(decide(rules, 'xb.example').kind, 'forward');
  });

  test('the first match wins, of names and expressions alike', () => {
    const rules = [
      { host: 'x.example', result: '192.0.2.1' },
      { host: '.*\\.example', result: '192.0.2.2', regex: true },
      { host: 'y.example', result: '192.0.2.3' },
      { host: 'x.example', result: '192.0.2.4' },
    ];
    assert.deepEqual(decide(rules, 'x.example'), { kind: 'address', address: '192.0.2.1' });
    assert.deepEqual(decide(rules, 'y.example'), { kind: 'address', address: '192.0.2.2' });
  });

  test('a result is looked up once more among exact names, and never among expressions', () => {
    const rules = [
      { host: 'db.corp', result: 'leo-1.example.com' },
      { host: 'leo-1.example.com', result: 'pod.svc' },
      { host: '(.+)\\.grow', result: '${1}.x.grow', regex: true },
    ];
    assert.deepEqual(decide(rules, 'db.corp'), { kind: 'rename', target: 'pod.svc' });
    assert.deepEqual(decide(rules, 'a.grow'), { kind: 'rename', target: 'a.x.grow' });
  });

  test('a rule to the name itself says: upstream', () => {
    const rules = [
      { host: 'keep.example', result: 'keep.example' },
      { host: '.*\\.example', result: '192.0.2.2', regex: true },
    ];
    assert.deepEqual(decide(rules, 'keep.example'), { kind: 'forward' });
  });

  test('circles and results that are no name are said to be broken', () => {
    const circle = [
      { host: 'a.example', result: 'b.example' },
      { host: 'b.example', result: 'a.example' },
    ];
    assert.match(JSON.stringify(decide(circle, 'a.example')), /circle: a\.example, b\.example, a\.example/);
    const long = Array.from({ length: 20 }, (_, index) => ({
      host: `n${index}.example`,
      result: `n${index + 1}.example`,
    }));
    assert.equal(decide(long, 'n0.example').kind, 'broken');
    assert.equal(decide([{ host: '(x*)\\.example', result: '${1}.peer', regex: true }], '_.example').kind, 'forward');
    assert.equal(decide([{ host: '(x*)y\\.example', result: '${1}.peer', regex: true }], 'y.example').kind, 'broken');
  });

  test('what needs backtracking in an expression is found', () => {
    for (const [expression, part] of [
      ['(a)\\1', '\\1'],
      ['(?=x)a', '(?='],
      ['(?<!x)a', '(?<!'],
      ['(?<n>a)\\k<n>', '\\k<'],
      ['(?<n>a)', null],
      ['(?:a|b)+\\.x', null],
      ['\\(?=', null],
      ['[(?=]+', null],
      ['\\\\1', null],
    ] as const)
      assert.equal(nonLinearPart(expression), part, expression);
  });
});
