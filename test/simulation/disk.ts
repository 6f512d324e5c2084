/** What a simulated node has on its disk: its WAL, where its timelines parted, and the setting that counts acknowledgements. */
import type { Lineage } from '../../src/core/leadership/position.ts';

/** One WAL record: which promotion wrote it, and what. */
export interface Entry {
  readonly timeline: number;
  readonly id: number;
}
export interface TimelineEnd {
  readonly timeline: number;
  readonly endLsn: number;
}

/** What survives a crash: the data directory. */
export interface Disk {
  /** null: no data directory. */
  wal: Entry[] | null;
  timeline: number;
  history: TimelineEnd[];
  /** synchronous_standby_names in the file. */
  setting: string;
  /** A rewind began and did not finish. */
  isMangled: boolean;
}

export interface SyncSetting {
  readonly count: number;
  readonly names: ReadonlySet<string>;
}
export function parseSetting(text: string): SyncSetting {
  const count = /^ANY (\d+) /.exec(text);
  return {
    count: count === null ? 0 : Number(count[1]),
    names: new Set([...text.matchAll(/"([^"]+)"/g)].map((one) => one[1] ?? '')),
  };
}

export function lineageOf({ timeline, history }: Disk): Lineage {
  return { timeline, history: history.map((end) => ({ timeline: end.timeline, endLsn: BigInt(end.endLsn) })) };
}

/** All that the source has flushed, and its timeline: what a base backup or a rewind leaves. */
export function copyDisk(source: Disk, target: Disk): Disk {
  const { wal, timeline, history } = source;
  return { wal: [...(wal ?? [])], timeline, history: [...history], setting: target.setting, isMangled: false };
}
