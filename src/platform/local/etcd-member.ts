/**
 * The command line of one etcd member, on the same names and certificates as everything else.
 * Used by `local up` with coordination.store etcd, the tests and the benchmarks (which start it and what goes with it).
 * Options: https://etcd.io/docs/v3.4/op-guide/configuration/
 */
import type { TlsFiles } from '../../base/mutual-tls.ts';

export interface EtcdMember {
  readonly name: string;
  /** IP address to bind; also dialled by the other members. Must be in the certificate. */
  readonly address: string;
  readonly clientPort: number;
  readonly peerPort: number;
  /** Made by etcd, mode 0700. Exists: the member comes back with what it had. */
  readonly dataDirectory: string;
}

export interface EtcdCluster {
  /** Told to members at their first start, so that two clusters never mix. */
  readonly token: string;
  readonly members: readonly EtcdMember[];
  /** Server and client certificate of each member, by name; null: plain HTTP. */
  readonly tls: ReadonlyMap<string, TlsFiles> | null;
  /**
   * Defaults 100 and 1000 ms: etcd's own. etcd's advice is an election of ten round trips and more
   * (https://etcd.io/docs/v3.4/tuning/#time-parameters).
   */
  readonly heartbeatMs?: number;
  readonly electionMs?: number;
}

/** Only one key lives here and old revisions of it are of no use: etcd forgets them after an hour. */
const COMPACTION = ['--auto-compaction-mode=periodic', '--auto-compaction-retention=1h'];

export function etcdArguments(cluster: EtcdCluster, member: EtcdMember): string[] {
  const scheme = cluster.tls === null ? 'http' : 'https';
  const clientUrl = `${scheme}://${member.address}:${member.clientPort}`;
  const peerUrl = (of: EtcdMember): string => `${scheme}://${of.address}:${of.peerPort}`;
  return [
    `--name=${member.name}`,
    `--data-dir=${member.dataDirectory}`,
    `--listen-client-urls=${clientUrl}`,
    `--advertise-client-urls=${clientUrl}`,
    `--listen-peer-urls=${peerUrl(member)}`,
    `--initial-advertise-peer-urls=${peerUrl(member)}`,
    `--initial-cluster=${cluster.members.map((of) => `${of.name}=${peerUrl(of)}`).join(',')}`,
    `--initial-cluster-token=${cluster.token}`,
    '--initial-cluster-state=new',
    `--heartbeat-interval=${cluster.heartbeatMs ?? 100}`,
    `--election-timeout=${cluster.electionMs ?? 1000}`,
    ...COMPACTION,
    ...tlsArguments(cluster.tls?.get(member.name)),
  ];
}

/** Clients and peers alike must show a certificate of the bundle. etcd reads the files anew for each handshake, the bundle at its start. */
function tlsArguments(files: TlsFiles | undefined): string[] {
  if (files === undefined) return [];
  return ['', 'peer-'].flatMap((prefix) => [
    `--${prefix}client-cert-auth`,
    `--${prefix}trusted-ca-file=${files.caFile}`,
    `--${prefix}cert-file=${files.certFile}`,
    `--${prefix}key-file=${files.keyFile}`,
  ]);
}
