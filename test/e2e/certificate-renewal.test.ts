/** The keeper of a local site: certificates that are about to end are renewed while the site runs, without `local up`. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { waitUntil } from '../../src/base/wait-until.ts';
import { CLOCK_SKEW_MS } from '../../src/core/certificates/certificate-request.ts';
import { RENEW_AT_LIFE_LEFT } from '../../src/core/certificates/decide-certificates.ts';
import { stopSite } from '../../src/platform/local/down.ts';
import { isSameProcess } from '../../src/platform/local/processes.ts';
import { keeperLogFile } from '../../src/platform/local/site.ts';
import { AgentSite, NODES, Writer } from '../kit/agent-site.ts';
import { needs } from '../kit/requirement.ts';

/** A certificate begins a clock skew early, and is renewed when a third of its life is left: this one in about DUE_MS. */
const DUE_MS = 15_000;
const LIFETIME_MS = (DUE_MS + CLOCK_SKEW_MS * RENEW_AT_LIFE_LEFT) / (1 - RENEW_AT_LIFE_LEFT);

describe('the certificates of a running site', {
  ...needs('root', 'postgres', 'psql', 'mkfs.ext4', 'loopback'),
  timeout: 300_000,
}, () => {
  let site: AgentSite;
  let writer: Writer;
  before(async () => {
    site = new AgentSite('127.75');
    await site.up();
    writer = new Writer(site, await site.whole());
    await writer.goesOn();
  });
  after(async () => {
    await writer?.stop();
    await site?.close();
  });

  const fingerprints = async (): Promise<string[]> =>
    await Promise.all(NODES.map(async (node) => (await site.status(node))?.certificate.fingerprint ?? ''));

  test('are renewed before they end, under open sessions, and by reload', async () => {
    for (const node of NODES) {
      await site.issueShortCertificate(node, LIFETIME_MS);
      site.signalAgent(node, 'SIGHUP');
    }
    const short = await waitUntil('the agents have taken them', { timeoutMs: 30_000, intervalMs: 100 }, async () => {
      const ends = await Promise.all(NODES.map(async (node) => (await site.status(node))?.certificate.notAfter ?? ''));
      return ends.every((end) => Date.parse(end) - Date.now() <= LIFETIME_MS) ? await fingerprints() : null;
    });
    // Nothing is due yet; the keeper hears when it will be.
    await site.up();
    assert.deepEqual(await fingerprints(), short);
    const [keeper] = site.processes('keeper');
    assert.ok(keeper !== undefined);
    const leader = await site.whole();
    const sessions = await Promise.all(NODES.map((node) => site.connect(node)));
    const servers = NODES.map((node) => site.postmasters(node)[0]);
    writer.mark();
    const renewed = await waitUntil(
      'the keeper has renewed them',
      { timeoutMs: DUE_MS + 60_000, intervalMs: 200 },
      async () => {
        const now = await fingerprints();
        return now.every((one, index) => one !== '' && one !== short[index]) ? now : null;
      },
    );
    for (const [index, node] of NODES.entries()) {
      const { rows } = await (sessions[index] as (typeof sessions)[number]).query('select 1 as still');
      assert.equal(rows[0].still, 1, `the session on ${node} goes on`);
      await waitUntil(`PostgreSQL of ${node} shows the new one`, { timeoutMs: 10_000, intervalMs: 100 }, async () => {
        const fresh = await site.connect(node);
        const shown = site.certificateOf(fresh);
        await fresh.end();
        return shown === renewed[index];
      });
    }
    assert.deepEqual(
      NODES.map((node) => site.postmasters(node)[0]),
      servers,
      'no server was restarted',
    );
    assert.equal(await site.whole(), leader, 'nobody was elected');
    assert.ok(writer.longestGapMs < 2000, `writes waited ${Math.round(writer.longestGapMs)} ms`);
    assert.ok(isSameProcess(keeper), `the keeper goes on\n${readFileSync(keeperLogFile(site.site), 'utf8')}`);
  });

  test('end with the site: nothing of the keeper is left behind', async () => {
    await writer.stop();
    const keepers = site.processes('keeper');
    assert.ok(keepers.length > 0);
    await stopSite({ folder: site.folder, keepData: false });
    assert.ok(!keepers.some(isSameProcess));
    assert.ok(!existsSync(site.folder));
  });
});
