/** Histories of one node's certificate: what the plan asks for changes, an operator looks now and then, and all it knows is the certificate. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { postgresGroup } from '../../../test/kit/manifests.ts';
import { planGlobalCluster, planNodesOf } from '../topology/plan.ts';
import { type CertificateRequest, CLOCK_SKEW_MS, LEAF_LIFETIME_MS } from './certificate-request.ts';
import { type CertificateDecision, type CertificateFacts, decideCertificates } from './decide-certificates.ts';
import { FORMER_NAMES_MAX, FORMER_NAMES_MS } from './former-names.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const START_MS = Date.parse('2026-06-01T00:00:00Z');
const AUTHORITY = { fingerprint: 'AA:01', notAfterMs: START_MS + 3650 * DAY_MS };

interface Dns {
  readonly domain: string;
  readonly hostSuffix?: string;
  readonly additional?: readonly { readonly domain: string }[];
}

interface Wish {
  /** Of leo; ait's is `ait.example.com` unless said. */
  readonly dns?: Dns;
  readonly ait?: string | null;
  readonly reads?: boolean;
}

/** The certificate of leo-1 as the plan of these groups has it. */
function wanted({ dns = { domain: 'old.example.com' }, ait = 'ait.example.com', reads = false }: Wish = {}) {
  const proxySettings = { enableReadNodeRouting: reads };
  const leo = postgresGroup({ name: 'leo', spec: { instances: 1, proxySettings, connectivity: { dns } } });
  const other = (domain: string) =>
    postgresGroup({ name: 'ait', spec: { instances: 1, proxySettings, connectivity: { dns: { domain } } } });
  const plan = planGlobalCluster(ait === null ? [leo] : [leo, other(ait)]);
  const node = planNodesOf(plan).find(({ name }) => name === 'leo-1');
  assert.ok(node);
  return node.certificate;
}

/** As a CA makes it. */
function issued(request: CertificateRequest, nowMs: number): CertificateFacts {
  const { commonName, dnsNames, ipAddresses, uris, usages } = request;
  const times = { notBeforeMs: nowMs - CLOCK_SKEW_MS, notAfterMs: nowMs + LEAF_LIFETIME_MS };
  const names = { commonName, dnsNames, ipAddresses, uris, usages };
  return { ...names, ...times, authority: AUTHORITY.fingerprint, keyMatches: true };
}

class Holder {
  certificate: CertificateFacts | null = null;
  decision: CertificateDecision | null = null;
  issues = 0;

  look(request: CertificateRequest, nowMs: number): void {
    const found = this.certificate === null ? [] : [['tls', { kind: 'present', ...this.certificate }] as const];
    const context = { nowMs, authority: AUTHORITY };
    const [decision] = decideCertificates(new Map(found), [{ name: 'tls', request }], context);
    this.decision = decision ?? null;
    if (decision?.kind !== 'issue') return;
    this.certificate = issued(decision.request, nowMs);
    this.issues += 1;
  }

  has(name: string): boolean {
    return this.certificate?.dnsNames.includes(name) === true;
  }
}

/** @returns a holder whose certificate is of these names, and three weeks old at START_MS. */
function holderOf(wish: Wish): Holder {
  const holder = new Holder();
  holder.look(wanted(wish), START_MS - 21 * DAY_MS);
  return holder;
}

describe('names of a former domain', () => {
  test('stay for a week beside the new ones, which come at once, and go by themselves', () => {
    const holder = holderOf({});
    const request = wanted({ dns: { domain: 'new.example.com' } });
    holder.look(request, START_MS);
    for (const service of ['leo-1', 'leo-group', 'leo', 'orders'])
      for (const domain of ['old', 'new']) assert.ok(holder.has(`${service}.${domain}.example.com`), service);
    assert.match(holder.decision?.reason.message ?? '', /lacks "DNS:leo-1.new.example.com"/);

    holder.look(request, START_MS + HOUR_MS);
    assert.ok(holder.decision?.kind === 'keep');
    assert.equal(holder.decision.checkAtMs, START_MS + FORMER_NAMES_MS);
    holder.look(request, START_MS + FORMER_NAMES_MS - 1);
    assert.ok(holder.has('leo-1.old.example.com'));
    holder.look(request, START_MS + FORMER_NAMES_MS);
    assert.deepEqual(holder.certificate?.dnsNames, request.dnsNames);
    assert.match(holder.decision?.reason.message ?? '', /still has "DNS:leo-1.old.example.com"/);
  });

  const changes: Record<string, { from: Wish; to: Wish; keeps: string[] }> = {
    'another suffix': {
      from: { dns: { domain: 'example.com', hostSuffix: '-eu' } },
      to: { dns: { domain: 'example.com', hostSuffix: '-us' } },
      keeps: ['leo-1-eu.example.com', 'leo-eu.example.com', 'orders-eu.example.com'],
    },
    'the former domain was the first, and the additional one takes its place': {
      from: { dns: { domain: 'old.example.com', additional: [{ domain: 'new.example.com' }] } },
      to: { dns: { domain: 'new.example.com' } },
      keeps: ['leo-1.old.example.com', 'orders.old.example.com'],
    },
    'an additional domain is taken away': {
      from: { dns: { domain: 'new.example.com', additional: [{ domain: 'old.example.com' }] } },
      to: { dns: { domain: 'new.example.com' } },
      keeps: ['leo-1.old.example.com', 'leo-group.old.example.com'],
    },
    "another group's domain, under which its clients may reach this node": {
      from: { ait: 'ait.example.com' },
      to: { ait: 'ait.example.org' },
      keeps: ['ait.ait.example.com', 'orders.ait.example.com'],
    },
  };
  for (const [title, { from, to, keeps }] of Object.entries(changes)) {
    test(`stay when it is ${title}`, () => {
      const holder = holderOf(from);
      const request = wanted(to);
      holder.look(request, START_MS);
      for (const name of [...keeps, ...request.dnsNames]) assert.ok(holder.has(name), name);
      assert.equal(holder.issues, 2);
      holder.look(request, START_MS + DAY_MS);
      assert.equal(holder.issues, 2);
      holder.look(request, START_MS + FORMER_NAMES_MS);
      assert.deepEqual(holder.certificate?.dnsNames, request.dnsNames);
    });
  }

  test('are only those of services that are there: a group that left takes its names with it, as reads do', () => {
    const holder = holderOf({ reads: true });
    assert.ok(holder.has('orders-r.old.example.com') && holder.has('ait.ait.example.com'));
    const request = wanted({ ait: null });
    holder.look(request, START_MS);
    const left = (holder.certificate?.dnsNames ?? []).filter((name) => !request.dnsNames.includes(name));
    // The global name was published below ait's domain, too: clients may still have it.
    assert.deepEqual(left, ['orders.ait.example.com']);
  });

  test('are believed of a certificate of the present CA with its own key, which is valid: of no other', () => {
    const request = wanted({ dns: { domain: 'new.example.com' } });
    const good = issued(wanted(), START_MS - DAY_MS);
    const planted = { ...good, dnsNames: ['leo-1.evil.example.net', ...good.dnsNames] };
    const wrong: Partial<CertificateFacts>[] = [
      { authority: 'AA:00' },
      { authority: null },
      { keyMatches: false },
      { notAfterMs: START_MS },
    ];
    for (const damage of wrong) {
      const holder = new Holder();
      holder.certificate = { ...planted, ...damage };
      holder.look(request, START_MS);
      assert.deepEqual(holder.certificate.dnsNames, request.dnsNames, JSON.stringify(damage));
    }
  });

  test('are not kept over and over: change back and forth as you like, a week after the last change they are gone', () => {
    const domains = fc.constantFrom('old.example.com', 'new.example.com', 'newer.example.com');
    const step = fc.record({
      domain: domains,
      additional: fc.option(domains, { nil: undefined }),
      ait: fc.option(fc.constantFrom('ait.example.com', 'ait.example.org'), { nil: null }),
      reads: fc.boolean(),
      hours: fc.integer({ min: 0, max: 240 }),
    });
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 8 }), (steps) => {
        const holder = holderOf({});
        let nowMs = START_MS;
        let request = wanted();
        for (const { domain, additional, ait, reads, hours } of steps) {
          const before = request.dnsNames;
          const extra = additional === undefined || additional === domain ? [] : [{ domain: additional }];
          request = wanted({ dns: { domain, additional: extra }, ait, reads });
          holder.look(request, nowMs);
          // Whatever is wanted is there at once, and the node's own names of a moment ago still are.
          for (const name of request.dnsNames) assert.ok(holder.has(name), name);
          for (const name of before) if (name.startsWith('leo-1.')) assert.ok(holder.has(name), name);
          const { issues } = holder;
          holder.look(request, nowMs);
          assert.equal(holder.issues, issues, 'one look settles it');
          nowMs += hours * HOUR_MS;
        }
        nowMs += FORMER_NAMES_MS;
        holder.look(request, nowMs);
        assert.deepEqual(new Set(holder.certificate?.dnsNames), new Set(request.dnsNames));
      }),
      { numRuns: 60 },
    );
  });

  test('of so many changes that a certificate would burst are cut, and it settles all the same', () => {
    const holder = holderOf({});
    for (let index = 0; index < 100; index++)
      holder.look(wanted({ dns: { domain: `d${index}.example.com` } }), START_MS + index);
    const request = wanted({ dns: { domain: 'd99.example.com' } });
    assert.equal(holder.certificate?.dnsNames.length, FORMER_NAMES_MAX + request.dnsNames.length);
    assert.deepEqual([holder.has('leo-1.d98.example.com'), holder.has('leo-1.d0.example.com')], [true, false]);
    const { issues } = holder;
    holder.look(request, START_MS + HOUR_MS);
    holder.look(request, START_MS + 2 * HOUR_MS);
    assert.ok(holder.issues <= issues + 1);
    assert.equal(holder.decision?.kind, 'keep');
  });
});
