/**
 * Joining by invitation on three real clusters: by command and by manifest, refusals, one login for all, leaving, and a cluster that
 * was away while another left (docs/joining.md).
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import pg from 'pg';
import { stringify } from 'yaml';
import type { PostgresGroupManifest } from '../../src/api/postgres-group.ts';
import { waitUntil } from '../../src/base/wait-until.ts';
import { encodeToken, parseToken } from '../../src/core/joining/token.ts';
import { needs } from '../kit/requirement.ts';
import { type GroupName, GROUPS, ThreeClusters } from './kit/three-clusters.ts';

const NAMESPACE = 'pgspan-joining';
const SOON = { timeoutMs: 180_000, intervalMs: 1000 } as const;

describe('joining on three Kubernetes clusters', {
  ...needs('three-kubernetes', 'kubectl', 'etcd'),
  timeout: 1_400_000,
}, () => {
  let clusters: ThreeClusters;
  const folder = mkdtempSync(join(tmpdir(), 'pgspan-joining-'));
  let token = '';

  before(async () => {
    clusters = await ThreeClusters.prepare(NAMESPACE);
  });
  after(async () => {
    rmSync(folder, { recursive: true, force: true });
    await clusters?.close();
  });

  /** Nobody is named in it, and no login. */
  const manifestOf = (group: GroupName): PostgresGroupManifest => {
    const example = clusters.example(group);
    const { name = 'orders' } = example.spec.globalCluster ?? {};
    return { ...example, spec: { ...example.spec, globalCluster: { name } } };
  };
  const fileOf = (group: GroupName): string => {
    const file = join(folder, `${group}.yaml`);
    writeFileSync(file, stringify(manifestOf(group)));
    return file;
  };
  const invite = async (group: GroupName): Promise<string> => (await clusters.pgspan(group, ['invite'])).trim();
  const joins = (group: GroupName, text: string) =>
    clusters.pgspan(group, ['join', text, '-f', fileOf(group), '--timeout', '120s']);
  const refusalOf = async (group: GroupName, text: string): Promise<string> => {
    const error = await joins(group, text).then(
      () => assert.fail('it joined'),
      (failed: Error & { stderr?: string }) => `${failed.stderr}`,
    );
    assert.match(error, /JOIN_REFUSED/);
    return error;
  };
  const allHealthy = async (groups: readonly GroupName[]) =>
    await Promise.all(
      groups.map((group) =>
        clusters.waitForStatus(
          group,
          `is healthy, with ${groups.length} members`,
          ({ reason, members = [] }) => reason === 'Healthy' && members.length === groups.length,
        ),
      ),
    );

  /** With the group's own Secret, through its own load balancer, as an application outside does. */
  const login = async (group: GroupName): Promise<string> => {
    const secret = JSON.parse(await clusters.kubectl(group, ['get', 'secret', `${group}-app`, '-o', 'json'])) as {
      data: Record<string, string>;
    };
    const of = (key: string) => Buffer.from(secret.data[key] ?? '', 'base64').toString();
    const path = 'jsonpath={.status.loadBalancer.ingress[0].ip}';
    const host = await clusters.kubectl(group, ['get', 'service', group, '-o', path]);
    const ssl = { ca: of('ca.crt'), servername: group };
    const client = new pg.Client({
      host,
      user: of('username'),
      password: of('password'),
      database: of('dbname'),
      ssl,
      connectionTimeoutMillis: 10_000,
    });
    try {
      await client.connect();
      await client.query('SELECT 1');
      return of('password');
    } finally {
      await client.end();
    }
  };
  const oneLogin = async (groups: readonly GroupName[], expected?: string): Promise<string> => {
    return await waitUntil(`all of ${groups.join(', ')} log in with one password`, SOON, async () => {
      const passwords = await Promise.all(groups.map((group) => login(group).catch(() => null)));
      const [first] = passwords;
      const isOne = first !== null && passwords.every((one) => one === first);
      return isOne && (expected === undefined || first === expected) ? first : null;
    });
  };
  const eventReasons = async (group: GroupName): Promise<string> =>
    await clusters.kubectl(group, ['get', 'events', '-o', 'jsonpath={.items[*].reason}']);

  test('a group by command: one here, one there, and it clones the database', async (t) => {
    await clusters.apply('leo', manifestOf('leo'));
    await clusters.waitForStatus('leo', 'is healthy alone', ({ reason }) => reason === 'Healthy');
    token = await invite('leo');
    const startMs = performance.now();
    assert.match(await joins('pit', token), /Group "pit" belongs to "orders" now/);
    t.diagnostic(`joined after ${Math.round(performance.now() - startMs)} ms`);
    const [status] = await allHealthy(['leo', 'pit']);
    t.diagnostic(`one database after ${Math.round(performance.now() - startMs)} ms`);
    assert.equal(status?.leader, 'leo-1');
    await oneLogin(['leo', 'pit']);
    assert.match(await eventReasons('leo'), /GroupJoined/);
    assert.match(await eventReasons('pit'), /Joined/);
    const [own = ''] = await clusters.bundle('pit');
    assert.ok((await clusters.bundle('leo')).includes(own));
    for (const group of ['leo', 'pit'] as const)
      assert.equal((await clusters.kubectl(group, ['get', 'secret', '-o', 'name'])).includes('-invitation-'), false);
  });

  test('a token that was used, tampered with, or is over is refused with the reason, and nothing is made', async () => {
    assert.match(await refusalOf('ait', token), /InvitationUnknown/);
    const fresh = parseToken(await invite('leo'));
    assert.ok(fresh.kind === 'invitation');
    const { invitation } = fresh;
    const forged = { ...invitation, secret: Buffer.alloc(32, 1).toString('base64url') };
    assert.match(await refusalOf('ait', encodeToken(forged)), /JoinUnproven/);
    const foreign = { ...invitation, caFingerprints: ['00'.repeat(32)] };
    assert.match(await refusalOf('ait', encodeToken({ ...foreign, id: '00'.repeat(8) })), /JoinWrongAuthority/);
    const past = Buffer.from(new Date(Date.now() - 1000).toISOString()).toString('base64');
    const patch = JSON.stringify({ data: { expiresAt: past } });
    await clusters.kubectl('leo', [
      'patch',
      'secret',
      `leo-invitation-${invitation.id}`,
      '--type',
      'merge',
      '-p',
      patch,
    ]);
    assert.match(await refusalOf('ait', encodeToken(invitation)), /InvitationExpired/);

    const withdrawn = parseToken(await invite('leo'));
    assert.ok(withdrawn.kind === 'invitation');
    const { id } = withdrawn.invitation;
    assert.match(await clusters.pgspan('leo', ['invite', '--withdraw', id]), /its token opens nothing any more/);
    assert.match(await refusalOf('ait', encodeToken(withdrawn.invitation)), /InvitationWithdrawn/);
    const listed = JSON.parse(await clusters.pgspan('leo', ['invite', '--list', '-o', 'json'])) as {
      invitations: { id: string; state: string }[];
    };
    assert.equal(listed.invitations.find((one) => one.id === id)?.state, 'withdrawn');
    const nodes = ['get', 'statefulsets,pods', '-l', 'pgspan.io/group=ait', '-o', 'name'];
    assert.equal(await clusters.kubectl('ait', nodes), '');
    assert.match(await eventReasons('leo'), /JoinRefused/);
  });

  test('a group by manifest, invited by one that joined itself', async () => {
    const text = await invite('pit');
    await clusters.kubectl('ait', ['create', 'secret', 'generic', 'token-of-pit', `--from-literal=token=${text}`]);
    const manifest = manifestOf('ait');
    const ref = { tokenSecretRef: { name: 'token-of-pit', key: 'token' } };
    const globalCluster = { ...manifest.spec.globalCluster, join: ref };
    await clusters.apply('ait', { ...manifest, spec: { ...manifest.spec, globalCluster } });
    await allHealthy(GROUPS);
    for (const group of GROUPS) assert.equal((await clusters.bundle(group)).length, 3, `the trust bundle of ${group}`);
    await clusters.kubectl('ait', ['delete', 'secret', 'token-of-pit']);
    await oneLogin(GROUPS);
  });

  test('a password that is changed in one cluster is the one of all, also after the leader is lost', async () => {
    const password = 'changed-in-the-cluster-ait';
    const patch = JSON.stringify({ data: { password: Buffer.from(password).toString('base64') } });
    await clusters.kubectl('ait', ['patch', 'secret', 'ait-app', '--type', 'merge', '-p', patch]);
    await oneLogin(GROUPS, password);
    await clusters.kubectl('leo', ['delete', 'pod', 'leo-1-0', '--grace-period=0', '--force']);
    await oneLogin(GROUPS, password);
    await allHealthy(GROUPS);
  });

  test('a group that is deleted hands over and tells the others; one that was away learns it later', async () => {
    const { leader = '' } = await clusters.status('ait');
    const leaving = GROUPS.find((group) => leader.startsWith(`${group}-`)) as GroupName;
    const [present, away] = GROUPS.filter((group) => group !== leaving) as [GroupName, GroupName];
    const scale = (replicas: number) =>
      clusters.kubectl(away, ['scale', 'deployment', 'pgspan-operator', `--replicas=${replicas}`]);
    await scale(0);
    await clusters.kubectl(away, [
      'wait',
      '--for=delete',
      'pods',
      '-l',
      'app.kubernetes.io/name=pgspan-operator',
      '--timeout=60s',
    ]);
    const startMs = performance.now();
    await clusters.kubectl(leaving, ['delete', 'postgresgroup', leaving, '--timeout=100s']);
    assert.ok(performance.now() - startMs < 90_000);
    const expectGone = async (group: GroupName) => {
      const { leader: next } = await clusters.waitForStatus(
        group,
        `goes on without ${leaving}`,
        ({ reason, members = [] }) => reason === 'Healthy' && members.length === 2 && !members.includes(`${leaving}-1`),
      );
      assert.notEqual(next, leader);
      await waitUntil(`${group} has dropped what belonged to ${leaving}`, SOON, async () => {
        const services = await clusters.kubectl(group, ['get', 'services', '-o', 'name']);
        return (await clusters.bundle(group)).length === 2 && !services.includes(`/${leaving}-`);
      });
    };
    await expectGone(present);
    assert.match(await eventReasons(present), /GroupLeft/);
    assert.equal((await clusters.bundle(away)).length, 3);
    await scale(1);
    await expectGone(away);
    await oneLogin([present, away], 'changed-in-the-cluster-ait');
    // And it may come again: its cards outdo its tombstone.
    await clusters.pgspan(leaving, ['join', await invite(present), '-f', fileOf(leaving), '--timeout', '120s']);
    await allHealthy(GROUPS);
    await oneLogin(GROUPS, 'changed-in-the-cluster-ait');
  });
});
