import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { postgresGroup } from '../../test/kit/manifests.ts';
import { sourceRefs, type SourceTexts, takeSources } from './take-sources.ts';

const group = postgresGroup({
  namespace: 'shop',
  spec: {
    bootstrap: { owner: 'orders', secretRef: { name: 'login' } },
    roles: [
      { name: 'report', secretRef: { name: 'report' } },
      { name: 'readers', attributes: [] },
    ],
    postgresql: { configMapRef: { name: 'tuning' } },
  },
});

const texts = (change: Record<string, SourceTexts> = {}): Map<string, SourceTexts> =>
  new Map(
    Object.entries({
      'ConfigMap/tuning': { 'postgresql.conf': 'work_mem = 8MB\n' },
      'Secret/login': { username: 'orders', password: 'one\n' },
      'Secret/report': { password: 'two' },
      ...change,
    }),
  );

suite('what a manifest names', () => {
  test('is found, with the field that names it', () => {
    assert.deepEqual(
      sourceRefs(group).map(({ kind, name, path }) => `${kind} ${name} ${path}`),
      [
        'ConfigMap tuning spec.postgresql.configMapRef',
        'Secret login spec.bootstrap.secretRef',
        'Secret report spec.roles[0].secretRef',
      ],
    );
    assert.deepEqual(sourceRefs(postgresGroup()), []);
  });

  test('is taken as if it stood there', () => {
    const taken = takeSources(group, texts());
    assert.ok(taken.kind === 'accepted');
    assert.equal(taken.group.spec.postgresql.parameters.work_mem, '8MB');
    assert.deepEqual(taken.app, { username: 'orders', password: 'one' });
    assert.deepEqual(taken.rolePasswords, { report: 'two' });
  });

  test('names nothing in most groups', () => {
    const plain = postgresGroup();
    assert.deepEqual(takeSources(plain, new Map()), { kind: 'accepted', group: plain, app: null, rolePasswords: {} });
  });

  const refusals: [title: string, change: Record<string, SourceTexts>, message: RegExp][] = [
    [
      'is not there',
      { 'Secret/report': null },
      /Not found in namespace "shop": Secret "report" \(spec\.roles\[0\]\.secretRef\)/,
    ],
    [
      'has another user',
      { 'Secret/login': { username: 'x', password: 'p' } },
      /found username "x"; accepted: "orders"/,
    ],
    [
      'has no password',
      { 'Secret/report': { username: 'report' } },
      /spec\.roles\[0\]\.secretRef \(report\): it has no password/,
    ],
    ['has two lines', { 'Secret/report': { password: 'a\nb' } }, /its password has more than one line/],
    [
      'has a setting of ours',
      { 'ConfigMap/tuning': { 'postgresql.conf': 'port = 1' } },
      /spec\.postgresql\.parameters\.port/,
    ],
    [
      'cannot be read',
      { 'ConfigMap/tuning': { 'postgresql.conf': 'port' } },
      /data\["postgresql\.conf"\] line 1: found "port"/,
    ],
  ];
  for (const [title, change, message] of refusals) {
    test(`is refused if it ${title}, in words without a password`, () => {
      const taken = takeSources(group, texts(change));
      assert.ok(taken.kind === 'refused');
      assert.match(taken.message, message);
      assert.doesNotMatch(taken.message, /"(one|two|p)"/);
    });
  }
});
