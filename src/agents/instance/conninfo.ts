/**
 * How this node's PostgreSQL dials another: through the agent's own forwarder on this machine, with TLS end to end and the
 * other node's name verified.
 */
import type { InstanceConfig, Peer } from '../../api/agent-config.ts';
import type { Member } from '../../api/record.ts';
import { applicationName } from '../../core/leadership/quorum.ts';
import { formatConninfo } from './configuration.ts';

/** A connection that neither gets an answer nor an error is given up after this long; a frozen peer's kernel acknowledges nothing. */
const TCP_USER_TIMEOUT_MS = 5000;
const CONNECT_TIMEOUT_S = 2;

export function replicationConninfo(
  config: InstanceConfig,
  options: {
    readonly peer: Peer;
    readonly port: number;
    readonly applicationName: string | null;
    readonly member?: Member;
  },
): string {
  const name = options.applicationName ?? (options.member === undefined ? 'pgspan' : applicationName(options.member));
  return formatConninfo({
    host: options.peer.postgres.host,
    hostaddr: config.listen.address ?? '127.0.0.1',
    port: String(options.port),
    user: 'streaming_replica',
    application_name: name,
    sslmode: config.sslMode,
    sslrootcert: config.tls.caFile,
    sslcert: config.tls.replicationCertFile,
    sslkey: config.tls.replicationKeyFile,
    connect_timeout: String(CONNECT_TIMEOUT_S),
    keepalives_idle: '1',
    keepalives_interval: '1',
    keepalives_count: '3',
    tcp_user_timeout: String(TCP_USER_TIMEOUT_MS),
  });
}
