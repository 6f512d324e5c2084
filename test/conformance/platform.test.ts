/** The conformance suite of platforms, on processes of this machine. */
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { after, before, describe } from 'node:test';
import { openLocalAccess } from '../../src/platform/local/access.ts';
import { openSite, processesOf } from '../../src/platform/local/site.ts';
import { needs } from '../kit/requirement.ts';
import { LocalCluster, pgspan } from '../scenarios/local-cluster.ts';
import { describePlatform } from './platform.ts';

const MANIFEST = resolve(import.meta.dirname, '../../examples/three-groups-local.yaml');

describe('the local platform', { ...needs('postgres', 'psql', 'loopback'), timeout: 280_000 }, () => {
  const base = mkdtempSync('/tmp/pgspan-conformance-');
  const cluster = new LocalCluster(join(base, 'state'));

  before(async () => {
    chmodSync(base, 0o711);
    await cluster.up(MANIFEST);
  });
  after(async () => {
    await cluster.down();
    rmSync(base, { recursive: true, force: true });
  });

  describePlatform(() => ({
    cluster,
    pgspan: (...words) => pgspan(...words, '--state', cluster.folder),
    password: () => openLocalAccess(cluster.folder).applicationPassword(),
    processTexts: async (node) =>
      processesOf(openSite(cluster.folder))
        .filter(({ part }) => part.startsWith(`${node}/`))
        .flatMap(({ pid }) => ['cmdline', 'environ'].map((file) => readFileSync(`/proc/${pid}/${file}`, 'latin1')))
        .join('\n'),
  }));
});
