/** The same scenarios that run in the simulation and on processes, on pods: one of each class of fault. */
import { after, before, describe, test } from 'node:test';
import { needs } from '../kit/requirement.ts';
import { loadScenarios } from '../scenarios/format.ts';
import { runScenario, whole } from '../scenarios/runner.ts';
import { KubernetesCluster } from './kit/cluster.ts';
import { threeNodes } from './kit/groups.ts';
import { freshNamespace, installPgspan, removeNamespace } from './kit/install.ts';

const NAMESPACE = 'pgspan-scenarios';
/** One machine plays three of them, and the control plane besides: only the promises about data stay as they are. */
const PATIENCE = Number(process.env.PGSPAN_PATIENCE ?? '4');
/** All of them, not one of each class: PGSPAN_SCENARIOS=all. Or parts of their names, with commas. */
const CHOICE = process.env.PGSPAN_SCENARIOS ?? 'quick';

describe('scenarios on pods', { ...needs('kubernetes', 'kubectl', 'kubernetes-faults'), timeout: 1_500_000 }, () => {
  const cluster = new KubernetesCluster(NAMESPACE);

  before(async () => {
    await installPgspan();
    await freshNamespace(NAMESPACE);
    await cluster.apply(threeNodes());
    await whole(cluster, 300_000);
  });
  after(async () => {
    await cluster.close();
    await removeNamespace(NAMESPACE);
  });

  const chosen = loadScenarios('kubernetes').filter(
    ({ quick, name }) =>
      CHOICE === 'all' || (CHOICE === 'quick' ? quick : CHOICE.split(',').some((part) => name.includes(part))),
  );
  for (const scenario of chosen)
    test(`${scenario.title} (${scenario.name})`, { timeout: 300_000 }, async (context) => {
      const result = await runScenario(cluster, scenario, { patience: PATIENCE });
      context.diagnostic(
        `${result.acknowledged} acknowledged, longest gap ${Math.round(result.longestGapMs)} ms, ${result.errors} errors, ${result.leaderBefore} -> ${result.leaderAfter}`,
      );
    });
});
