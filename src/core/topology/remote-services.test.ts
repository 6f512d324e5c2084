import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { cardOf } from '../../../test/kit/cards.ts';
import { planRemoteServices } from './remote-services.ts';

const targets = (published: Record<string, string[]>, podAddresses: Record<string, string> = {}, instances = 1) =>
  planRemoteServices('ServiceName', [
    cardOf('ait', { published, podAddresses, spec: { instances, connectivity: { dns: { domain: 'x.test' } } } }),
  ]);

describe('Services for the servers of other groups', () => {
  test('lead to addresses where one is known, to a name where only that is, and to the pod where nothing is published', () => {
    const { services, unreachable } = targets(
      { 'ait-1': ['lb.example.com', '10.0.0.9'], 'ait-2': ['lb2.example.com'], 'ait-group': ['10.0.0.8'] },
      { 'ait-1': '10.202.0.1', 'ait-3': '10.202.0.3' },
      4,
    );
    assert.deepEqual(
      services.map(({ name, target }) => [name, target]),
      [
        ['ait-1', { kind: 'addresses', addresses: ['10.0.0.9'] }],
        ['ait-2', { kind: 'name', host: 'lb2.example.com' }],
        ['ait-3', { kind: 'addresses', addresses: ['10.202.0.3'] }],
        ['ait-group', { kind: 'addresses', addresses: ['10.0.0.8'] }],
      ],
    );
    assert.deepEqual(unreachable, ['ait-4']);
  });

  test('lead to its member of the record as well', () => {
    const card = cardOf('ait', { etcd: { host: '10.0.0.7', clientPort: 2379, peerPort: 2380 } });
    const { services } = planRemoteServices('ServiceName', [card]);
    assert.deepEqual(services.at(-1), {
      name: 'ait-etcd',
      group: 'ait',
      target: { kind: 'addresses', addresses: ['10.0.0.7'] },
      ports: [
        { name: 'client', port: 2379 },
        { name: 'peer', port: 2380 },
      ],
    });
  });

  test('are not made where the names are those of DNS', () => {
    assert.deepEqual(planRemoteServices('FQDN', [cardOf('ait')]), { services: [], unreachable: [] });
  });
});
