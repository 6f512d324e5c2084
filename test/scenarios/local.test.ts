/** The quick scenarios on real processes, one after the other on one site. */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { needs } from '../kit/requirement.ts';
import { loadScenarios, siteManifest } from './format.ts';
import { LocalCluster } from './local-cluster.ts';
import { runScenario } from './runner.ts';

/** Times hold for an idle machine; beside other tests everything takes longer, and only the promises about data stay as they are. */
const PATIENCE = 4;

describe('scenarios on real processes', {
  ...needs('root', 'postgres', 'nft', 'mkfs.ext4', 'loopback'),
  timeout: 280_000,
}, () => {
  const base = mkdtempSync('/tmp/pgspan-scenarios-');
  const cluster = new LocalCluster(join(base, 'state'));

  before(async () => {
    chmodSync(base, 0o711);
    await cluster.up(siteManifest('three-groups'));
  });
  after(async () => {
    await cluster.down();
    rmSync(base, { recursive: true, force: true });
  });

  for (const scenario of loadScenarios('local').filter(({ quick, site }) => quick && site === 'three-groups'))
    test(`${scenario.title} (${scenario.name})`, async (context) => {
      const result = await runScenario(cluster, scenario, { patience: PATIENCE });
      context.diagnostic(
        `${result.acknowledged} acknowledged, longest gap ${Math.round(result.longestGapMs)} ms, ${result.leaderBefore} -> ${result.leaderAfter}`,
      );
    });
});
