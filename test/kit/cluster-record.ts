/** A record with defaults, so that a test shows only what matters to it. */
import type { ClusterRecord } from '../../src/api/record.ts';

export function genRecord(overrides: Partial<ClusterRecord> = {}): ClusterRecord {
  return {
    format: 1,
    globalCluster: 'orders',
    systemIdentifier: '7000000000000000001',
    version: 1,
    term: 1,
    leader: 'leo-1',
    timeline: 1,
    members: [
      { node: 'leo-1', incarnation: '0123456789ab' },
      { node: 'ait-1', incarnation: '0123456789ac' },
      { node: 'pit-1', incarnation: '0123456789ad' },
    ],
    writeQuorum: 2,
    switchover: null,
    paused: false,
    ...overrides,
  };
}
