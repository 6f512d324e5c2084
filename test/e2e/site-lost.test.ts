/**
 * The largest site is lost on real processes: leo has three nodes of five, ait and pit one each, so that w is 4 while all are there
 * and two are left. They elect, take the lost ones out, and go on; what comes back is taken in again.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { waitUntil } from '../../src/base/wait-until.ts';
import { AgentSite, Writer } from '../kit/agent-site.ts';
import { needs } from '../kit/requirement.ts';

const LEO = ['leo-1', 'leo-2', 'leo-3'];
const REST = ['ait-1', 'pit-1'];
const ALL = [...LEO, ...REST];
const MANIFEST = ['leo', 'ait', 'pit']
  .map(
    (group) => `
apiVersion: pgspan.io/v1alpha1
kind: PostgresGroup
metadata: { name: ${group} }
spec:
  instances: ${group === 'leo' ? LEO.length : 1}
  storage: { size: 512Mi }
  globalCluster: { name: sites, primaryGroup: leo }
  connectivity: { dns: { domain: db.example.com } }
  proxySettings: { instances: 0 }
  replication: { memberTimeout: 10s }
`,
  )
  .join('---');
/** The machine may be busy with other tests. */
const SETTLED_LIMIT_MS = 120_000;

describe('the largest site is lost', {
  ...needs('root', 'postgres', 'psql', 'nft', 'mkfs.ext4', 'loopback'),
  timeout: 600_000,
}, () => {
  let site: AgentSite;
  let writer: Writer;
  before(async () => {
    site = AgentSite.of('127.76', MANIFEST);
    await site.up();
    await memberCount('leo-1', ALL.length, 4);
    writer = new Writer(site, 'leo-1', ALL);
  });
  after(async () => {
    await writer?.stop();
    await site?.close();
  });

  async function memberCount(leader: string, members: number, writeQuorum: number): Promise<void> {
    let seen = '';
    const wanted = JSON.stringify({ members, writeQuorum });
    await waitUntil(`${wanted} in the record`, { timeoutMs: SETTLED_LIMIT_MS, intervalMs: 200 }, async () => {
      const record = (await site.status(leader))?.record;
      seen = JSON.stringify({ members: record?.members.length, writeQuorum: record?.writeQuorum });
      return seen === wanted;
    }).catch((error: Error) => {
      throw new Error(`${error.message}; it is ${seen}`, { cause: error });
    });
  }

  test('the two that are left elect, take the lost ones out after memberTimeout, and write', async (t) => {
    await writer.goesOn();
    writer.mark();
    await site.kill('leo');
    const leader = await waitUntil('one of the others leads', { timeoutMs: SETTLED_LIMIT_MS }, async () => {
      for (const node of REST) if (await site.leads(node)) return node;
      return null;
    });
    await memberCount(leader, REST.length, 2);
    await writer.goesOn();
    t.diagnostic(`longest stall ${Math.round(writer.longestGapMs)} ms`);
    assert.deepEqual(writer.missingOn(leader), []);
  });

  test('the site comes back: five members again, w 4, and every acknowledged row on each', async () => {
    await site.up();
    const leader = (await site.leads('ait-1')) ? 'ait-1' : 'pit-1';
    await memberCount(leader, ALL.length, 4);
    await writer.goesOn();
    await writer.stop();
    for (const node of ALL)
      await waitUntil(`${node} has every row`, { timeoutMs: SETTLED_LIMIT_MS, intervalMs: 500 }, async () => {
        try {
          return writer.missingOn(node).length === 0;
        } catch {
          return false;
        }
      });
  });
});
