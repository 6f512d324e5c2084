/** Defaults of ours, for every size of node, where PostgreSQL's own does not fit a replicated database in pods. A user's value wins. */
import type { SettingDraft } from './settings.ts';

/** Connections that the agent keeps for itself, beside those of clients: status, probes, changes of settings, clones. */
export const RESERVED_CONNECTIONS = 8;

const setting = (name: string, value: string, reason: string): SettingDraft => ({
  name,
  value,
  origin: 'default',
  reason,
});

const LOCKS = 'a client whose machine is gone must not hold its locks for two hours';

export const DEFAULT_SETTINGS: readonly SettingDraft[] = [
  setting('wal_level', 'replica', 'what physical replication needs; "logical" is allowed too'),
  // Conflicts are the other way to be slow: replay that waits for a query is replay that a promotion must wait for.
  setting(
    'hot_standby_feedback',
    'on',
    'vacuum spares the rows that read nodes still see, so their queries are not cancelled and replay, which a promotion waits for, is not held up',
  ),
  setting(
    'max_standby_streaming_delay',
    '2s',
    'how long a query on a read node may hold up replay, and so a promotion',
  ),
  setting('ssl_min_protocol_version', 'TLSv1.2', 'older versions are broken; "TLSv1.3" is allowed too'),
  setting(
    'superuser_reserved_connections',
    String(RESERVED_CONNECTIONS),
    'the agent gets in when clients have taken all other connections',
  ),
  setting(
    'checkpoint_completion_target',
    '0.9',
    'spreads the writes of a checkpoint, which commits on a write quorum would feel',
  ),
  setting(
    'huge_pages',
    'off',
    'in a pod without a limit for huge pages the kernel kills the server at the first touch',
  ),
  // Measured on Linux 6: a peer that is alive but does not read is cut off after this time as well, and behind a proxy
  // with back-pressure that is every client that pages through a result.
  setting('tcp_user_timeout', '0', 'it would also cut off living clients that read slowly'),
  setting('tcp_keepalives_idle', '10s', LOCKS),
  setting('tcp_keepalives_interval', '5s', LOCKS),
  setting('tcp_keepalives_count', '3', LOCKS),
  setting('log_line_prefix', '%m [%p] %q%u@%d %a ', 'time, process, user, database and application in each line'),
  setting('log_checkpoints', 'on', 'a slow disk shows here first'),
  setting('log_lock_waits', 'on', 'says who waits for whom'),
];
