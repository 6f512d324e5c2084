import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { durationMs, parseEndpointUrl, quantityBytes, quantityCpus } from './postgres-group-values.ts';

describe('values of a manifest', () => {
  it('reads amounts of bytes as Kubernetes does', () => {
    const table: Record<string, number> = {
      '0': 0,
      '1024': 1024,
      '1Ki': 1024,
      '1.5Gi': 1.5 * 2 ** 30,
      '10Gi': 10 * 2 ** 30,
      '1k': 1000,
      '2M': 2e6,
      '1T': 1e12,
    };
    for (const [text, bytes] of Object.entries(table)) assert.equal(quantityBytes(text), bytes, text);
    for (const text of ['', 'Gi', '1GB', '-1Gi', '1e3', '1 Gi'])
      assert.throws(() => quantityBytes(text), TypeError, text);
  });

  it('reads amounts of processors', () => {
    for (const [text, cpus] of Object.entries({ '2': 2, '0.5': 0.5, '500m': 0.5, '1500m': 1.5 }))
      assert.equal(quantityCpus(text), cpus, text);
    for (const text of ['', 'm', '2u', '-1']) assert.throws(() => quantityCpus(text), TypeError, text);
  });

  it('reads lengths of time', () => {
    const table: Record<string, number> = {
      '30s': 30_000,
      '1m30s': 90_000,
      '500ms': 500,
      '0s': 0,
      '2h': 7_200_000,
      '0.5s': 500,
      '1m500ms': 60_500,
    };
    for (const [text, ms] of Object.entries(table)) assert.equal(durationMs(text), ms, text);
    for (const text of ['', '30', 's', '-1s', '1d', '1 s']) assert.throws(() => durationMs(text), TypeError, text);
  });

  it("keeps the port of a URL, also when it is the scheme's own", () => {
    assert.deepEqual(parseEndpointUrl('https://etcd-1.example.com:443'), {
      secure: true,
      host: 'etcd-1.example.com',
      port: 443,
    });
    assert.deepEqual(parseEndpointUrl('http://127.0.0.1'), { secure: false, host: '127.0.0.1', port: null });
    assert.deepEqual(parseEndpointUrl('https://[2001:db8::1]:2379/'), {
      secure: true,
      host: '2001:db8::1',
      port: 2379,
    });
  });
});
