/**
 * Settings that follow from the size of a node: memory, processors, volume (requirement E3).
 * Each comes with the sentence that `pgspan plan` prints. Without a size its settings stay PostgreSQL's own.
 */
import type { SettingDraft } from './settings.ts';

export interface NodeSize {
  /** Of the pod: PostgreSQL and the agent. null: unknown. */
  readonly memoryBytes: number | null;
  readonly cpus: number | null;
  readonly volumeBytes: number;
}

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

/** What the agent beside PostgreSQL may take of the pod's memory: its limit is 75 MiB, and clones and TLS need some air. */
export const AGENT_MEMORY_BYTES = 128 * MIB;
/** A segment of the write-ahead log; sizes of WAL are multiples of it. */
const WAL_SEGMENT_BYTES = 16 * MIB;

/** What of the pod's memory PostgreSQL is tuned for; at least half, so that a very small pod gets something sane. */
export function postgresMemoryBytes(memoryBytes: number): number {
  return Math.max(memoryBytes - AGENT_MEMORY_BYTES, Math.floor(memoryBytes / 2));
}

/** max_connections for a memory: a busy backend takes about 10 MiB beside shared_buffers; PostgreSQL's default is 100. */
export function tunedConnections(memoryBytes: number | null): number {
  if (memoryBytes === null) return 100;
  return clamp(Math.floor(postgresMemoryBytes(memoryBytes) / (16 * MIB)), 40, 500);
}

/** @param maxConnections what holds in the end, the user's value included: work_mem depends on it. */
export function tuneSettings(size: NodeSize, maxConnections: number): SettingDraft[] {
  return [...tuneMemory(size, maxConnections), ...tuneCpus(size), ...tuneVolume(size)];
}

function tuneMemory({ memoryBytes }: NodeSize, maxConnections: number): SettingDraft[] {
  if (memoryBytes === null) return [];
  const memory = postgresMemoryBytes(memoryBytes);
  const sharedBuffers = clamp(roundDown(memory / 4, MIB), 16 * MIB, 64 * GIB);
  const free = memory - sharedBuffers;
  const pod = `${formatBytes(memoryBytes)} of the pod, less ${formatBytes(memoryBytes - memory)} for the agent`;
  return [
    tuned(
      'shared_buffers',
      formatBytes(sharedBuffers),
      `a quarter of the memory (${pod}); the rest is the system's cache`,
    ),
    tuned(
      'effective_cache_size',
      formatBytes(roundDown((memory * 3) / 4, MIB)),
      'what shared buffers and the cache of the system hold together: three quarters of the memory',
    ),
    tuned(
      'maintenance_work_mem',
      formatBytes(clamp(roundDown(memory / 16, MIB), 16 * MIB, 2 * GIB)),
      'a sixteenth of the memory, at most 2GB; each autovacuum worker may take as much',
    ),
    tuned(
      'work_mem',
      formatBytes(clamp(roundDown(free / (maxConnections * 3), 64 * KIB), MIB, 256 * MIB)),
      `what shared buffers leave, for ${maxConnections} connections with three sorts or hashes each`,
    ),
    tuned(
      'wal_buffers',
      formatBytes(clamp(roundDown(sharedBuffers / 32, 64 * KIB), 512 * KIB, 16 * MIB)),
      'a 32nd of shared_buffers, at most one segment',
    ),
  ];
}

function tuneCpus({ cpus }: NodeSize): SettingDraft[] {
  if (cpus === null) return [];
  const whole = Math.max(1, Math.ceil(cpus));
  const why = `${cpus} processor${cpus === 1 ? '' : 's'}`;
  return [
    tuned('max_parallel_workers', String(whole), `${why}: as many workers as can run at once`),
    tuned(
      'max_parallel_workers_per_gather',
      String(clamp(Math.floor(cpus / 2), 0, 4)),
      `${why}: a query takes half of them at most`,
    ),
    tuned(
      'max_parallel_maintenance_workers',
      String(clamp(Math.floor(cpus / 2), 0, 4)),
      `${why}: an index build takes half of them at most`,
    ),
    tuned(
      'autovacuum_max_workers',
      String(clamp(2 + Math.floor(cpus / 2), 3, 8)),
      `${why}: three, and more from four on`,
    ),
  ];
}

function tuneVolume({ volumeBytes }: NodeSize): SettingDraft[] {
  const share = (fraction: number, min: number, max: number) =>
    clamp(roundDown(volumeBytes * fraction, WAL_SEGMENT_BYTES), min, max);
  const maxWal = share(0.1, 8 * WAL_SEGMENT_BYTES, 16 * GIB);
  const volume = `the volume of ${formatBytes(volumeBytes)}`;
  return [
    tuned('max_wal_size', formatBytes(maxWal), `a tenth of ${volume}, at most 16GB: what a restart may have to replay`),
    tuned(
      'min_wal_size',
      formatBytes(Math.max(5 * WAL_SEGMENT_BYTES, roundDown(maxWal / 4, WAL_SEGMENT_BYTES))),
      'a quarter of max_wal_size is kept for reuse',
    ),
    tuned(
      'wal_keep_size',
      formatBytes(share(0.05, 4 * WAL_SEGMENT_BYTES, 4 * GIB)),
      `a twentieth of ${volume}: WAL that pg_rewind and a node without a slot need after a change of leader`,
    ),
    tuned(
      'max_slot_wal_keep_size',
      formatBytes(share(0.25, 16 * WAL_SEGMENT_BYTES, 256 * GIB)),
      `a quarter of ${volume}: a standby that is away for longer is cloned again instead of filling the leader's disk`,
    ),
  ];
}

function tuned(name: string, value: string, reason: string): SettingDraft {
  return { name, value, origin: 'tuned', reason };
}

function clamp(value: number, min: number, max: number): number {
  return Math.min(Math.max(value, min), max);
}

function roundDown(value: number, unit: number): number {
  return Math.floor(value / unit) * unit;
}

/** PostgreSQL's spelling, in the largest unit that divides it: `512MB`, `2GB`. Binary units, as PostgreSQL means them. */
export function formatBytes(bytes: number): string {
  if (bytes >= GIB && bytes % GIB === 0) return `${bytes / GIB}GB`;
  if (bytes >= MIB && bytes % MIB === 0) return `${bytes / MIB}MB`;
  return `${Math.floor(bytes / KIB)}kB`;
}
