import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NO_FAULTS, type SiteState } from '../site-state.ts';
import { renderCuts } from './packets.ts';
import { isCoveredBy, isPartOfTarget, nodesOf, parseTarget } from './targets.ts';

const state: SiteState = {
  format: 1,
  siteId: 'ab000003',
  globalCluster: 'orders',
  groups: [],
  generation: 1,
  subnet: '127.63.4',
  ports: { postgres: 5432, agent: 7440, path: 7441, record: 7443, health: 7442, etcdClient: 2379, etcdPeer: 2380 },
  user: null,
  postgresBin: '/bin',
  postgresMajor: 15,
  runtimeDirectory: '/run/x',
  folderMade: true,
  primaryGroup: 'leo',
  nodes: [
    { name: 'leo-1', group: 'leo', address: '127.63.4.2', volume: 'folder' },
    { name: 'leo-2', group: 'leo', address: '127.63.4.3', volume: 'folder' },
    { name: 'ait-1', group: 'ait', address: '127.63.4.4', volume: 'folder' },
  ],
  proxies: [{ name: 'leo-proxy-1', group: 'leo', writeAddress: '127.63.4.5', readAddress: '127.63.4.6' }],
  recordAddress: '127.63.4.7',
  etcd: [],
  faults: NO_FAULTS,
};

test('a target is a node, a part, a group, a proxy or the record', () => {
  const kinds = ['leo-1', 'leo-1/postgres', 'leo', 'leo-proxy-1', 'record'].map(
    (text) => parseTarget(state, text).kind,
  );
  assert.deepEqual(kinds, ['node', 'part', 'group', 'proxy', 'record']);
});

test('what is no target is refused with those that there are', () => {
  for (const text of [
    'leo-3',
    'leo-1/disk',
    'leo/postgres',
    'record/agent',
    '',
    'leo-1/postgres/x',
    'leo-proxy-1/agent',
  ]) {
    assert.throws(() => parseTarget(state, text), { code: 'TARGET_UNKNOWN' }, text);
  }
});

test('a group has its nodes, their parts and its proxies', () => {
  const leo = parseTarget(state, 'leo');
  for (const part of ['leo-1/postgres', 'leo-2/watchdog', 'leo-proxy-1'])
    assert.ok(isPartOfTarget(state, leo, part), part);
  for (const part of ['ait-1/agent', 'record', 'slow-disk/leo-1']) assert.ok(!isPartOfTarget(state, leo, part), part);
  assert.deepEqual(nodesOf(state, leo), ['leo-1', 'leo-2']);
});

test('a part is no other part, and a node not its neighbour', () => {
  assert.ok(!isPartOfTarget(state, parseTarget(state, 'leo-1/agent'), 'leo-1/postgres'));
  assert.ok(!isPartOfTarget(state, parseTarget(state, 'leo-1'), 'leo-2/agent'));
});

test('healing a group covers its nodes and parts; healing a node does not cover its group', () => {
  const covers = (outer: string, inner: string) =>
    isCoveredBy(state, parseTarget(state, inner), parseTarget(state, outer));
  assert.ok(
    covers('leo', 'leo') && covers('leo', 'leo-1') && covers('leo', 'leo-2/agent') && covers('leo-1', 'leo-1/postgres'),
  );
  assert.ok(!covers('leo-1', 'leo') && !covers('ait', 'leo-1') && !covers('leo-1/agent', 'leo-1'));
});

test("a group's border is around all its addresses, and its nodes reach their own path", () => {
  const rules = renderCuts({ ...state, faults: { ...NO_FAULTS, cut: ['leo'] } });
  const inside = '{ 127.63.4.2, 127.63.4.3, 127.63.4.5, 127.63.4.6 }';
  assert.ok(rules.includes(`ip saddr ${inside} ip daddr != ${inside} jump cut_0`));
  assert.ok(rules.includes(`ip daddr ${inside} ip saddr != ${inside} jump cut_0`));
  assert.ok(rules.indexOf('ip daddr 127.63.4.2 tcp dport 7441 accept') < rules.indexOf('jump cut_0'));
  assert.equal(renderCuts(state), '', 'nothing cut, no table');
});
