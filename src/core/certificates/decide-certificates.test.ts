import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { CertificateRequest } from './certificate-request.ts';
import { type CertificateFacts, decideCertificates, type FoundCertificate } from './decide-certificates.ts';

const DAY_MS = 24 * 3600 * 1000;
const NOW_MS = Date.parse('2026-06-01T00:00:00Z');
const AUTHORITY = { fingerprint: 'AA:01', notAfterMs: NOW_MS + 3650 * DAY_MS };

const REQUEST: CertificateRequest = {
  commonName: 'leo-1',
  dnsNames: ['leo-1', 'orders'],
  ipAddresses: ['10.0.0.1', 'fd00::1'],
  uris: ['spiffe://orders/leo/leo-1'],
  usages: ['server', 'client'],
  lifetimeMs: 90 * DAY_MS,
};

/** A certificate that fits REQUEST, one day old. */
function genFound(overrides: Partial<CertificateFacts> = {}): FoundCertificate {
  return {
    kind: 'present',
    commonName: 'leo-1',
    dnsNames: ['orders', 'leo-1'],
    ipAddresses: ['FD00:0:0:0:0:0:0:1', '10.0.0.1'],
    uris: ['spiffe://orders/leo/leo-1'],
    usages: ['server', 'client'],
    notBeforeMs: NOW_MS - DAY_MS,
    notAfterMs: NOW_MS + 89 * DAY_MS,
    authority: AUTHORITY.fingerprint,
    keyMatches: true,
    ...overrides,
  };
}

function decide(
  found: FoundCertificate | undefined,
  overrides: { nowMs?: number; request?: Partial<CertificateRequest> } = {},
) {
  const [decision] = decideCertificates(
    found === undefined ? new Map() : new Map([['tls', found]]),
    [{ name: 'tls', request: { ...REQUEST, ...overrides.request } }],
    { nowMs: overrides.nowMs ?? NOW_MS, authority: AUTHORITY },
  );
  assert.ok(decision);
  return decision;
}

describe('decideCertificates', () => {
  test('keeps what fits, in any order and spelling, and says when to look again', () => {
    const decision = decide(genFound());
    assert.equal(decision.kind, 'keep');
    assert.equal(decision.reason.code, 'Current');
    assert.ok(decision.kind === 'keep' && decision.checkAtMs === NOW_MS + 59 * DAY_MS);
  });

  const cases: [title: string, found: FoundCertificate | undefined, code: string, message: RegExp][] = [
    ['nothing is there', undefined, 'Missing', /no certificate yet/],
    ['the file is damaged', { kind: 'unreadable', problem: 'bad base64' }, 'Unreadable', /bad base64/],
    ['the key is another one', genFound({ keyMatches: false }), 'KeyMismatch', /key/],
    ['another CA signed it', genFound({ authority: 'AA:00' }), 'SignedByOldAuthority', /another CA/],
    ['no known CA signed it', genFound({ authority: null }), 'SignedByOldAuthority', /another CA/],
    ['a DNS name is missing', genFound({ dnsNames: ['leo-1'] }), 'NamesDiffer', /lacks "DNS:orders"$/],
    [
      'a name is no longer wanted',
      genFound({ dnsNames: ['leo-1', 'orders', 'old'] }),
      'NamesDiffer',
      /still has "DNS:old"$/,
    ],
    ['an address is missing', genFound({ ipAddresses: ['10.0.0.1'] }), 'NamesDiffer', /lacks "IP:fd00::1"$/],
    [
      'the identity is another one',
      genFound({ uris: ['spiffe://orders/leo/leo-2'] }),
      'NamesDiffer',
      /leo-1.*still has.*leo-2/,
    ],
    ['the common name is another one', genFound({ commonName: 'postgres' }), 'NamesDiffer', /lacks "CN:leo-1"/],
    [
      'it is for servers only',
      genFound({ usages: ['server'] }),
      'UsagesDiffer',
      /"server", wanted is "client and server"/,
    ],
    [
      'a third of its life is left',
      genFound({ notBeforeMs: NOW_MS - 60 * DAY_MS, notAfterMs: NOW_MS + 30 * DAY_MS }),
      'ExpiresSoon',
      /2026-07-01/,
    ],
    [
      'it has expired',
      genFound({ notBeforeMs: NOW_MS - 91 * DAY_MS, notAfterMs: NOW_MS - DAY_MS }),
      'Expired',
      /2026-05-31/,
    ],
  ];
  for (const [title, found, code, message] of cases) {
    test(`issues when ${title}`, () => {
      const decision = decide(found);
      assert.equal(decision.kind, 'issue');
      assert.equal(decision.reason.code, code);
      assert.match(decision.reason.message, message);
    });
  }

  test('keeps until the very moment at which a third is left', () => {
    const found = genFound({ notBeforeMs: NOW_MS - 60 * DAY_MS, notAfterMs: NOW_MS + 30 * DAY_MS });
    assert.equal(decide(found, { nowMs: NOW_MS - 1 }).kind, 'keep');
    assert.equal(decide(found, { nowMs: NOW_MS }).kind, 'issue');
  });

  test('does not renew over and over what ends with its CA', () => {
    const found = genFound({ notBeforeMs: AUTHORITY.notAfterMs - 90 * DAY_MS, notAfterMs: AUTHORITY.notAfterMs });
    const decision = decide(found, { nowMs: AUTHORITY.notAfterMs - DAY_MS });
    assert.equal(decision.kind, 'keep');
    assert.equal(decision.reason.code, 'BoundByAuthority');
    assert.match(decision.reason.message, /a new CA is needed/);
  });

  test('names only a few of many differences', () => {
    const dnsNames = Array.from({ length: 100 }, (_, index) => `name-${index}`);
    const decision = decide(genFound({ dnsNames: [] }), { request: { dnsNames } });
    assert.match(decision.reason.message, /"DNS:name-4" and 95 more$/);
  });

  test('decides for each certificate by itself', () => {
    const wanted = ['tls', 'replication'].map((name) => ({ name, request: REQUEST }));
    const decisions = decideCertificates(new Map([['tls', genFound()]]), wanted, {
      nowMs: NOW_MS,
      authority: AUTHORITY,
    });
    assert.deepEqual(
      decisions.map(({ name, kind }) => [name, kind]),
      [
        ['tls', 'keep'],
        ['replication', 'issue'],
      ],
    );
  });
});
