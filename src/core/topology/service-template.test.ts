import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { postgresGroup } from '../../../test/kit/manifests.ts';
import type { ServiceTemplate } from '../../api/postgres-group-connectivity.ts';
import type { ServicePlan } from './plan-types.ts';
import { applyServiceTemplate, fillPlaceholders, type ServiceParts, templateProblems } from './service-template.ts';
import { planServices } from './services.ts';

const generated: ServiceParts = {
  labels: { 'pgspan.io/group': 'leo' },
  annotations: {},
  spec: {
    type: 'ClusterIP',
    selector: { app: 'leo' },
    ports: [{ name: 'postgres', port: 5432, targetPort: 'write', protocol: 'TCP' }],
  },
};
const values = { group: 'leo', service: 'leo', fqdn: 'leo.db.example.com' };

const apply = (template: Partial<ServiceTemplate>) =>
  applyServiceTemplate(generated, { updateStrategy: 'patch', ...template }, values);
const problems = (template: Partial<ServiceTemplate>) =>
  templateProblems(generated, { updateStrategy: 'patch', ...template }, values).map(
    ({ path, found }) => `${path}: ${found}`,
  );

describe('a service template', () => {
  it('fills placeholders in labels and annotations, and leaves other braces alone', () => {
    assert.equal(fillPlaceholders('{service}.{group} at {fqdn}', values), 'leo.leo at leo.db.example.com');
    assert.equal(fillPlaceholders('{"a": {"b": 1}}', values), '{"a": {"b": 1}}');
    const { annotations, labels } = apply({ metadata: { annotations: { host: '{fqdn}' }, labels: { of: '{group}' } } });
    assert.deepEqual(annotations, { host: 'leo.db.example.com' });
    assert.deepEqual(labels, { of: 'leo', 'pgspan.io/group': 'leo' });
  });

  it('is merged over the generated Service with patch', () => {
    const { spec } = apply({
      spec: {
        type: 'LoadBalancer',
        sessionAffinity: 'ClientIP',
        ports: [
          { name: 'postgres', nodePort: 30_432 },
          { name: 'more', port: 9000 },
        ],
      },
    });
    assert.deepEqual(spec, {
      type: 'LoadBalancer',
      sessionAffinity: 'ClientIP',
      selector: { app: 'leo' },
      ports: [
        { name: 'postgres', port: 5432, targetPort: 'write', protocol: 'TCP', nodePort: 30_432 },
        { name: 'more', port: 9000 },
      ],
    });
  });

  it('stands instead of it with replace, but for what makes it work', () => {
    const balanced: ServiceParts = {
      ...generated,
      annotations: { ours: 'x' },
      spec: { ...generated.spec, type: 'LoadBalancer', loadBalancerClass: 'c' },
    };
    const replaced = applyServiceTemplate(
      balanced,
      { updateStrategy: 'replace', metadata: { annotations: { own: 'y' } }, spec: { sessionAffinity: 'ClientIP' } },
      values,
    );
    assert.deepEqual(replaced, {
      labels: { 'pgspan.io/group': 'leo' },
      annotations: { own: 'y' },
      spec: { type: 'ClusterIP', sessionAffinity: 'ClientIP', selector: { app: 'leo' }, ports: generated.spec.ports },
    });
  });

  it('that changes nothing of ours is accepted', () => {
    assert.deepEqual(
      problems({
        spec: {
          selector: { app: 'leo' },
          ports: [{ name: 'postgres', port: 5432, nodePort: 30_432 }],
          type: 'NodePort',
        },
      }),
      [],
    );
    assert.deepEqual(
      problems({
        metadata: { annotations: { json: '{"a": 1}', 'x.y/z': '{fqdn}' }, labels: { 'my.org/team': '{group}' } },
      }),
      [],
    );
  });

  it('that breaks the Service is refused with the reason', () => {
    assert.deepEqual(problems({ spec: { selector: {} } }), ['spec.selector: found {}']);
    assert.deepEqual(problems({ spec: { type: 'ExternalName' } }), ['spec.type: found "ExternalName"']);
    assert.deepEqual(problems({ spec: { clusterIP: 'None' } }), ['spec.clusterIP: found "None"']);
    assert.deepEqual(problems({ spec: { publishNotReadyAddresses: true } }), [
      'spec.publishNotReadyAddresses: found true',
    ]);
    assert.deepEqual(problems({ spec: { ports: [{ name: 'postgres', port: 6432 }] } }), [
      'spec.ports[0].port: found 6432',
    ]);
    assert.deepEqual(problems({ spec: { ports: [{ name: 'other', port: 5432, targetPort: 80 }] } }), [
      'spec.ports[0].name: found "other"',
      'spec.ports[0].targetPort: found 80',
    ]);
    assert.deepEqual(problems({ spec: { ports: [{ port: 80 }] } }), ['spec.ports[0]: it has no name']);
    assert.deepEqual(problems({ spec: { ports: 5432 } }), ['spec.ports: found no list']);
    assert.deepEqual(problems({ metadata: { labels: { 'pgspan.io/group': 'x' } } }), [
      'metadata.labels["pgspan.io/group"]: this label belongs to pgspan',
    ]);
    assert.deepEqual(problems({ metadata: { labels: { a: 'x y' } } }), ['metadata.labels["a"]: it becomes "x y"']);
    assert.deepEqual(problems({ metadata: { annotations: { a: '{node}' } } }), [
      'metadata.annotations["a"]: found the placeholder "{node}"',
    ]);
  });
});

describe('the services of a group', () => {
  const services = (spec: Record<string, unknown>): Map<string, ServicePlan> =>
    new Map(planServices(postgresGroup({ spec: { instances: 2, ...spec } })).map((service) => [service.name, service]));

  it('have the names of the design, and reads only if asked for', () => {
    assert.deepEqual([...services({}).keys()], ['orders', 'leo', 'leo-group', 'leo-pods', 'leo-1', 'leo-2']);
    assert.deepEqual(
      [...services({ proxySettings: { enableReadNodeRouting: true } }).keys()],
      ['orders', 'leo', 'orders-r', 'leo-r', 'leo-group', 'leo-pods', 'leo-1', 'leo-2'],
    );
  });

  it('reach the agents of nodes that are not ready, so that these can vote', () => {
    for (const [name, { spec }] of services({}))
      assert.equal(spec.publishNotReadyAddresses ?? false, name.startsWith('leo-'), name);
  });

  it('are of type ClusterIP, unless load balancers or a template say otherwise', () => {
    const types = (connectivity: Record<string, unknown>) =>
      [...services({ connectivity }).values()].map(({ type }) => type);
    assert.deepEqual(types({}), ['ClusterIP', 'ClusterIP', 'ClusterIP', 'Headless', 'ClusterIP', 'ClusterIP']);
    assert.deepEqual(types({ loadBalancer: { enabled: true } }), [
      'LoadBalancer',
      'LoadBalancer',
      'LoadBalancer',
      'Headless',
      'ClusterIP',
      'ClusterIP',
    ]);
    assert.deepEqual(types({ loadBalancer: { enabled: true, scope: 'node' } }), [
      'LoadBalancer',
      'LoadBalancer',
      'LoadBalancer',
      'Headless',
      'LoadBalancer',
      'LoadBalancer',
    ]);
    assert.deepEqual(types({ proxyServiceTemplate: { spec: { type: 'LoadBalancer' } } }), [
      'LoadBalancer',
      'LoadBalancer',
      'ClusterIP',
      'Headless',
      'ClusterIP',
      'ClusterIP',
    ]);
  });

  it('carry the limits of the load balancer', () => {
    const loadBalancer = {
      enabled: true,
      allowedIPs: ['203.0.113.7', '10.0.0.0/8', '2001:db8::1'],
      loadBalancerClass: 'internal',
    };
    const { spec } = services({ connectivity: { loadBalancer } }).get('orders') as ServicePlan;
    assert.deepEqual(spec.loadBalancerSourceRanges, ['203.0.113.7/32', '10.0.0.0/8', '2001:db8::1/128']);
    assert.equal(spec.loadBalancerClass, 'internal');
  });

  it('never select by the role, which changes with a failover', () => {
    for (const { spec } of services({}).values()) assert.equal(JSON.stringify(spec.selector).includes('role'), false);
  });
});
