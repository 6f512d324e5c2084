import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { clusterDnsOf, podDnsConfig } from './pod-dns.ts';
import { parseResolvConf } from './resolv-conf.ts';

const OPERATOR = `search pgspan-system.svc.k8s.corp svc.k8s.corp k8s.corp eu.machines.corp
nameserver 10.96.0.10
options ndots:5 edns0
`;

suite('name resolution of a pod with a resolver', () => {
  const configFor = (text: string) =>
    podDnsConfig(clusterDnsOf(parseResolvConf(text), 'cluster.local'), { namespace: 'shop', resolver: '127.0.0.1' });

  test("is that of the operator's own pod, in the group's namespace", () => {
    assert.equal(clusterDnsOf(parseResolvConf(OPERATOR), 'cluster.local').clusterDomain, 'k8s.corp');
    assert.deepEqual(configFor(OPERATOR), {
      nameservers: ['127.0.0.1', '10.96.0.10'],
      searches: ['shop.svc.k8s.corp', 'svc.k8s.corp', 'k8s.corp', 'eu.machines.corp'],
      options: [{ name: 'ndots', value: '5' }, { name: 'edns0' }],
    });
  });

  test('of an operator outside of the cluster takes its servers, and what Kubernetes does by default', () => {
    assert.deepEqual(configFor('nameserver 10.104.0.10\nsearch corp.example\n'), {
      nameservers: ['127.0.0.1', '10.104.0.10'],
      searches: ['shop.svc.cluster.local', 'svc.cluster.local', 'cluster.local'],
      options: [{ name: 'ndots', value: '5' }],
    });
  });

  test('has at most the three servers that Kubernetes takes', () => {
    const many = [1, 2, 3, 4].map((n) => `nameserver 10.96.0.${n}\n`).join('');
    assert.deepEqual(configFor(many).nameservers, ['127.0.0.1', '10.96.0.1', '10.96.0.2']);
  });

  test('is refused without a server of the cluster: a resolver that restarts would lose names', () => {
    assert.throws(() => configFor('nameserver 127.0.0.1\n'), /no name server of the cluster/);
  });
});
