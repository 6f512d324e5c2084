import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import {
  acceptanceProof,
  challengeProof,
  type Exchange,
  hashText,
  isSameProof,
  type OfferedExchange,
  openOffer,
  openWelcome,
  requestProof,
  sealOffer,
  sealWelcome,
  tokenKey,
} from './proofs.ts';

const nonce = (byte: number) => Buffer.alloc(32, byte).toString('base64url');
const exchange: Exchange = {
  key: tokenKey(nonce(1), '0011223344556677'),
  invitation: '0011223344556677',
  globalCluster: 'orders',
  invitingGroup: 'leo',
  clientNonce: nonce(2),
  serverNonce: nonce(3),
  serverBundleHash: hashText('bundle of leo'),
};
const offered: OfferedExchange = {
  ...exchange,
  clientBundleHash: hashText('bundle of pit'),
  offerBox: sealOffer(exchange, 'offer'),
};

/** Every field, changed into another value of its form. */
const CHANGES: { readonly [Field in keyof OfferedExchange]: Partial<OfferedExchange> } = {
  key: { key: tokenKey(nonce(9), '0011223344556677') },
  invitation: { invitation: '0011223344556678' },
  globalCluster: { globalCluster: 'order' },
  invitingGroup: { invitingGroup: 'ait' },
  clientNonce: { clientNonce: nonce(9) },
  serverNonce: { serverNonce: nonce(9) },
  serverBundleHash: { serverBundleHash: hashText('bundle of a man in the middle') },
  clientBundleHash: { clientBundleHash: hashText('bundle of a man in the middle') },
  offerBox: { offerBox: sealOffer(exchange, 'another offer') },
};
const OF_FIRST: readonly (keyof OfferedExchange)[] = [
  'key',
  'invitation',
  'globalCluster',
  'invitingGroup',
  'clientNonce',
  'serverNonce',
  'serverBundleHash',
];

describe('proofs of the join protocol', () => {
  test('hold for exactly these nonces, names and bundles', () => {
    for (const [field, change] of Object.entries(CHANGES)) {
      const changed = { ...offered, ...change };
      if (OF_FIRST.includes(field as keyof OfferedExchange))
        assert.notEqual(challengeProof(changed), challengeProof(offered), `challenge, ${field}`);
      assert.notEqual(requestProof(changed), requestProof(offered), `request, ${field}`);
      assert.notEqual(acceptanceProof(changed, 'box'), acceptanceProof(offered, 'box'), `acceptance, ${field}`);
    }
    assert.notEqual(acceptanceProof(offered, 'box'), acceptanceProof(offered, 'another box'));
  });

  test('are of one kind each: the proof of one side is none of the other', () => {
    const proofs = [challengeProof(offered), requestProof(offered), acceptanceProof(offered, 'box')];
    assert.equal(new Set(proofs).size, 3);
    assert.ok(isSameProof(proofs[0] as string, challengeProof({ ...exchange })));
    assert.ok(!isSameProof(proofs[0] as string, ''));
  });

  test('cannot be mixed up by moving letters from one field to its neighbour', () => {
    const moved = { ...exchange, globalCluster: 'ordersl', invitingGroup: 'eo' };
    assert.notEqual(challengeProof(moved), challengeProof(exchange));
  });
});

describe('boxes of the join protocol', () => {
  test('give back what was sealed, to the same exchange only', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        assert.equal(openOffer(exchange, sealOffer(exchange, text)), text);
        assert.equal(openWelcome(offered, sealWelcome(offered, text)), text);
      }),
    );
    for (const [field, change] of Object.entries(CHANGES)) {
      assert.equal(openWelcome({ ...offered, ...change }, sealWelcome(offered, 'welcome')), null, field);
      if (OF_FIRST.includes(field as keyof OfferedExchange))
        assert.equal(openOffer({ ...offered, ...change }, sealOffer(exchange, 'offer')), null, field);
    }
  });

  test('show nothing of their text, and do not open when a bit was changed', () => {
    const text = 'the password of the application';
    const box = sealWelcome(offered, text);
    assert.ok(!Buffer.from(box, 'base64url').toString('latin1').includes('password'));
    const bytes = Buffer.from(box, 'base64url');
    for (let bit = 0; bit < bytes.length * 8; bit += 7) {
      const changed = Buffer.from(bytes);
      changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
      assert.equal(openWelcome(offered, changed.toString('base64url')), null);
    }
    assert.equal(openWelcome(offered, box.slice(0, 10)), null);
    assert.equal(openOffer(exchange, box), null);
  });

  test('cannot be opened with what the inviting side stores of another token', () => {
    const other = { ...exchange, key: tokenKey(nonce(1), '0011223344556688') };
    assert.equal(openOffer(other, sealOffer(exchange, 'offer')), null);
  });
});
