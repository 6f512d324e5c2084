/** Two groups with a CA each: the exchange of cards over real mutual TLS, and who is not believed. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type CardRequest, type CardRoutes, openCardRoutes } from '../../agents/instance/card-routes.ts';
import { PeerServer } from '../../agents/instance/peer-server.ts';
import type { CardShelf } from '../../agents/instance/card-shelf.ts';
import { cardText, type GroupCard } from '../../api/group-card.ts';
import { createMemoryTls, createReloadableTls, type ReloadableTls, type TlsFiles } from '../../base/mutual-tls.ts';
import { waitUntil } from '../../base/wait-until.ts';
import { decideGroups, groupOfCard } from '../../core/cards/decide-groups.ts';
import { readCards } from '../../core/cards/stored-cards.ts';
import type { KubeClient } from '../../platform/kubernetes/kube-client.ts';
import type { GroupAgents } from '../group-agents.ts';
import { cardOf } from '../../../test/kit/cards.ts';
import { createTestPki, type TestPki } from '../../../test/kit/certificates.ts';
import { askCards, type CardPlace, type CardsAnswer } from './ask-cards.ts';
import { CardExchange } from './card-exchange.ts';
import { GroupPeers } from './group-peers.ts';
import { planGroups } from './plan-groups.ts';

const ADDRESS = '127.66.9.1';
const PORT = 7461;
const SOON = { timeoutMs: 20_000, intervalMs: 50 } as const;

describe('the exchange of cards', () => {
  let leo: TestPki;
  let ait: TestPki;
  let folder: string;
  let routes: CardRoutes;
  let shelf: CardShelf;
  let server: PeerServer;
  let bundle: string;

  /** With the bundle of both groups. */
  const trusting = async ({ certFile, keyFile }: TlsFiles): Promise<ReloadableTls> => {
    const [cert, key] = [await readFile(certFile, 'utf8'), await readFile(keyFile, 'utf8')];
    return await createMemoryTls(() => ({ cert, key, ca: bundle }));
  };
  const operatorOfLeo = async () =>
    await trusting(await leo.issue('leo-operator', { uris: ['spiffe://orders/leo/leo-operator'] }));
  const place = (group: string | null): CardPlace => ({ group, host: ADDRESS, port: PORT });
  const ask = async (tls: ReloadableTls, group: string | null, etag: string | null = null) =>
    await askCards({ globalCluster: 'orders', tls, place: place(group), etag, signal: AbortSignal.timeout(20_000) });

  before(async () => {
    leo = await createTestPki({ globalCluster: 'orders', group: 'leo' });
    ait = await createTestPki({ globalCluster: 'orders', group: 'ait' });
    bundle = leo.ca.authorityPem + ait.ca.authorityPem;
    folder = await mkdtemp(join(tmpdir(), 'pgspan-cards-'));
    routes = await openCardRoutes({ group: 'ait', stateDirectory: folder });
    shelf = routes.shelf;
    const credentials = await trusting(await ait.issue('ait-1', { uris: ['spiffe://orders/ait/ait-1'] }));
    const unused = (): never => {
      throw new Error('not used here');
    };
    server = new PeerServer({
      globalCluster: 'orders',
      credentials,
      handlers: {
        state: unused,
        onEcho: unused,
        onRequest: unused,
        isLive: () => true,
        isReady: () => true,
        status: unused,
        metrics: unused,
        order: unused,
        cards: (request: CardRequest) => routes.answer(request),
        onError: () => {},
      },
    } as unknown as ConstructorParameters<typeof PeerServer>[0]);
    await server.listen(ADDRESS, PORT);
  });
  after(async () => {
    shelf?.close();
    await server?.close();
    await leo?.[Symbol.asyncDispose]();
    await ait?.[Symbol.asyncDispose]();
    await rm(folder, { recursive: true, force: true });
  });

  test('brings what the other group tells, and the next thing as soon as it is told', async () => {
    shelf.put([cardOf('ait', { generation: 1 })]);
    const answers: CardsAnswer[] = [];
    const exchange = new CardExchange({
      globalCluster: 'orders',
      onCards: (answer) => answers.push(answer),
      onStatus: () => {},
    });
    exchange.follow([place('ait')], await operatorOfLeo());
    await waitUntil('the first answer', SOON, () => answers.length === 1);
    await waitUntil('it waits for the next', SOON, () => shelf.waiterCount === 1);
    shelf.put([cardOf('ait', { generation: 2 })]);
    await waitUntil('the second answer', SOON, () => answers.length === 2);
    assert.deepEqual(
      answers.map(({ from, cards }) => [from, (cards[0] as { generation: number }).generation]),
      [
        ['ait', 1],
        ['ait', 2],
      ],
    );
    assert.deepEqual(exchange.errors, []);
    exchange.close();
    await waitUntil('nobody waits any more', SOON, () => shelf.waiterCount === 0);
  });

  test('goes through an older operator unchanged: it plans with what it knows, and a newer one finds what is new', async () => {
    // Of ait's operator, which is newer: two fields more than this version has.
    const coordination = { store: 'etcd', etcd: { endpoints: ['https://etcd.example.com:2379'] } };
    const { manifest, ...rest } = cardOf('ait', { generation: 7, caBundle: ait.ca.authorityPem });
    const newer = {
      ...rest,
      manifest: { ...manifest, spec: { ...manifest.spec, standbyDelay: '1h' } },
      region: 'eu-1',
    };
    const put = { method: 'PUT', query: new URLSearchParams(), signal: AbortSignal.timeout(20_000) } as const;
    const operatorOf = (group: string) => ({ globalCluster: 'orders', group, name: `${group}-operator` });
    const bodyOf = (value: unknown) => async () => JSON.parse(JSON.stringify(value)) as unknown;
    assert.equal(
      (await routes.answer({ ...put, identity: operatorOf('ait'), body: bodyOf({ cards: [newer] }) })).status,
      200,
    );

    // leo's operator is of this version: it asks ait's agent, keeps what came, and gives it to its own agents.
    const peers = new GroupPeers({ globalCluster: 'orders', onChange: () => {} });
    const older = await openCardRoutes({ group: 'leo', stateDirectory: await mkdtemp(join(folder, 'leo-')) });
    try {
      await peers.load({ find: async () => null } as unknown as KubeClient, { name: 'leo', namespace: 'db' });
      const own = await leo.issue('leo-operator-3', { uris: ['spiffe://orders/leo/leo-operator'] });
      const texts = {
        cert: await readFile(own.certFile, 'utf8'),
        key: await readFile(own.keyFile, 'utf8'),
        ca: bundle,
      };
      await peers.follow([place('ait')], texts);
      await waitUntil('leo knows ait', SOON, () => peers.cards.get('ait')?.generation === 7);
      assert.deepEqual(peers.problems, []);
      const stored = readCards(peers.texts(), 'leo', 'orders').others.get('ait');
      assert.deepEqual(JSON.parse(cardText(stored as GroupCard)), newer);
      const agents = {
        put: async (_node: string, _path: string, body: unknown) =>
          await older.answer({ ...put, identity: operatorOf('leo'), body: bodyOf(body) }),
      } as unknown as GroupAgents;
      const places = [{ node: 'leo-1', group: 'leo', host: 'leo-1', address: ADDRESS, port: PORT }];
      assert.equal(await peers.give(agents, places), true);

      // It plans the same as if the fields were not there.
      const planned = (card: GroupCard) => {
        const own = groupOfCard(cardOf('leo', { spec: { coordination } }));
        const cards = new Map([['ait', card]]);
        const decision = decideGroups({ own, admits: ['ait'], cards, configured: [] });
        assert.ok(decision.kind === 'known', JSON.stringify(decision));
        const sight = { existing: [], retiring: [], published: {} };
        return planGroups(decision.groups, 'leo', sight, decision.cards, 'cluster.local').plan;
      };
      const plain = cardOf('ait', { generation: 7, caBundle: ait.ca.authorityPem });
      assert.deepEqual(planned(stored as GroupCard), planned(plain));

      // pit's operator is as new as ait's, and hears of ait from leo's agents first.
      const answer = await older.answer({ ...put, method: 'GET', identity: operatorOf('pit'), body: bodyOf(null) });
      const shown = JSON.parse(JSON.stringify(answer.body)) as { cards: { group: string }[] };
      assert.deepEqual(
        shown.cards.find(({ group }) => group === 'ait'),
        newer,
      );

      // What nobody may ignore comes with a version of its own, and counts no more than what was known before.
      const incompatible = { ...newer, version: 2, generation: 8 };
      const refusal = await routes.answer({
        ...put,
        identity: operatorOf('ait'),
        body: bodyOf({ cards: [incompatible] }),
      });
      assert.equal(refusal.status, 400);
      assert.match(JSON.stringify(refusal.body), /upgrade pgspan in the pod of this agent/);
      shelf.put([incompatible as unknown as GroupCard]);
      await waitUntil('leo says who is to be upgraded', SOON, () => peers.problems.length > 0);
      assert.match(
        peers.problems.join(),
        /group "ait": .* of version 2, and this cluster reads version 1: upgrade pgspan in this cluster/,
      );
      assert.equal(peers.cards.get('ait')?.generation, 7);
    } finally {
      peers.close();
      older.shelf.close();
    }
  });

  test('believes no node of another group than the one that it asks', async () => {
    const tls = await operatorOfLeo();
    await assert.rejects(ask(tls, 'pit'), /no node of group "pit"/);
    assert.equal((await ask(tls, null)).from, 'ait');
  });

  test('believes nobody whose CA it does not trust, and is not believed without one', async () => {
    const own = await createReloadableTls(
      await leo.issue('leo-operator-2', { uris: ['spiffe://orders/leo/leo-operator'] }),
    );
    await assert.rejects(ask(own, 'ait'), /certificate|issuer|signature/i);
    await using stranger = await createTestPki({ globalCluster: 'orders', group: 'leo' });
    const foreign = await trusting(
      await stranger.issue('leo-operator', { uris: ['spiffe://orders/leo/leo-operator'] }),
    );
    await assert.rejects(ask(foreign, 'ait'), /403.*not signed by a CA of our trust bundle/);
  });

  test('says of a place that does not answer why, and goes on with the others', async () => {
    const answers: CardsAnswer[] = [];
    const exchange = new CardExchange({
      globalCluster: 'orders',
      onCards: (answer) => answers.push(answer),
      onStatus: () => {},
    });
    exchange.follow([place('ait'), { group: 'pit', host: ADDRESS, port: PORT + 1 }], await operatorOfLeo());
    await waitUntil('an answer and an error', SOON, () => answers.length > 0 && exchange.errors.length === 1);
    assert.equal(exchange.errors[0]?.place.group, 'pit');
    assert.match(exchange.errors[0]?.error ?? '', /refused/i);
    exchange.close();
  });
});
