/**
 * Every scenario on real processes, PGSPAN_CHAOS_ROUNDS times (default 1), in an order shuffled by PGSPAN_CHAOS_SEED, which is
 * printed; PGSPAN_CHAOS_ONLY=name,name some of them. Run by `npm run test:chaos`; the quick ones are also in `npm test`.
 */
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { needs } from '../kit/requirement.ts';
import { loadScenarios, type Scenario, SITES, siteManifest } from './format.ts';
import { LocalCluster } from './local-cluster.ts';
import { runScenario } from './runner.ts';

const ROUNDS = Number(process.env.PGSPAN_CHAOS_ROUNDS ?? '1');
const SEED = Number(process.env.PGSPAN_CHAOS_SEED ?? Date.now() % 100_000);
/** Nothing else runs beside it; still, one machine plays three clusters. */
const PATIENCE = 2;

/** Parts of names of scenarios; all by default. */
const WANTED = (process.env.PGSPAN_CHAOS_ONLY ?? '').split(',');

const all = loadScenarios('local').filter(({ name }) => WANTED.some((part) => name.includes(part)));
for (const site of SITES.filter((one) => all.some((scenario) => scenario.site === one)))
  describe(`every scenario on real processes: ${site}, seed ${SEED}`, {
    ...needs('root', 'postgres', 'nft', 'mkfs.ext4', 'loopback'),
    timeout: 6 * 3600_000,
  }, () => {
    const base = mkdtempSync('/tmp/pgspan-chaos-');
    const cluster = new LocalCluster(join(base, 'state'), site);

    before(async () => {
      chmodSync(base, 0o711);
      await cluster.up(siteManifest(site));
    });
    after(async () => {
      await cluster.down();
      rmSync(base, { recursive: true, force: true });
    });

    const here = all.filter((scenario) => scenario.site === site);
    const rounds = Array.from({ length: ROUNDS }, () => here).flat();
    for (const [index, scenario] of shuffle(rounds, SEED).entries())
      test(`${index + 1}. ${scenario.title} (${scenario.name})`, { timeout: 600_000 }, async (context) => {
        const result = await runScenario(cluster, scenario, { patience: PATIENCE });
        context.diagnostic(
          `${result.acknowledged} acknowledged, longest gap ${Math.round(result.longestGapMs)} ms, ${result.leaderBefore} -> ${result.leaderAfter}`,
        );
      });
  });

/** Fisher and Yates with a linear congruential generator: the same seed gives the same order everywhere. */
function shuffle(scenarios: readonly Scenario[], seed: number): Scenario[] {
  const result = [...scenarios];
  let state = seed >>> 0;
  for (let last = result.length - 1; last > 0; last--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const index = state % (last + 1);
    [result[last], result[index]] = [result[index] as Scenario, result[last] as Scenario];
  }
  return result;
}
