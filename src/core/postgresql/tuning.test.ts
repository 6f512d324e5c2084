import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { settingNumber, settingProblem } from './setting-values.ts';
import { formatBytes, type NodeSize, tunedConnections, tuneSettings } from './tuning.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;

function tuned(size: NodeSize, maxConnections = 100): Record<string, string | null> {
  return Object.fromEntries(tuneSettings(size, maxConnections).map(({ name, value }) => [name, value]));
}

describe('tuning', () => {
  it('follows the memory', () => {
    const names = ['shared_buffers', 'effective_cache_size', 'maintenance_work_mem', 'work_mem', 'wal_buffers'];
    const table: [memory: number, connections: number, values: string[]][] = [
      [256 * MIB, 40, ['32MB', '96MB', '16MB', '1MB', '1MB']],
      [512 * MIB, 40, ['96MB', '288MB', '24MB', '2432kB', '3MB']],
      [GIB, 56, ['224MB', '672MB', '56MB', '4MB', '7MB']],
      [4 * GIB, 248, ['992MB', '2976MB', '248MB', '4MB', '16MB']],
      [16 * GIB, 500, ['4064MB', '12192MB', '1016MB', '8320kB', '16MB']],
      [64 * GIB, 500, ['16352MB', '49056MB', '2GB', '33472kB', '16MB']],
    ];
    for (const [memoryBytes, connections, expected] of table) {
      assert.equal(tunedConnections(memoryBytes), connections, formatBytes(memoryBytes));
      const settings = tuned({ memoryBytes, cpus: null, volumeBytes: 10 * GIB }, connections);
      assert.deepEqual(
        names.map((name) => settings[name]),
        expected,
        formatBytes(memoryBytes),
      );
    }
  });

  it('follows the processors', () => {
    const names = [
      'max_parallel_workers',
      'max_parallel_workers_per_gather',
      'max_parallel_maintenance_workers',
      'autovacuum_max_workers',
    ];
    const table: [cpus: number, values: string[]][] = [
      [0.5, ['1', '0', '0', '3']],
      [1, ['1', '0', '0', '3']],
      [2, ['2', '1', '1', '3']],
      [4, ['4', '2', '2', '4']],
      [16, ['16', '4', '4', '8']],
      [64, ['64', '4', '4', '8']],
    ];
    for (const [cpus, expected] of table) {
      const settings = tuned({ memoryBytes: null, cpus, volumeBytes: 10 * GIB });
      assert.deepEqual(
        names.map((name) => settings[name]),
        expected,
        String(cpus),
      );
    }
  });

  it('follows the volume', () => {
    const names = ['max_wal_size', 'min_wal_size', 'wal_keep_size', 'max_slot_wal_keep_size'];
    const table: [volume: number, values: string[]][] = [
      [GIB, ['128MB', '80MB', '64MB', '256MB']],
      [10 * GIB, ['1GB', '256MB', '512MB', '2560MB']],
      [100 * GIB, ['10GB', '2560MB', '4GB', '25GB']],
      [1024 * GIB, ['16GB', '4GB', '4GB', '256GB']],
    ];
    for (const [volumeBytes, expected] of table) {
      const settings = tuned({ memoryBytes: null, cpus: null, volumeBytes });
      assert.deepEqual(
        names.map((name) => settings[name]),
        expected,
        formatBytes(volumeBytes),
      );
    }
  });

  it('leaves PostgreSQL its own values where a size is not known', () => {
    const names = Object.keys(tuned({ memoryBytes: null, cpus: null, volumeBytes: 10 * GIB }));
    assert.deepEqual(names, ['max_wal_size', 'min_wal_size', 'wal_keep_size', 'max_slot_wal_keep_size']);
  });

  it('gives, for every size, values that PostgreSQL takes and that fit into the memory', () => {
    const size = fc.record({
      memoryBytes: fc.option(fc.integer({ min: 64, max: 2 ** 21 }).map((mib) => mib * MIB)),
      cpus: fc.option(fc.double({ min: 0.1, max: 256, noNaN: true })),
      volumeBytes: fc.integer({ min: 256, max: 2 ** 25 }).map((mib) => mib * MIB),
    });
    fc.assert(
      fc.property(size, fc.integer({ min: 25, max: 2000 }), (node, maxConnections) => {
        for (const { name, value } of tuneSettings(node, maxConnections)) {
          assert.equal(settingProblem(name, value as string, 18), null, `${name} = ${value}`);
        }
        const settings = tuned(node, maxConnections);
        const bytes = (name: string) => settingNumber(name, settings[name] ?? '0') ?? 0;
        if (node.memoryBytes !== null)
          assert(bytes('shared_buffers') + bytes('maintenance_work_mem') < node.memoryBytes);
        assert(bytes('min_wal_size') < bytes('max_wal_size'));
      }),
    );
  });
});
