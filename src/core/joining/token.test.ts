import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { Invitation } from '../../api/invitation.ts';
import { encodeToken, parseToken } from './token.ts';

const SECRET = Buffer.alloc(32, 7).toString('base64url');

const invitation: Invitation = {
  id: '0011223344556677',
  secret: SECRET,
  globalCluster: 'orders',
  group: 'leo',
  endpoint: { host: 'leo-group.example.com', port: 5480 },
  caFingerprints: ['ab'.repeat(32)],
  expiresAt: 1_800_000_000,
};

describe('the token of an invitation', () => {
  test('says after parsing what was encoded, also with an address and two CAs', () => {
    for (const one of [
      invitation,
      {
        ...invitation,
        endpoint: { host: '10.240.100.7', port: 443 },
        caFingerprints: ['00'.repeat(32), 'ff'.repeat(32)],
      },
      { ...invitation, endpoint: { host: 'fd00::7', port: 1 } },
    ])
      assert.deepEqual(parseToken(encodeToken(one)), { kind: 'invitation', invitation: one });
  });

  test('may be broken over lines, as terminals and mails do', () => {
    const token = encodeToken(invitation);
    const broken = ` ${token.slice(0, 40)}\r\n${token.slice(40)}\n`;
    assert.equal(parseToken(broken).kind, 'invitation');
  });

  test('is refused when any letter of it was changed, or some are missing, and the message does not repeat it', () => {
    const token = encodeToken(invitation);
    fc.assert(
      fc.property(fc.nat(token.length - 1), fc.constantFrom(...'AZaz09_-.'), fc.boolean(), (at, letter, cut) => {
        const changed = cut ? token.slice(0, at) : `${token.slice(0, at)}${letter}${token.slice(at + 1)}`;
        if (changed === token) return;
        const parsed = parseToken(changed);
        assert.equal(parsed.kind, 'refused');
        assert.ok(parsed.kind === 'refused' && !parsed.message.includes(SECRET.slice(0, 12)));
      }),
    );
  });

  test('is refused as one of another version, or as none at all', () => {
    const told = (text: string) => {
      const parsed = parseToken(text);
      return parsed.kind === 'refused' ? parsed.reason : parsed.kind;
    };
    assert.equal(told(encodeToken(invitation).replace('pgspan1', 'pgspan2')), 'TokenUnknown');
    assert.equal(told('eyJhbGciOiJIUzI1NiJ9.e30.abc'), 'TokenUnknown');
    assert.equal(told(''), 'TokenUnknown');
    assert.equal(told('pgspan1.'.padEnd(1_000_000, 'A')), 'TokenDamaged');
  });

  test('throws for no text', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => void parseToken(`pgspan1.${text}`)));
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => void parseToken(text)));
  });
});
