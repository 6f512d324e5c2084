/**
 * Settings that belong to pgspan: what replication, failover and TLS rest on. A user who sets one is refused with the reason
 * (requirement E2). "leadership.md" is docs/leadership.md.
 */

export interface OwnedSetting {
  /**
   * - `fixed`: always `value`.
   * - `written`: by the platform or the agent, which alone know the value.
   * - `unset`: stays as PostgreSQL has it, and is in no file.
   */
  readonly kind: 'fixed' | 'written' | 'unset';
  /** null unless fixed. */
  readonly value: string | null;
  readonly reason: string;
}

const fixed = (value: string, reason: string): OwnedSetting => ({ kind: 'fixed', value, reason });
const written = (reason: string): OwnedSetting => ({ kind: 'written', value: null, reason });
const unset = (reason: string): OwnedSetting => ({ kind: 'unset', value: null, reason });

/** In the order in which `pgspan plan` shows them. */
export const OWNED_SETTINGS: Readonly<Record<string, OwnedSetting>> = {
  // Durability: an acknowledged commit is on disk, on a write quorum.
  fsync: fixed('on', 'an acknowledged commit must survive a crash'),
  full_page_writes: fixed('on', 'a torn page after a crash would be silent corruption, and pg_rewind needs them'),
  synchronous_commit: fixed(
    'on',
    'an acknowledged commit is on a write quorum; sessions may lower it for themselves, at their own risk',
  ),
  synchronous_standby_names: written('the agent writes the quorum of the present members'),
  synchronized_standby_slots: unset('the agent names the slots that logical subscribers must not overtake'),
  sync_replication_slots: unset('slots belong to the agent'),
  idle_replication_slot_timeout: unset('slots belong to the agent'),
  // Replication and rewinding.
  wal_log_hints: fixed('on', 'pg_rewind needs it where data checksums are off'),
  hot_standby: fixed('on', 'standbys serve reads, and the agent asks them for their position'),
  recovery_target_timeline: fixed('latest', 'a standby follows the leader of the highest term onto its timeline'),
  wal_retrieve_retry_interval: fixed('100ms', 'the default of 5s would be the longest part of a failover'),
  wal_receiver_status_interval: fixed('1s', 'the leader must learn of positions well within its wal_sender_timeout'),
  wal_receiver_create_temp_slot: fixed('off', 'a standby streams through its own permanent slot'),
  primary_conninfo: written('the agent points it at the leader, through its own socket'),
  primary_slot_name: written('the agent names the slot of this node'),
  restore_command: fixed('', 'it would keep moving WAL after a promise'),
  archive_cleanup_command: fixed('', 'there is no archive'),
  recovery_end_command: fixed('', 'nothing may delay a promotion'),
  recovery_min_apply_delay: fixed('0', 'a delayed node would delay its own promotion'),
  recovery_target: unset('a member of a replicated database does not stop at a target'),
  recovery_target_action: unset('a member of a replicated database does not stop at a target'),
  recovery_target_inclusive: unset('a member of a replicated database does not stop at a target'),
  recovery_target_lsn: unset('a member of a replicated database does not stop at a target'),
  recovery_target_name: unset('a member of a replicated database does not stop at a target'),
  recovery_target_time: unset('a member of a replicated database does not stop at a target'),
  recovery_target_xid: unset('a member of a replicated database does not stop at a target'),
  promote_trigger_file: unset('only the agent promotes, after the record says so'),
  archive_mode: fixed('off', 'archiving is not built yet'),
  archive_command: unset('archiving is not built yet'),
  archive_library: unset('archiving is not built yet'),
  // Life of the process.
  restart_after_crash: fixed(
    'off',
    'after a crash of a backend the agent restarts PostgreSQL: opened by itself, it would show commits that no standby holds',
  ),
  cluster_name: written('the name of the node'),
  data_directory: unset("where the data lies is the platform's choice"),
  config_file: unset('the agent writes it'),
  hba_file: written('the agent writes it'),
  ident_file: written('the agent writes it'),
  external_pid_file: unset('the agent watches postmaster.pid'),
  allow_alter_system: fixed('off', 'ALTER SYSTEM would override what is declared here, on one node only'),
  // Connections.
  listen_addresses: written("where PostgreSQL listens is the platform's choice"),
  port: written("where PostgreSQL listens is the platform's choice"),
  unix_socket_directories: written("the agent's own folder"),
  unix_socket_group: unset("the agent's own folder"),
  bonjour: unset('pgspan publishes the names'),
  bonjour_name: unset('pgspan publishes the names'),
  ssl: fixed('on', 'all traffic is TLS'),
  ssl_cert_file: written("certificates come from the group's source"),
  ssl_key_file: written("certificates come from the group's source"),
  ssl_ca_file: written('the trust bundle of all groups'),
  ssl_crl_file: unset("certificates come from the group's source"),
  ssl_crl_dir: unset("certificates come from the group's source"),
  ssl_passphrase_command: unset("certificates come from the group's source"),
  ssl_passphrase_command_supports_reload: unset("certificates come from the group's source"),
  password_encryption: fixed('scram-sha-256', 'pg_hba lets users in by SCRAM'),
  // Logging: to the agent, which writes one stream.
  logging_collector: fixed('off', 'logs go to the agent, which keeps one stream for each node'),
  log_destination: fixed('stderr', 'logs go to the agent, which keeps one stream for each node'),
  log_directory: unset('logs go to the agent'),
  log_filename: unset('logs go to the agent'),
  log_file_mode: unset('logs go to the agent'),
  event_source: unset('logs go to the agent'),
  syslog_facility: unset('logs go to the agent'),
  syslog_ident: unset('logs go to the agent'),
};
