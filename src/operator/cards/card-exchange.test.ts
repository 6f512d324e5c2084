/** Two groups with a CA each: the exchange of cards over real mutual TLS, and who is not believed. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { type CardRequest, openCardRoutes } from '../../agents/instance/card-routes.ts';
import { PeerServer } from '../../agents/instance/peer-server.ts';
import type { CardShelf } from '../../agents/instance/card-shelf.ts';
import { createMemoryTls, createReloadableTls, type ReloadableTls, type TlsFiles } from '../../base/mutual-tls.ts';
import { waitUntil } from '../../base/wait-until.ts';
import { cardOf } from '../../../test/kit/cards.ts';
import { createTestPki, type TestPki } from '../../../test/kit/certificates.ts';
import { askCards, type CardPlace, type CardsAnswer } from './ask-cards.ts';
import { CardExchange } from './card-exchange.ts';

const ADDRESS = '127.66.9.1';
const PORT = 7461;
const SOON = { timeoutMs: 20_000, intervalMs: 50 } as const;

describe('the exchange of cards', () => {
  let leo: TestPki;
  let ait: TestPki;
  let folder: string;
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
    const routes = await openCardRoutes({ group: 'ait', stateDirectory: folder });
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
