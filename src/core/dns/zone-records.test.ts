import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { groupsOf } from '../../../test/kit/manifests.ts';
import { planGlobalCluster } from '../topology/plan.ts';
import type { GroupPlan } from '../topology/plan-types.ts';
import { corednsRules, formatCorednsRules } from './coredns-rules.ts';
import { formatZone, zoneRecords } from './zone-records.ts';

const plan = planGlobalCluster(groupsOf([1, 1]));
const [first, second] = plan.groups as [GroupPlan, GroupPlan];
const nameOf = (group: GroupPlan, kind: string) => group.services.find((one) => one.kind === kind)?.fqdns[0] ?? '';

suite('zone records', () => {
  test('lead the global name to the proxies of every group, and a group to its own', () => {
    const hosts: Record<string, string[]> = { [first.name]: ['192.0.2.1'], [second.name]: ['2001:db8::2'] };
    const { records, missing } = zoneRecords(
      plan,
      (group, service) => (service === group ? (hosts[group] ?? []) : []),
      30,
    );
    const at = (name: string) => records.filter((one) => one.name === name).map(({ type, data }) => `${type} ${data}`);
    assert.deepEqual(at(nameOf(first, 'write')), ['A 192.0.2.1']);
    assert.deepEqual(at(nameOf(second, 'write')), ['AAAA 2001:db8::2']);
    const global = new Set([nameOf(first, 'global-write'), nameOf(second, 'global-write')]);
    assert.deepEqual([...global].flatMap(at).toSorted(), ['A 192.0.2.1', 'AAAA 2001:db8::2']);
    assert.deepEqual(missing, []);
  });

  test('say which names lead nowhere, and that two CNAMEs cannot stand at one name', () => {
    const none = zoneRecords(plan, () => [], 30);
    assert.deepEqual(none.records, []);
    assert.ok(none.missing.some(({ name }) => name === nameOf(first, 'global-write')));
    const named = zoneRecords(
      plan,
      (_group, service) => (service === first.name ? ['a.lb.example', 'b.lb.example'] : []),
      30,
    );
    assert.match(formatZone(named), /; .*one CNAME.*ALIAS/);
    const single = zoneRecords(plan, (_group, service) => (service === first.name ? ['a.lb.example'] : []), 30);
    assert.match(
      formatZone(single),
      new RegExp(`^${nameOf(first, 'write').replaceAll('.', '\\.')}\\. +30 IN CNAME a\\.lb\\.example\\.$`, 'm'),
    );
  });
});

suite('rules for CoreDNS', () => {
  test('lead every name outside to its Service, and the answer back', () => {
    const rules = corednsRules(first, 'cluster.local');
    const write = nameOf(first, 'write');
    const target = `${first.name}.${first.namespace}.svc.cluster.local`;
    assert.ok(rules.some((rule) => rule.name === write && rule.target === target));
    assert.equal(rules.length, first.services.filter(({ fqdns }) => fqdns.length > 0).length);
    assert.match(
      formatCorednsRules([{ name: 'a.example', target: 'a.ns.svc' }]),
      /^rewrite stop \{\n {4}name exact a\.example a\.ns\.svc\n {4}answer name \^a\\\.ns\\\.svc\\\.\$ a\.example\n\}\n$/,
    );
  });
});
