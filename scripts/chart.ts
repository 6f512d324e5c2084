/**
 * Writes the Helm chart charts/pgspan from the objects of the install file: node scripts/chart.ts
 * test/meta/chart.test.ts fails when it is not current.
 */
import { globSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import packageJson from '../package.json' with { type: 'json' };
import { type ChartFile, helmChart } from '../src/platform/kubernetes/install/helm-chart.ts';

export const CHART_FOLDER = 'charts/pgspan';

export function chartFiles(): ChartFile[] {
  return helmChart(packageJson.version);
}

if (import.meta.main) {
  const folder = join(import.meta.dirname, '..', CHART_FOLDER);
  const files = chartFiles();
  for (const stale of globSync('**/*.*', { cwd: folder })) {
    if (!files.some(({ path }) => path === stale)) rmSync(join(folder, stale), { recursive: true });
  }
  for (const { path, text } of files) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
}
