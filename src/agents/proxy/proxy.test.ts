/**
 * The whole proxy between real clients (psql, libpq with verify-full) and real PostgreSQL, told who leads by real streams.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import * as https from 'node:https';
import * as net from 'node:net';
import { after, before, suite, test } from 'node:test';
import { createTestPki } from '../../../test/kit/certificates.ts';
import { createProxyRig, leading, type ProxyRig } from '../../../test/kit/proxy-rig.ts';
import { needs } from '../../../test/kit/requirement.ts';
import { edgeReportSchema } from '../../api/edge-facts.ts';
import type { TlsFiles } from '../../base/mutual-tls.ts';
import { waitUntil } from '../../base/wait-until.ts';
import { encodeSslRequest } from '../../wire/postgres-opening.ts';

const READ = 5433;
const SOON = { timeoutMs: 10_000 } as const;

suite('a proxy before two servers', needs('postgres', 'psql', 'loopback'), () => {
  let rig: ProxyRig;
  let term = 1;
  before(async () => {
    rig = await createProxyRig({ net: 1, nodes: 2 });
  });
  after(() => rig?.[Symbol.asyncDispose]());

  /** `node` leads under a new term, and the proxy has heard of it. */
  async function lead(node: string): Promise<void> {
    term += 1;
    rig.lead(node, term);
    await waitUntil(`the proxy knows term ${term}`, SOON, async () =>
      (await metrics()).includes(`pgspan_proxy_leader_term{leader="${node}",phase="published"} ${term}`),
    );
  }

  async function metrics(): Promise<string> {
    return (await getHealth(rig, '/metrics')).body;
  }

  test('carries a verify-full session to the leader', async () => {
    await lead('leo-1');
    assert.equal(await rig.query('show cluster_name'), 'leo-1');
  });

  test('carries a read to the node that does not lead, and to the leader when no other is left', async () => {
    await lead('leo-1');
    assert.equal(await rig.query('show cluster_name', '', READ), 'leo-2');
    rig.agents[1]?.say({ acceptsReads: false });
    await waitUntil('reads fall back to the leader', SOON, async () => {
      return (await rig.query('show cluster_name', '', READ)) === 'leo-1';
    });
    rig.agents[1]?.say({ acceptsReads: true });
  });

  /** From the word that leo-2 leads to the first byte at a client that was held. */
  async function letGoDelayMs(): Promise<number> {
    rig.lead('leo-2', ++term, 'elected');
    await waitUntil('the proxy knows the election', SOON, async () => (await metrics()).includes('phase="elected"'));
    const client = net.connect(5432, rig.address).on('error', () => {});
    client.write(encodeSslRequest());
    await waitUntil('the connection is held', SOON, async () => /held_connections 1\n/.test(await metrics()));
    const published = performance.now();
    rig.lead('leo-2', term);
    const [answer] = (await once(client, 'data')) as [Buffer];
    const delayMs = performance.now() - published;
    assert.equal(answer.toString(), 'S');
    client.destroy();
    return delayMs;
  }

  test('holds new connections while no leader is published, and lets them go within 50 ms', async () => {
    await lead('leo-1');
    // PostgreSQL's fork is in it, so a busy machine gets more than one try at five.
    const medians: number[] = [];
    for (let tries = 0; tries < 4 && !medians.some((median) => median < 50); tries++) {
      const delaysMs: number[] = [];
      for (let round = 0; round < 5; round++) delaysMs.push(await letGoDelayMs());
      medians.push(delaysMs.sort((a, b) => a - b)[2] as number);
    }
    assert.ok(Math.min(...medians) < 50, `medians of five: ${medians.map((ms) => ms.toFixed(1)).join(', ')} ms`);
    assert.equal(await rig.query('show cluster_name'), 'leo-2');
  });

  test('cuts sessions of a leader as soon as another one is elected', async () => {
    await lead('leo-1');
    const session = rig.session();
    session.send("select 'open'; select pg_sleep(60);");
    await waitUntil('the session is open', SOON, () => session.output.includes('open'));
    const elected = performance.now();
    rig.lead('leo-2', ++term, 'elected');
    assert.notEqual(await session.ended, 0);
    assert.ok(performance.now() - elected < 1000, `it took ${performance.now() - elected} ms`);
    assert.match(await metrics(), /connections_ended_total{route="write",reason="superseded"} [1-9]/);
    assert.match(await metrics(), /connections_ended_total{route="write",reason="done"} [1-9]/);
  });

  test('keeps sessions while a leader hands over, and holds new ones', async () => {
    await lead('leo-1');
    const session = rig.session();
    session.send("select 'open';");
    await waitUntil('the session is open', SOON, () => session.output.includes('open'));
    rig.lead('leo-1', term, 'handing-over');
    await waitUntil('the proxy knows', SOON, async () => (await metrics()).includes('phase="handing-over"'));
    const held = rig.query('select 1');
    await waitUntil('the new connection is held', SOON, async () => /held_connections 1\n/.test(await metrics()));
    session.send("select 'still here';");
    await waitUntil('the old session answers', SOON, () => session.output.includes('still here'));
    session.end();
    assert.equal(await session.ended, 0);
    rig.lead('leo-1', term, 'published');
    assert.equal(await held, '1');
  });

  test('cuts sessions of a node that says it is fenced', async () => {
    await lead('leo-1');
    const session = rig.session();
    session.send("select 'open'; select pg_sleep(60);");
    await waitUntil('the session is open', SOON, () => session.output.includes('open'));
    rig.agents[0]?.say({ activity: 'fenced' });
    assert.notEqual(await session.ended, 0);
    rig.agents[0]?.say({ activity: 'leading' });
  });

  test('cancels a query on the write and on the read port', async () => {
    await lead('leo-1');
    for (const port of [5432, READ]) {
      const session = rig.session('', port);
      session.send(`select 'open'; select pg_sleep(6${port});`);
      await waitUntil('the session is open', SOON, () => session.output.includes('open'));
      // An interrupt ahead of the query would end psql itself.
      const sleeping = `select count(*) from pg_stat_activity where query like '%sleep(6${port})%' and wait_event = 'PgSleep'`;
      await waitUntil('the query runs', SOON, async () => (await rig.query(sleeping, '', port)) === '1');
      await waitUntil(`the query on ${port} is cancelled`, { timeoutMs: 10_000, intervalMs: 100 }, () => {
        session.interrupt();
        return session.output.includes('canceling statement due to user request');
      });
      session.end();
      await session.ended;
    }
    await waitUntil('both are counted', SOON, async () => {
      const sent = (await metrics()).match(/cancel_requests_total{.*result="sent"} [1-9]/g) ?? [];
      return sent.length >= 2;
    });
  });

  test('refuses a connection without encryption as PostgreSQL does', async () => {
    await assert.rejects(
      rig.query('select 1', 'sslmode=disable'),
      /FATAL: {2}no pg_hba.conf entry for host "127\.0\.0\.1", user "postgres", database "postgres", no encryption\nHINT:/,
    );
  });

  test('answers /livez and /readyz without a client certificate, and nothing else', async () => {
    assert.equal((await getHealth(rig, '/livez')).status, 200);
    assert.equal((await getHealth(rig, '/readyz')).status, 200);
    assert.equal((await getHealth(rig, '/v1/status')).status, 404);
  });

  test('tries its edges for a node, an operator or a person of its global cluster, and for nobody else', async () => {
    const stranger = await createTestPki({ globalCluster: 'billing' });
    await using _folder = stranger;
    const asking = [
      [await rig.pki.issue('leo-cli'), 200],
      [await rig.pki.issue('leo-operator'), 200],
      [await rig.pki.issue('leo-proxy-2'), 403],
      [await stranger.issue('leo-1'), 403],
      [null, 403],
    ] as const;
    for (const [files, expected] of asking) {
      const { status, body } = await getHealth(rig, '/v1/edges', files);
      assert.equal(status, expected, body);
      if (status !== 200) continue;
      const { edges } = edgeReportSchema.parse(JSON.parse(body));
      assert.deepEqual(
        edges.map(({ purpose, target }) => `${purpose} ${target}`),
        rig.servers.flatMap((_server, index) => [`relay leo-${index + 1}`, `agent leo-${index + 1}`]),
      );
    }
  });

  test('tries another read node when the first one is frozen', async () => {
    await lead('leo-1');
    const frozen = rig.servers[1]?.pid as number;
    process.kill(frozen, 'SIGSTOP');
    try {
      assert.equal(await rig.query('show cluster_name', '', READ), 'leo-1');
    } finally {
      process.kill(frozen, 'SIGCONT');
    }
    assert.match(await metrics(), /attempts_failed_total{node="leo-2",failure="timeout"} 1/);
  });

  test('takes a new configuration without ending sessions', async () => {
    await lead('leo-1');
    const session = rig.session();
    session.send("select 'open';");
    await waitUntil('the session is open', SOON, () => session.output.includes('open'));
    await rig.writeConfig({ peers: rig.config().peers.slice(0, 1) });
    await waitUntil('one stream is left', SOON, async () => /peer_streams 1\n/.test(await metrics()));
    await rig.writeConfig();
    await waitUntil('two streams are open', SOON, async () => /peer_streams 2\n/.test(await metrics()));
    session.send("select 'still here';");
    await waitUntil('the session answers', SOON, () => session.output.includes('still here'));
    session.end();
    await session.ended;
  });
});

suite('a proxy whose patience is short', needs('postgres', 'psql', 'loopback'), () => {
  let rig: ProxyRig;
  before(async () => {
    rig = await createProxyRig({
      net: 2,
      proxyNames: ['leo', 'orders'],
      change: { limits: { holdMs: 300, heldConnectionsMax: 1, connectionsMax: 2 } },
    });
    for (const agent of rig.agents) agent.say(leading('leo-1', 2, 'elected'));
  });
  after(() => rig?.[Symbol.asyncDispose]());

  test('says why after the deadline, inside TLS where its certificate has the name', async () => {
    await assert.rejects(
      rig.query('select 1'),
      /FATAL: {2}no server for this connection after 0\.\d s: the write leader "leo-1" of term 2 is not open for clients yet\nHINT:/,
    );
  });

  test('refuses at once when too many wait already', async () => {
    const held = rig.query('select 1');
    const second = rig.query('select 1');
    const answers = await Promise.allSettled([held, second]);
    const messages = answers.map((answer) => (answer.status === 'rejected' ? String(answer.reason) : 'connected'));
    assert.match(messages.join('\n'), /no server for this connection after/);
    assert.match(messages.join('\n'), /no server for this connection, and 1 connections wait for one already/);
  });

  test('refuses at once when it has as many connections as it may have', async () => {
    const idle = [1, 2].map(() => net.connect(5432, rig.address));
    await Promise.all(idle.map((socket) => once(socket, 'connect')));
    const third = net.connect(5432, rig.address);
    const [answer] = (await once(third, 'data')) as [Buffer];
    assert.match(answer.toString(), /^E.*53300.*sorry, too many clients already: this proxy takes 2 connections/s);
    for (const socket of [...idle, third]) socket.destroy();
  });
});

suite('a proxy whose leader restarts', needs('postgres', 'psql', 'loopback'), () => {
  test('serves everybody who waited', async () => {
    await using rig = await createProxyRig({ net: 25, change: { limits: { holdMs: 60_000 } } });
    assert.equal(await rig.query('select 1'), '1');
    rig.servers[0]?.stop('immediate');
    // Nothing listens, and the agent has not said so yet: each is refused, and tries again.
    const waiting = Array.from({ length: 30 }, () => rig.query('select 1'));
    await waitUntil('all are held', { timeoutMs: 30_000 }, async () => (await heldConnections(rig)) === 30);
    rig.lead('leo-1', 1, 'handing-over');
    await rig.servers[0]?.start();
    rig.lead('leo-1', 1, 'published');
    assert.deepEqual(await Promise.all(waiting), Array(30).fill('1'));
  });
});

async function heldConnections(rig: ProxyRig): Promise<number> {
  const { body } = await getHealth(rig, '/metrics');
  return Number(/^pgspan_proxy_held_connections (\d+)$/m.exec(body)?.[1]);
}

/** From the port of /livez, /readyz and /metrics. @param files client certificate; null: none. */
function getHealth(
  rig: ProxyRig,
  path: string,
  files: TlsFiles | null = null,
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const own = files === null ? {} : { cert: readFileSync(files.certFile), key: readFileSync(files.keyFile) };
    const options = { host: rig.address, port: 8443, path, ca: rig.pki.ca.authorityPem, agent: false, ...own };
    https
      .get(options, (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (text: string) => {
          body += text;
        });
        response.on('end', () => resolve({ status: response.statusCode ?? 0, body }));
      })
      .on('error', reject);
  });
}
