import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { cardOf } from '../../../test/kit/cards.ts';
import { postgresGroup } from '../../../test/kit/manifests.ts';
import type { GroupCard } from '../../api/group-card.ts';
import { countedGroups, decideGroups, type GroupsInput } from './decide-groups.ts';
import { ownCard } from './own-card.ts';
import { type KnownCards, nextCard, takeCard } from './take-card.ts';

const SHARED = {
  coordination: { store: 'etcd', etcd: { endpoints: ['https://etcd.example.com:2379'] } },
  globalCluster: { name: 'orders', primaryGroup: 'leo', credentialsSecretRef: { name: 'orders' } },
};
const peersOf = (...names: string[]) => names.map((group) => ({ group }));
const group = (name: string, peers: readonly string[], spec: Record<string, unknown> = {}) =>
  postgresGroup({
    name,
    spec: {
      ...SHARED,
      ...spec,
      globalCluster: { ...SHARED.globalCluster, peers: peersOf(...peers), ...(spec.globalCluster as object) },
    },
  });
const card = (name: string, peers: readonly string[] = [], more: Partial<GroupCard> = {}) =>
  cardOf(name, { spec: { globalCluster: { name: 'orders', primaryGroup: 'leo', peers: peersOf(...peers) } }, ...more });
const cards = (...all: GroupCard[]): KnownCards => new Map(all.map((one) => [one.group, one]));
const decide = (input: Partial<GroupsInput> & Pick<GroupsInput, 'own'>) =>
  decideGroups({ admits: [], cards: cards(), configured: [], ...input });

describe('when the primary group has left', () => {
  const gone = card('leo', [], { admits: ['ait', 'pit'], left: true });
  const joined = (name: string) => {
    const join = { tokenSecretRef: { name: 'token', key: 'token' } };
    const { credentialsSecretRef: _none, primaryGroup: _unsaid, ...globalCluster } = SHARED.globalCluster;
    return postgresGroup({ name, spec: { ...SHARED, globalCluster: { ...globalCluster, join } } });
  };

  test('the first of those that stay takes its place, the same for all of them', () => {
    for (const [own, other] of [
      ['ait', 'pit'],
      ['pit', 'ait'],
    ] as const) {
      const known = cards(gone, card(other, [], { admits: ['leo'] }));
      const decision = decide({ own: joined(own), admits: ['leo'], cards: known });
      assert.equal(decision.kind === 'known' && decision.primaryGroup, 'ait', own);
      assert.ok(
        decision.kind === 'known' && decision.groups.every(({ spec }) => spec.globalCluster.primaryGroup === 'ait'),
      );
    }
  });

  test('the last one goes on alone', () => {
    const decision = decide({ own: joined('pit'), admits: ['leo'], cards: cards(gone) });
    assert.equal(decision.kind === 'known' && decision.primaryGroup, 'pit');
  });
});

describe('which groups count', () => {
  test('those that a group took in which has left since, and itself no more', () => {
    const known = cards(card('ait', [], { admits: ['leo', 'pit'], left: true }), card('pit', [], { admits: ['ait'] }));
    assert.deepEqual(countedGroups({ own: group('leo', []), admits: ['ait'], cards: known }), ['pit']);
    const seenByPit = cards(
      card('ait', [], { admits: ['leo', 'pit'], left: true }),
      card('leo', [], { admits: ['ait'] }),
    );
    assert.deepEqual(countedGroups({ own: group('pit', []), admits: ['ait'], cards: seenByPit }), ['leo']);
  });

  test('those that the manifest names, and those that they name in turn', () => {
    const own = group('leo', ['ait']);
    assert.deepEqual(countedGroups({ own, admits: [], cards: cards() }), ['ait']);
    assert.deepEqual(countedGroups({ own, admits: [], cards: cards(card('ait', ['leo', 'pit'])) }), ['ait', 'pit']);
    assert.deepEqual(countedGroups({ own, admits: ['vig'], cards: cards() }), ['ait', 'vig']);
  });

  test('no group that nobody names any more, though it names others itself', () => {
    const known = cards(card('ait', ['leo']), card('pit', ['leo', 'ait']));
    assert.deepEqual(countedGroups({ own: group('leo', ['ait']), admits: [], cards: known }), ['ait']);
  });

  test('no group that has left, whoever names it', () => {
    const known = cards(card('ait', ['leo', 'pit']), card('pit', ['leo'], { left: true }));
    assert.deepEqual(countedGroups({ own: group('leo', ['ait', 'pit']), admits: [], cards: known }), ['ait']);
  });
});

test('a new group of the name of one that has left counts when the manifest names it with its own CA', () => {
  const bundle = (text: string) => `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`;
  const known = cards({ ...card('pit', ['leo'], { left: true }), caBundle: bundle('old') });
  const naming = (caBundle: string) => group('leo', [], { globalCluster: { peers: [{ group: 'pit', caBundle }] } });
  assert.deepEqual(countedGroups({ own: naming(bundle('old')), admits: [], cards: known }), []);
  const own = naming(bundle('new'));
  assert.deepEqual(countedGroups({ own, admits: [], cards: known }), ['pit']);
  const decision = decide({ own, cards: known });
  assert.deepEqual(decision.kind === 'known' && [decision.cards, decision.unknown], [[], ['pit']]);
});

describe('what an operator may do with the groups that it knows', () => {
  test('a group that stands alone makes its own database', () => {
    const own = postgresGroup({ name: 'leo' });
    const decision = decide({ own });
    assert.equal(decision.kind === 'known' && decision.primaryGroup, 'leo');
  });

  test('the primary group begins without the others; the others wait for it', () => {
    const leo = decide({ own: group('leo', ['ait', 'pit']) });
    assert.deepEqual(leo.kind === 'known' && [leo.groups.map(({ metadata }) => metadata.name), leo.unknown], [
      ['leo'],
      ['ait', 'pit'],
    ]);
    const ait = decide({ own: group('ait', ['leo', 'pit']), cards: cards(card('pit')) });
    assert.match(ait.kind === 'wait' ? ait.reason.message : '', /Group "leo", which makes the database, has not told/);
  });

  test('all operators have the same order: the primary group, then by name', () => {
    const all = ['leo', 'ait', 'pit', 'zoe', 'abc'];
    const orders = all.map((name) => {
      const others = all.filter((one) => one !== name);
      const decision = decide({ own: group(name, others), cards: cards(...others.map((one) => card(one))) });
      return decision.kind === 'known'
        ? decision.groups.map(({ metadata }) => metadata.name).join()
        : decision.reason.message;
    });
    assert.deepEqual([...new Set(orders)], ['leo,abc,ait,pit,zoe']);
  });

  test('a group with others never guesses which of them makes the database', () => {
    const own = group('ait', ['leo'], { globalCluster: { primaryGroup: undefined } });
    const decision = decide({ own });
    assert.equal(decision.kind === 'wait' && decision.reason.code, 'PrimaryGroupUnknown');
    const told = decide({ own, cards: cards(card('leo')) });
    assert.equal(told.kind === 'known' && told.primaryGroup, 'leo');
    assert.ok(told.kind === 'known' && told.groups.every(({ spec }) => spec.globalCluster.primaryGroup === 'leo'));
  });

  test('nothing is changed while the card of a group is lost that the nodes know', () => {
    const input = { own: group('leo', ['ait', 'pit']), cards: cards(card('ait')), configured: ['leo', 'ait', 'pit'] };
    const decision = decide(input);
    assert.match(decision.kind === 'wait' ? decision.reason.message : '', /The nodes know "pit", whose card is lost/);
    // One that was taken out on purpose is waited for by nobody.
    assert.equal(decide({ ...input, own: group('leo', ['ait']) }).kind, 'known');
  });

  test('several groups need a record that all reach, and one login', () => {
    const lease = decide({ own: group('leo', ['ait'], { coordination: {} }) });
    assert.equal(lease.kind === 'wait' && lease.reason.code, 'RecordNotShared');
    const alone = decide({ own: group('leo', ['ait'], { globalCluster: { credentialsSecretRef: undefined } }) });
    assert.equal(alone.kind === 'wait' && alone.reason.code, 'CredentialsNotShared');
  });
});

describe('whose word counts', () => {
  const known = cards(card('ait', [], { generation: 5 }));
  const take = (one: GroupCard, from: string) => takeCard(known, one, { from, own: 'leo' });

  test('of a group: its own, and the newer one', () => {
    assert.equal(take(card('ait', [], { generation: 6 }), 'ait').get('ait')?.generation, 6);
    assert.equal(take(card('ait', [], { generation: 5 }), 'ait'), known);
    assert.equal(take(card('ait', [], { generation: 4 }), 'ait'), known);
    assert.equal(take(card('ait', [], { generation: 9 }), 'pit'), known);
  });

  test("of a group that is not known: anybody's; of the own one: nobody's", () => {
    assert.equal(take(card('pit', [], { generation: 2 }), 'ait').get('pit')?.generation, 2);
    assert.equal(take(card('leo', [], { generation: 99 }), 'ait'), known);
  });

  test('that a group has left, anybody may tell', () => {
    assert.equal(take(card('ait', [], { generation: 6, left: true }), 'pit').get('ait')?.left, true);
  });

  test('of a group that left and was invited again by another: its newer one', () => {
    const gone = cards(card('ait', [], { generation: 6, left: true }));
    const again = (generation: number) =>
      takeCard(gone, card('ait', [], { generation }), { from: 'pit', own: 'leo' }).get('ait')?.left;
    assert.equal(again(6), true);
    assert.equal(again(7), false);
  });
});

describe('the own card', () => {
  const fresh = (change: Partial<Parameters<typeof ownCard>[0]> = {}) =>
    ownCard({
      globalCluster: 'orders',
      group: group('leo', ['ait']),
      primaryGroup: 'leo',
      existing: [1],
      retiring: [],
      clusterDomain: 'cluster.local',
      published: { 'leo-group': ['10.0.0.2'], 'leo-1': ['10.0.0.1'] },
      podAddresses: { 'leo-1': '10.201.0.4', 'leo-2': '10.201.0.5' },
      caBundle: '',
      etcd: null,
      credentialsGeneration: 0,
      admits: [],
      left: false,
      ...change,
    });

  test('keeps its generation while it says the same, and goes above what others hold', () => {
    const first = nextCard(fresh(), null, 0);
    assert.equal(first.generation, 1);
    assert.equal(nextCard(fresh(), first, 0), first);
    assert.equal(nextCard(fresh({ retiring: ['leo-3'] }), first, 0).generation, 2);
    // Its store was lost: others remember 7.
    assert.equal(nextCard(fresh(), null, 7).generation, 8);
    assert.equal(nextCard(fresh(), first, 7).generation, 8);
  });

  test('tells of nodes that are still there, and the addresses of pods only where nothing else is known', () => {
    const told = fresh({ existing: [1, 2, 3, 4] });
    assert.equal(told.manifest.spec.instances, 4);
    assert.deepEqual(told.podAddresses, { 'leo-2': '10.201.0.5' });
    assert.deepEqual(told.endpoint, { host: '10.0.0.2', port: 5480 });
  });

  test("tells the peers' names, not their CAs", () => {
    const own = group('leo', [], { globalCluster: { peers: [{ group: 'ait', caBundle: 'secret?' }] } });
    assert.deepEqual(fresh({ group: own }).manifest.spec.globalCluster.peers, [{ group: 'ait' }]);
  });
});
