import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, test } from 'node:test';
import { cardOf } from '../../test/kit/cards.ts';
import { createTestPki } from '../../test/kit/certificates.ts';
import { CARD_BYTES_MAX, cardText, type GroupCard, knownSpec, parseGroupCard } from './group-card.ts';

const good = cardOf('leo', { published: { 'leo-1': ['10.0.0.1', 'lb.example.com', '2001:db8::1'] } });

describe('a group card', () => {
  test('reads back what was written, whoever wrote it and in which order', () => {
    const reversed = Object.fromEntries(Object.entries(good).toReversed());
    const parsed = parseGroupCard(JSON.parse(JSON.stringify(reversed)), 'orders');
    assert.equal(parsed.kind, 'card');
    assert.equal(parsed.kind === 'card' && cardText(parsed.card), cardText(good));
  });

  const hostile: readonly [title: string, value: unknown, why: RegExp][] = [
    ['is nothing', null, /error at ""/],
    ['is a text', 'leo', /error at ""/],
    ['has no version', { ...good, version: undefined }, /error at "version"/],
    ['is of a version that is none', { ...good, version: '1' }, /error at "version"/],
    [
      'is of a newer version, and who is to be upgraded is said',
      { ...good, version: 2, order: [] },
      /^the card of group "leo" is of version 2, and this cluster reads version 1: upgrade pgspan in this cluster$/,
    ],
    [
      'is of a version from before, and who is to be upgraded is said',
      { ...good, version: 0 },
      /^the card of group "leo" is of version 0, .*: upgrade pgspan in the cluster of group "leo"$/,
    ],
    [
      'is of a newer version, and of a group that has no name',
      { version: 2, group: '\n'.repeat(9) },
      /^the card of group "\?" is of version 2/,
    ],
    ['has a field more, and an error in one that is known', { ...good, region: 'eu', generation: 0 }, /generation/],
    [
      'has more fields than are carried along',
      { ...good, ...Object.fromEntries(Array.from({ length: 65 }, (_, index) => [`field${index}`, 1])) },
      /65 fields that are not known here, at most 64/,
    ],
    [
      'has more in other fields than is carried along',
      { ...good, region: 'x'.repeat(16 * 1024) },
      /16386 bytes in fields that are not known here/,
    ],
    ['has a field that no version would have', { ...good, '../../etc': 1 }, /field "..\/..\/etc", which no version/],
    [
      'has a field that would change what it inherits',
      JSON.parse(JSON.stringify(good).replace('{', '{"__proto__":{"left":true},')),
      /field "__proto__", which no version/,
    ],
    [
      'is nested without end',
      { ...good, region: JSON.parse(`${'['.repeat(60_000)}${']'.repeat(60_000)}`) },
      /nested deeper than 32 levels/,
    ],
    [
      'is of another global cluster',
      { ...good, globalCluster: 'billing' },
      /of global cluster "billing", not of "orders"/,
    ],
    ['is of another group than its manifest', { ...good, group: 'ait' }, /the group that its manifest names/],
    ['has a generation below 1', { ...good, generation: 0 }, /error at "generation"/],
    ['names a host that is none', { ...good, endpoint: { host: 'a b', port: 1 } }, /error at "endpoint/],
    ['names a port that is none', { ...good, endpoint: { host: 'a', port: 70_000 } }, /error at "endpoint.port"/],
    ['publishes under a path', { ...good, published: { '../leo': ['10.0.0.1'] } }, /error at "published/],
    ['publishes what is no address', { ...good, published: { leo: ['$(reboot)'] } }, /error at "published/],
    ['publishes too much', { ...good, published: { leo: Array.from({ length: 17 }, () => '10.0.0.1') } }, /published/],
    ['has a pod without an address', { ...good, podAddresses: { 'leo-1': 'leo-1.example.com' } }, /podAddresses/],
    ['brings no certificate', { ...good, caBundle: 'hello' }, /error at "caBundle"/],
    [
      'has a manifest that is none',
      { ...good, manifest: { ...good.manifest, spec: { instances: 'many' } } },
      /manifest.spec/,
    ],
    [
      'has a broken manifest name',
      { ...good, manifest: { ...good.manifest, metadata: { name: 'LEO', namespace: 'db' } } },
      /manifest/,
    ],
    ['is too large', { ...good, caBundle: 'x'.repeat(CARD_BYTES_MAX) }, /at most 131072 are read/],
  ];
  for (const [title, value, why] of hostile) {
    test(`is refused when it ${title}`, () => {
      const parsed = parseGroupCard(value, 'orders');
      assert.match(parsed.kind === 'refused' ? parsed.why : 'accepted', why);
    });
  }

  test('of a newer version is read, carried along as it came, and planned with as far as it is known', () => {
    const { manifest, ...rest } = JSON.parse(JSON.stringify(good)) as GroupCard;
    const newer = {
      ...rest,
      region: { name: 'eu-1', zones: ['a', 'b'] },
      manifest: {
        ...manifest,
        spec: { ...manifest.spec, standbyDelay: '1h', storage: { ...manifest.spec.storage, tier: 'fast' } },
      },
      endpoint: { ...rest.endpoint, path: '/pgspan' },
    };
    const parsed = parseGroupCard(newer, 'orders');
    assert.ok(parsed.kind === 'card');
    assert.deepEqual(JSON.parse(cardText(parsed.card)), newer);
    assert.deepEqual(knownSpec(parsed.card), good.manifest.spec);
    // Again, as from a ConfigMap.
    const again = parseGroupCard(JSON.parse(cardText(parsed.card)), 'orders');
    assert.equal(again.kind === 'card' && cardText(again.card), cardText(parsed.card));
  });

  test('takes CAs and nothing else as its bundle: no leaf, no key, no words around', async () => {
    await using pki = await createTestPki({ globalCluster: 'orders', group: 'leo' });
    const ca = await readFile(pki.caFile, 'utf8');
    const leafFiles = await pki.issue('leo-1', {});
    const leaf = await readFile(leafFiles.certFile, 'utf8');
    const key = await readFile(leafFiles.keyFile, 'utf8');
    const kindOf = (caBundle: string) => parseGroupCard({ ...good, caBundle } satisfies GroupCard, 'orders').kind;
    assert.equal(kindOf(ca), 'card');
    assert.equal(kindOf(`${ca}${ca}`), 'card');
    for (const wrong of [leaf, key, `${ca}${key}`, `${ca}hello`]) assert.equal(kindOf(wrong), 'refused');
  });
});
