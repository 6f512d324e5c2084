/** What a report must say about the machine it was measured on. */
import { readFileSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { join } from 'node:path';
import { summarize } from './statistics.ts';

export async function describeMachine(folder: string): Promise<Record<string, string>> {
  const system = /^PRETTY_NAME="?([^"\n]+)/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? 'unknown';
  return {
    processors: `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown'}`,
    memory: `${(totalmem() / 2 ** 30).toFixed(1)} GiB`,
    system: `${system}, Linux ${release()}`,
    node: process.version,
    'write of 8 KiB and fdatasync': `${(await measureSyncMs(folder)).toFixed(2)} ms (median of 50)`,
    'load before the start': loadavg()
      .map((value) => value.toFixed(2))
      .join(' '),
  };
}

/** A commit waits for this at least once on the leader and once on a standby. */
async function measureSyncMs(folder: string): Promise<number> {
  const path = join(folder, `sync-${process.pid}`);
  const file = await open(path, 'w');
  const block = Buffer.alloc(8192, 1);
  const tookMs: number[] = [];
  for (let index = 0; index < 50; index += 1) {
    const startedMs = performance.now();
    await file.write(block);
    await file.datasync();
    tookMs.push(performance.now() - startedMs);
  }
  await file.close();
  rmSync(path);
  return summarize(tookMs).median;
}
