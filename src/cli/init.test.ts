/** What `pgspan init` writes is accepted by the plan, and says what was asked for; at a terminal it asks, elsewhere never. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { suite, test } from 'node:test';
import { promisify } from 'node:util';
import { planGlobalCluster } from '../core/topology/plan.ts';
import { loadManifests } from '../platform/manifest-files.ts';
import { renderTopology } from './init.ts';
import { askForTopology } from './init-questions.ts';
import { type InitFlags, readTopology } from './init-topology.ts';

const run = promisify(execFile);
const MAIN = join(import.meta.dirname, 'main.ts');
const DEFAULTS: InitFlags = {
  name: 'orders',
  nodes: '3',
  clients: 'FQDN',
  loadBalancers: 'none',
  preset: 'lan',
  join: 'manifests',
  storage: '10Gi',
};

/** Exit code 2 rejects. */
const init = (...words: string[]) => run(process.execPath, [MAIN, 'init', ...words], { timeout: 60_000 });

/** A person who answers each question when it is there; an empty line when the answers are used up. */
function terminal(answers: string[]) {
  const input = Object.assign(new PassThrough(), { isTTY: true });
  const output = Object.assign(new PassThrough(), { isTTY: true });
  const told = { text: '' };
  let next = 0;
  output.on('data', (chunk: Buffer) => {
    told.text += chunk.toString();
    if (told.text.endsWith(']: ')) input.write(`${answers[next++] ?? ''}\n`);
  });
  return { input, output, told };
}

suite('pgspan init', () => {
  test('a folder has a file for each group, and its plan is what was asked for', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'pgspan-init-'));
    try {
      const words = [
        '--groups',
        'leo,ait,pit',
        '--nodes',
        '2,1,1',
        '--domain',
        'leo.test,ait.test,pit.test',
        '-d',
        folder,
      ];
      await init(
        ...words,
        '--store',
        'etcd',
        '--preset',
        'wan',
        '--load-balancers',
        'node',
        '--external-dns',
        '--reads',
      );
      const plan = planGlobalCluster(await loadManifests(folder));
      assert.equal(plan.primaryGroup, 'leo');
      assert.equal(plan.coordination.store, 'etcd');
      assert.equal(plan.timing.preset, 'wan');
      assert.deepEqual(plan.groups.map(({ name, nodes, dns }) => [name, nodes.length, dns[0]?.domain]).toSorted(), [
        ['ait', 1, 'ait.test'],
        ['leo', 2, 'leo.test'],
        ['pit', 1, 'pit.test'],
      ]);
      const balanced = plan.groups.flatMap(({ services }) => services).filter(({ type }) => type === 'LoadBalancer');
      assert.ok(balanced.some(({ name }) => name === 'ait-1'));
      const annotations = balanced.find(({ name }) => name === 'leo-r')?.annotations;
      assert.equal(annotations?.['external-dns.alpha.kubernetes.io/hostname'], 'leo-r.leo.test');
      await assert.rejects(init(...words), /INIT_FILE_EXISTS/);
      assert.match(await readFile(join(folder, 'pit.yaml'), 'utf8'), /^# Group pit of the database "orders"/);
      await init(...words, '--force');
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test('stdout holds manifests and nothing else', async () => {
    const { stdout, stderr } = await init('--groups', 'leo', '--domain', 'db.example.com');
    assert.match(stdout, /^# Group leo.*\napiVersion: pgspan\.io\/v1alpha1\n/);
    assert.match(stderr, /^# any one node may be lost/);
  });

  test('what the plan refuses is not written, and says why', async () => {
    await assert.rejects(init('--groups', 'leo,leo', '--domain', 'db.example.com'), /two groups are called "leo"/);
    await assert.rejects(init('--groups', 'Leo', '--domain', 'db.example.com'), /MANIFEST_INVALID/);
    await assert.rejects(init('--groups', 'leo', '--domain', 'a.test,b.test'), /2 values for 1 groups/);
    await assert.rejects(init('--groups', 'leo', '--nodes', '0', '--domain', 'a.test'), /1 to 32/);
  });

  test('never asks without a terminal', async () => {
    await assert.rejects(init(), /INIT_OPTION_MISSING/);
    await assert.rejects(init('--groups', 'leo'), /Cannot write manifests without --domain/);
  });

  test('a witness has no data, and completes two groups', () => {
    const topology = readTopology({ ...DEFAULTS, groups: 'leo,ait', witness: 'pit', domain: 'db.test', store: 'etcd' });
    assert.deepEqual(topology.witness, { name: 'pit', instances: 0, domain: 'db.test' });
  });

  test('--local gives what one machine can run', async () => {
    const topology = readTopology({
      ...DEFAULTS,
      groups: 'leo,ait,pit',
      nodes: '1',
      domain: 'db.test',
      local: true,
      loadBalancers: 'node',
    });
    const { notes } = await renderTopology(topology, true);
    assert.deepEqual(
      notes.filter((note) => note.startsWith('warning')),
      [],
    );
    assert.deepEqual([topology.store, topology.loadBalancers, topology.internode], ['lease', 'none', 'ServiceName']);
  });

  test('at a terminal, empty answers take what is offered', async () => {
    const topology = await askForTopology(DEFAULTS, terminal([]));
    const { files } = await renderTopology(topology, false);
    assert.deepEqual(
      files.map(({ name }) => name),
      ['leo.yaml'],
    );
    assert.equal(topology.groups[0]?.instances, 3);
  });

  test('at a terminal, three groups are asked for what several clusters need', async () => {
    const answers = ['shop', 'leo, ait, pit', 'db.test', '', 'proxies', 'node', 'SplitDNS', '', '5Gi', ''];
    const { input, output, told } = terminal(answers);
    const topology = await askForTopology(DEFAULTS, { input, output });
    assert.equal(topology.globalCluster, 'shop');
    assert.deepEqual(
      topology.groups.map(({ name, instances }) => `${name} ${instances}`),
      ['leo 1', 'ait 1', 'pit 1'],
    );
    assert.deepEqual(
      [topology.loadBalancers, topology.internode, topology.store, topology.preset, topology.storage],
      ['node', 'SplitDNS', 'etcd', 'wan', '5Gi'],
    );
    assert.match(told.text, /"proxies" is none of them/);
  });
});
