/** Each planted fault is named rightly, once, and a good site has no finding. The same faults on real programs: test/e2e/doctor.test.ts. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { EDGE_FAILURE, type EdgeFacts, type EdgeStep } from '../../api/edge-facts.ts';
import { decideFindings } from './decide-findings.ts';
import type { BalancerFacts, DoctorFacts, SourceFacts } from './doctor-facts.ts';

const NOW_MS = Date.parse('2026-01-01T00:00:00.000Z');
const NODES = ['leo-1', 'leo-2', 'ait-1'];
const groupOf = (node: string): string => node.split('-')[0] as string;
const ADDRESSES: Readonly<Record<string, string>> = { 'leo-1': '10.1.0.1', 'leo-2': '10.1.0.2', 'ait-1': '10.2.0.1' };
const fqdnOf = (node: string): string => `${node}.db.example.com`;

type Change = (source: string, edge: EdgeFacts) => EdgeFacts;

function edge(from: string, to: string, purpose: EdgeFacts['purpose']): EdgeFacts {
  const steps = ['resolve', 'connect', 'handshake', 'certificate', 'authenticate'] as const;
  return {
    purpose,
    target: to,
    host: fqdnOf(to),
    address: null,
    port: purpose === 'agent' ? 5480 : 5432,
    resolved: [ADDRESSES[to] as string],
    certificate: {
      fingerprint: `leaf of ${to}`,
      issuer: `CN=orders/${groupOf(to)} CA`,
      names: `DNS:${fqdnOf(to)}`,
      identity: `spiffe://orders/${groupOf(to)}/${to}`,
      notBefore: '2025-12-01T00:00:00.000Z',
      notAfter: '2026-03-01T00:00:00.000Z',
      isTrusted: true,
      isCovering: true,
    },
    roundTripMs: 1,
    steps: steps.map((step) => ({ step, ok: true, code: null, found: `${from} to ${to}`, ms: 1 })),
  };
}

function fails(one: EdgeFacts, step: EdgeStep['step'], code: string, found = 'it failed'): EdgeFacts {
  const at = one.steps.findIndex((each) => each.step === step);
  const isBefore = step === 'resolve' || step === 'connect' || step === 'handshake';
  return {
    ...one,
    resolved: step === 'resolve' ? null : one.resolved,
    certificate: isBefore ? null : one.certificate,
    steps: [...one.steps.slice(0, at), { step, ok: false, code, found, ms: 3 }],
  };
}

/** Three nodes, and a client that logs in by password; `change` plants the fault. */
function site(change: Change = (_source, one) => one, more: Partial<DoctorFacts> = {}): DoctorFacts {
  const nodes = NODES.map((name): SourceFacts => {
    const others = NODES.filter((other) => other !== name);
    const edges = others.flatMap((other) => [edge(name, other, 'replication'), edge(name, other, 'agent')]);
    return {
      name,
      kind: 'node',
      group: groupOf(name),
      silence: null,
      clockAheadMs: { least: -3, most: 4 },
      resolvers: ['10.96.0.10'],
      edges: edges.map((one) => change(name, one)),
    };
  });
  const clientEdges = NODES.flatMap((node) => [edge('here', node, 'client'), edge('here', node, 'agent')]);
  const client: SourceFacts = {
    name: 'here',
    kind: 'client',
    group: null,
    silence: null,
    clockAheadMs: null,
    resolvers: [],
    edges: clientEdges.map((one) => change('here', one)),
  };
  return {
    globalCluster: 'orders',
    domains: ['db.example.com', 'example.com'],
    nodes: NODES.map((name) => ({ name, group: groupOf(name) })),
    sources: [...nodes, client],
    balancers: [],
    plannedEdges: 18,
    nowMs: NOW_MS,
    ...more,
  };
}

const balancerOf = (node: string, hosts = [ADDRESSES[node] as string]): BalancerFacts => ({
  group: groupOf(node),
  service: node,
  fqdns: [fqdnOf(node)],
  hosts,
  addresses: hosts,
});

const codes = (facts: DoctorFacts): string[] => decideFindings(facts).map(({ code, subject }) => `${code} ${subject}`);
const isTo = (one: EdgeFacts, node: string): boolean => one.target === node;
const changed = (one: EdgeFacts, certificate: Partial<NonNullable<EdgeFacts['certificate']>>): EdgeFacts => ({
  ...one,
  certificate: { ...(one.certificate as NonNullable<EdgeFacts['certificate']>), ...certificate },
});

suite('what doctor finds', () => {
  test('nothing where all is well, load balancers with their own names included', () => {
    assert.deepEqual(codes(site()), []);
    // Names of another group's load balancer are no hairpin.
    assert.deepEqual(codes(site(undefined, { balancers: [balancerOf('ait-1')] })), []);
  });

  test('a wrong domain: none of its names resolves', () => {
    const facts = site((_source, one) => fails(one, 'resolve', 'ENOTFOUND'));
    assert.deepEqual(codes(facts), ['DomainWrong db.example.com']);
    assert.match(
      decideFindings(facts)[0]?.message ?? '',
      /None of 3 names under "db\.example\.com".*asked 10\.96\.0\.10/,
    );
  });

  test('a missing record: the others of its domain resolve', () => {
    const facts = site((_source, one) => (isTo(one, 'leo-2') ? fails(one, 'resolve', 'ENOTFOUND') : one));
    assert.deepEqual(codes(facts), ['NameUnresolved leo-2.db.example.com']);
    assert.equal(decideFindings(facts)[0]?.edges.length, 6);
  });

  test('a resolver that does not answer, at the one that asks it; one that answers with an error has no such name', () => {
    const slowly = (one: EdgeFacts): EdgeFacts => ({ ...one, steps: one.steps.map((step) => ({ ...step, ms: 5005 })) });
    const silent = site((source, one) => (source === 'ait-1' ? slowly(fails(one, 'resolve', 'EAI_AGAIN')) : one));
    const own = silent.sources.map((each) => (each.name === 'ait-1' ? { ...each, resolvers: ['10.2.0.10'] } : each));
    assert.deepEqual(codes({ ...silent, sources: own }), ['ResolverSilent ait-1']);
    const refused = site((_source, one) => (isTo(one, 'leo-2') ? fails(one, 'resolve', 'EAI_AGAIN') : one));
    assert.deepEqual(codes(refused), ['NameUnresolved leo-2.db.example.com']);
  });

  test('a record of another cluster, trusted or not', () => {
    const identity = { identity: 'spiffe://billing/leo/leo-2', fingerprint: 'another' };
    const stranger: Change = (_source, one) =>
      isTo(one, 'leo-2')
        ? fails(changed(one, { ...identity, isTrusted: false }), 'certificate', EDGE_FAILURE.untrusted)
        : one;
    assert.deepEqual(codes(site(stranger)), ['NameOfAnother leo-2.db.example.com']);
    const neighbour: Change = (_source, one) =>
      isTo(one, 'leo-2') ? fails(changed(one, { identity: 'spiffe://orders/ait/ait-1' }), 'certificate', 'NAME') : one;
    assert.deepEqual(codes(site(neighbour)), ['NameOfAnother leo-2.db.example.com']);
  });

  test('a name that leads to the load balancer of another Service, though a certificate covers it', () => {
    const balancers = [balancerOf('leo-2', ['10.9.0.2']), balancerOf('ait-1', ['10.2.0.1'])];
    const facts = site((_source, one) => (isTo(one, 'leo-2') ? { ...one, resolved: ['10.2.0.1'] } : one), {
      balancers,
    });
    assert.deepEqual(codes(facts), ['NameOfAnother leo-2.db.example.com']);
  });

  test('a blocked port, and one where nothing listens', () => {
    const blocked = (code: string) =>
      site((_source, one) => (isTo(one, 'leo-2') && one.port === 5432 ? fails(one, 'connect', code) : one));
    assert.deepEqual(codes(blocked(EDGE_FAILURE.timeout)), ['PortBlocked leo-2:5432']);
    assert.deepEqual(codes(blocked('ECONNREFUSED')), ['PortRefused leo-2:5432']);
  });

  test('a certificate without the name', () => {
    const facts = site((_source, one) =>
      isTo(one, 'leo-2') ? fails(changed(one, { isCovering: false }), 'certificate', EDGE_FAILURE.name) : one,
    );
    assert.deepEqual(codes(facts), ['NameNotInCertificate leo-2']);
  });

  test('a foreign CA is of the one that shows it, also where others refuse it', () => {
    const facts = site((source, one) => {
      if (isTo(one, 'leo-2')) return fails(changed(one, { isTrusted: false }), 'certificate', EDGE_FAILURE.untrusted);
      if (source === 'leo-2' && one.purpose === 'agent') return fails(one, 'authenticate', EDGE_FAILURE.forbidden);
      return one;
    });
    assert.deepEqual(codes(facts), ['CertificateForeign leo-2']);
  });

  test('a stale trust bundle is of the one that has it, both ways', () => {
    const facts = site((source, one) => {
      if (source === 'leo-2' && isTo(one, 'ait-1'))
        return fails(changed(one, { isTrusted: false }), 'certificate', EDGE_FAILURE.untrusted);
      if (source === 'ait-1' && isTo(one, 'leo-2')) return fails(one, 'authenticate', 'ERR_SSL_TLSV1_ALERT_UNKNOWN_CA');
      return one;
    });
    assert.deepEqual(codes(facts), ['BundleStale leo-2']);
  });

  test('an expired leaf, also where others refuse it as a client', () => {
    const notAfter = '2025-12-31T00:00:00.000Z';
    const facts = site((source, one) => {
      if (isTo(one, 'leo-2'))
        return fails(changed(one, { notAfter, isTrusted: false }), 'certificate', EDGE_FAILURE.expired);
      if (source === 'leo-2') return fails(one, 'authenticate', 'PEER_REFUSED_CERTIFICATE');
      return one;
    });
    assert.deepEqual(codes(facts), ['CertificateExpired leo-2']);
  });

  test('a clock that is off, with what its owner therefore believes of certificates', () => {
    const facts = site((source, one) => (source === 'leo-2' ? fails(one, 'certificate', EDGE_FAILURE.expired) : one));
    const sources = facts.sources.map((source) =>
      source.name === 'leo-2' ? { ...source, clockAheadMs: { least: 8e9, most: 8e9 + 5 } } : source,
    );
    assert.deepEqual(codes({ ...facts, sources }), ['ClockOff leo-2']);
    // An answer that took long says less.
    const slow = facts.sources.map((source) => ({ ...source, clockAheadMs: { least: -9000, most: 10 } }));
    assert.ok(
      !codes({ ...site(), sources: slow.map((one, index) => ({ ...one, edges: site().sources[index]?.edges ?? [] })) })
        .length,
    );
  });

  test('a hairpin is a warning, for servers of one cluster alone', () => {
    const balancers = [balancerOf('leo-1'), balancerOf('leo-2'), balancerOf('ait-1')];
    const findings = decideFindings(site(undefined, { balancers }));
    assert.deepEqual(
      findings.map(({ code, subject, severity }) => [code, subject, severity]),
      [['Hairpin', 'group leo', 'warning']],
    );
    assert.deepEqual(
      [...new Set(findings[0]?.edges.map(({ from, to }) => `${from} ${to}`))],
      ['leo-1 leo-2', 'leo-2 leo-1'],
    );
  });

  test('a load balancer without an address', () => {
    const facts = site((_source, one) => ({ ...one, address: '10.0.0.9', resolved: null }), {
      balancers: [balancerOf('leo-2', [])],
    });
    assert.deepEqual(codes(facts), ['BalancerWithoutAddress leo-2']);
  });

  test('a wrong password is one finding, however many edges it breaks', () => {
    const facts = site((_source, one) => (one.purpose === 'client' ? fails(one, 'authenticate', '28P01') : one));
    assert.deepEqual(codes(facts), ['PasswordWrong the application']);
    assert.equal(decideFindings(facts)[0]?.edges.length, 3);
  });

  test('a program that is lost is one finding, and one that only could not be asked another', () => {
    const silence = 'no answer';
    const gone = site((_source, one) => (isTo(one, 'leo-2') ? fails(one, 'handshake', EDGE_FAILURE.timeout) : one));
    const silent = (facts: DoctorFacts) =>
      facts.sources.map((source) => (source.name === 'leo-2' ? { ...source, silence, edges: [] } : source));
    assert.deepEqual(codes({ ...gone, sources: silent(gone) }), ['ProgramLost leo-2']);
    assert.deepEqual(codes({ ...site(), sources: silent(site()) }), ['SourceSilent leo-2']);
  });

  test('a name for clients outside that does not resolve is a warning where its address answers', () => {
    const facts = site((source, one) =>
      source === 'here' && isTo(one, 'leo-2') ? { ...one, address: '10.1.0.2', resolved: [] } : one,
    );
    assert.deepEqual(
      decideFindings(facts).map(({ code, severity }) => [code, severity]),
      [['NameUnresolved', 'warning']],
    );
  });
});
