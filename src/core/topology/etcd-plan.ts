/**
 * pgspan's own members of etcd: one a group, on the same names and certificates as everything else. A witness holds one and
 * nothing else. A read-only group holds none: it may be far away, and what is decided must not wait for it.
 */
import type { PostgresGroup } from '../../api/postgres-group.ts';
import { etcdCertificate, type NamingContext } from './certificate-names.ts';
import { ETCD_CLIENT_PORT, ETCD_PEER_PORT, etcdMember, fqdn } from './names.ts';
import type { CoordinationPlan, EtcdMemberPlan } from './plan-types.ts';

type Store = Pick<CoordinationPlan, 'store' | 'etcdEndpoints'>;

/** True if pgspan runs etcd itself, and a member of it in this group. */
export function holdsEtcdMember({ spec }: PostgresGroup, { store, etcdEndpoints }: Store): boolean {
  return store === 'etcd' && etcdEndpoints.length === 0 && (spec.role === 'readWrite' || spec.instances === 0);
}

export function planEtcdMember(group: PostgresGroup, naming: NamingContext, store: Store): EtcdMemberPlan | null {
  if (!holdsEtcdMember(group, store)) return null;
  const name = etcdMember(group.metadata.name);
  const { dns, internodeTrafficStrategy } = group.spec.connectivity;
  const outside = fqdn(name, dns);
  const addresses = { ServiceName: name, FQDN: outside, SplitDNS: outside };
  return {
    name,
    group: group.metadata.name,
    addresses,
    clientPort: ETCD_CLIENT_PORT,
    peerPort: ETCD_PEER_PORT,
    peerUrl: `https://${addresses[internodeTrafficStrategy]}:${ETCD_PEER_PORT}`,
    certificate: etcdCertificate(group, name, naming),
  };
}
