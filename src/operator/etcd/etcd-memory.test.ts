import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { planGlobalCluster } from '../../core/topology/plan.ts';
import type { EtcdMemory } from '../../core/etcd-members/etcd-snapshot.ts';
import { postgresGroup } from '../../../test/kit/manifests.ts';
import { groupFacts } from '../../../test/kit/group-facts.ts';
import { ETCD_MEMORY_ANNOTATION, renderEtcdConfig, renderEtcdMember } from '../objects/etcd-member.ts';
import { renderInput } from '../objects/render-input.ts';
import { EtcdMemoryError, etcdStart, NOTHING_REMEMBERED, parseEtcdMemory } from './etcd-memory.ts';

const group = postgresGroup({ name: 'leo', spec: { coordination: { store: 'etcd' } } });
const plan = planGlobalCluster([group]);
const member = plan.groups[0]?.etcd;
assert.ok(member != null);

const MEMORIES: readonly EtcdMemory[] = [
  NOTHING_REMEMBERED,
  { phase: 'founding', folder: 'member-1' },
  { phase: 'joining', clusterId: '7', memberId: '8', folder: 'member-2', initialCluster: 'ait-etcd=x,leo-etcd=y' },
  { phase: 'member', clusterId: '7', memberId: '8', folder: 'member-2', volume: 'uid' },
];

/** Objects, the settings of the first start, and everything else that etcd is told. */
function rendered(memory: EtcdMemory) {
  assert.ok(member != null);
  const input = renderInput(plan, group, groupFacts(plan, { etcd: etcdStart(memory, member) }));
  const [config] = renderEtcdConfig(input);
  const [set] = renderEtcdMember(input);
  const env = Object.fromEntries(
    (set?.spec.template.spec.containers[0]?.env ?? []).map(({ name, value }) => [name, value]),
  );
  return { config, set, env };
}

describe('what is remembered of a member of etcd', () => {
  it('is read back as it was written', () => {
    for (const memory of MEMORIES) {
      const text = rendered(memory).config?.metadata.annotations?.[ETCD_MEMORY_ANNOTATION] ?? '';
      assert.deepEqual(parseEtcdMemory(text), memory);
    }
  });
  it('is never taken for a beginning when it cannot be read', () => {
    for (const text of ['', '{}', '{"phase":"member"}', '{"phase":"founding","folder":"../x"}'])
      assert.throws(() => parseEtcdMemory(text), EtcdMemoryError, text);
  });
  it('says whether a new cluster may begin: once, and before the member has run', () => {
    assert.deepEqual(
      MEMORIES.map((memory) => rendered(memory).config?.data.ETCD_INITIAL_CLUSTER_STATE),
      ['existing', 'new', 'existing', 'existing'],
    );
    assert.equal(
      rendered(MEMORIES[3] as EtcdMemory).config?.data.ETCD_INITIAL_CLUSTER,
      'leo-etcd=https://leo-etcd:2380',
    );
  });
  it('starts nothing as long as there is nothing', () => {
    assert.deepEqual(
      MEMORIES.map((memory) => rendered(memory).set !== undefined),
      [false, true, true, true],
    );
  });
  it('needs no new pod when the first start is over', () => {
    const joining = rendered(MEMORIES[2] as EtcdMemory);
    const settled = rendered(MEMORIES[3] as EtcdMemory);
    assert.deepEqual(joining.set?.spec.template, settled.set?.spec.template);
    assert.notDeepEqual(rendered(MEMORIES[1] as EtcdMemory).set?.spec.template, settled.set?.spec.template);
  });
  it('gives each membership a folder of its own, and both sides of TLS', () => {
    const { env } = rendered(MEMORIES[3] as EtcdMemory);
    assert.equal(env.ETCD_DATA_DIR, '/var/lib/etcd/member-2');
    assert.deepEqual([env.ETCD_CLIENT_CERT_AUTH, env.ETCD_PEER_CLIENT_CERT_AUTH], ['true', 'true']);
    assert.match(env.ETCD_INITIAL_CLUSTER_TOKEN ?? '', /^orders-11111111-/);
  });
  it('restarts a member for another bundle of CAs: etcd reads it at its start only', () => {
    assert.ok(member != null);
    const of = (trustBundle: string) => {
      const start = etcdStart(MEMORIES[3] as EtcdMemory, member);
      return renderEtcdMember(renderInput(plan, group, groupFacts(plan, { etcd: start, trustBundle })))[0]?.spec
        .template;
    };
    assert.notDeepEqual(of('one'), of('one and another'));
  });
});
