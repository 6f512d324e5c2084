/**
 * Requirements F2 and D8 on one machine: two groups that may lead, a witness that completes the quorum of the record and is
 * nothing else, and a read-only group that streams, serves reads, and neither votes nor leads, whatever happens to the others.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { delay, waitUntil } from '../../src/base/wait-until.ts';
import { AgentSite } from '../kit/agent-site.ts';
import { needs } from '../kit/requirement.ts';

const VOTERS = ['leo-1', 'ait-1'];
const FAR = 'far-1';

describe('a witness and a read-only group', {
  ...needs('root', 'postgres', 'psql', 'etcd', 'nft', 'mkfs.ext4', 'loopback'),
  timeout: 400_000,
}, () => {
  let site: AgentSite;
  before(async () => {
    const example = join(import.meta.dirname, '../../examples/witness-and-read-only.yaml');
    site = AgentSite.of('127.75', readFileSync(example, 'utf8'));
    await site.up();
  });
  after(() => site?.close());

  const write = (node: string, key: number) =>
    site.superuser(node, `create table if not exists kept (key int primary key); insert into kept values (${key})`);
  const keys = (node: string) => site.superuser(node, 'select count(*) from kept');
  async function farHas(count: number): Promise<void> {
    await waitUntil(`${FAR} serves ${count} rows`, { timeoutMs: 60_000 }, () => {
      try {
        return keys(FAR) === String(count);
      } catch {
        return false;
      }
    });
  }
  const farFollows = () =>
    site.until(FAR, 'follows and does not vote', ({ activity, isMember }) => activity === 'following' && !isMember);

  test('the witness holds a member of etcd and no node, the read-only group a node and no member', async () => {
    assert.ok(VOTERS.includes(await site.whole(VOTERS)));
    const { etcd, nodes, proxies } = site.site.state;
    assert.deepEqual(
      etcd.map(({ group }) => group),
      ['leo', 'ait', 'pit'],
    );
    assert.deepEqual(
      nodes.map(({ name }) => name),
      [...VOTERS, FAR],
    );
    assert.deepEqual(
      proxies.filter(({ group }) => group === 'pit'),
      [],
    );
  });

  test('the read-only group streams, serves reads, and is no member', async () => {
    const leader = await site.whole(VOTERS);
    write(leader, 1);
    await farHas(1);
    await farFollows();
    assert.throws(() => write(FAR, 99), /read-only transaction/);
  });

  test('it is asked in vain to lead', async () => {
    const leader = await site.whole(VOTERS);
    const answer = await site.ask(leader, 'POST', '/v1/switchover', { to: FAR });
    assert.equal(answer.status, 409, JSON.stringify(answer.body));
    assert.match(JSON.stringify(answer.body), /never leads/);
  });

  test('a group is lost with leader and member of etcd: the other one leads, with the word of the witness', async () => {
    const former = await site.whole(VOTERS);
    const next = VOTERS.find((node) => node !== former) as string;
    await site.kill(former.slice(0, -2));
    await waitUntil(`${next} leads`, { timeoutMs: 60_000 }, () => site.leads(next));
    await waitUntil(`${next} takes writes`, { timeoutMs: 60_000 }, () => {
      try {
        write(next, 2);
        return true;
      } catch {
        return false;
      }
    });
    await farHas(2);
    await farFollows();
    await site.up();
    await site.whole(VOTERS);
  });

  test('both that may lead are lost: the read-only group serves reads, and does not lead', async () => {
    await site.whole(VOTERS);
    await site.kill('leo');
    await site.kill('ait');
    await delay(10_000);
    assert.equal(await site.leads(FAR), false);
    assert.equal(keys(FAR), '2');
    assert.equal(site.superuser(FAR, 'select pg_is_in_recovery()'), 't');
    await site.up();
    write(await site.whole(VOTERS), 3);
    await farHas(3);
    await farFollows();
  });
});
