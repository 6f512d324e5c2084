/** Facts for rendering the objects of a group, as the operator would have them; certificates are texts, not real ones. */
import type { CertificatePair, GroupFacts } from '../../src/operator/objects/render-input.ts';
import type { GlobalPlan } from '../../src/core/topology/plan-types.ts';

export function groupFacts(plan: GlobalPlan, change: Partial<GroupFacts> = {}): GroupFacts {
  const names = plan.groups.flatMap(({ nodes, proxies, etcd }) =>
    [...nodes, ...proxies, ...(etcd === null ? [] : [etcd])].map(({ name }) => name),
  );
  const pairs = (what: string) =>
    Object.fromEntries(
      names.map((name): [string, CertificatePair] => [
        name,
        { certificate: `${what} certificate of ${name}\n`, key: `${what} key of ${name}\n` },
      ]),
    );
  return {
    ownerUid: '11111111-2222-3333-4444-555555555555',
    programImage: 'pgspan:dev',
    clusterDns: {
      nameservers: ['10.96.0.10'],
      clusterDomain: 'cluster.local',
      machineSearch: ['corp.example'],
      options: ['ndots:5'],
    },
    certificates: pairs('server'),
    replicationCertificates: pairs('replication'),
    trustBundle: '-----BEGIN CERTIFICATE-----\n',
    app: { username: 'app', password: 'p@ss:w/rd' },
    superuserPassword: 'super',
    rolePasswords: {},
    storedConfigs: {},
    storedVolumes: {},
    volumes: [],
    etcd: null,
    retiring: [],
    ...change,
  };
}
