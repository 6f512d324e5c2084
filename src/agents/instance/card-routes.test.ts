import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, test } from 'node:test';
import { cardOf } from '../../../test/kit/cards.ts';
import { type CardRequest, type CardRoutes, openCardRoutes } from './card-routes.ts';
import { CardShelf, type ShelfContent, WAITERS_MAX } from './card-shelf.ts';

const folders: string[] = [];
after(async () => {
  for (const folder of folders) await rm(folder, { recursive: true });
});

const signal = new AbortController().signal;

describe('the shelf of cards', () => {
  test('has one etag for one content, in whatever order it came', () => {
    const [a, b] = [new CardShelf(), new CardShelf()];
    a.put([cardOf('leo'), cardOf('ait')]);
    b.put([cardOf('ait'), cardOf('leo')]);
    assert.equal(a.content.etag, b.content.etag);
    assert.equal(a.put([cardOf('ait'), cardOf('leo')]), false);
    assert.equal(a.put([cardOf('ait', { generation: 2 }), cardOf('leo')]), true);
    assert.notEqual(a.content.etag, b.content.etag);
  });

  test('answers at once to whoever knows something else, and later to whoever knows the present', async () => {
    const shelf = new CardShelf();
    const first = (await shelf.next(null, { signal })) as ShelfContent;
    assert.deepEqual(first.cards, []);
    const waiting = shelf.next(first.etag, { signal });
    assert.equal(shelf.waiterCount, 1);
    shelf.put([cardOf('leo')]);
    assert.deepEqual(
      (await waiting)?.cards.map(({ group }) => group),
      ['leo'],
    );
    assert.equal(shelf.waiterCount, 0);
  });

  test('answers with the present after the time, and to nobody that is gone', async () => {
    const shelf = new CardShelf();
    const { etag } = shelf.content;
    assert.equal((await shelf.next(etag, { signal, waitMs: 5 }))?.etag, etag);
    const gone = new AbortController();
    const waiting = shelf.next(etag, { signal: gone.signal });
    gone.abort();
    await waiting;
    assert.equal(shelf.waiterCount, 0);
  });

  test('lets no more wait than its limit', async () => {
    const shelf = new CardShelf();
    const { etag } = shelf.content;
    const waiting = Array.from({ length: WAITERS_MAX }, () => shelf.next(etag, { signal }));
    assert.equal(await shelf.next(etag, { signal }), null);
    shelf.close();
    await Promise.all(waiting);
  });
});

describe('the routes of cards', () => {
  let routes: CardRoutes;
  let folder: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'cards-'));
    folders.push(folder);
    routes = await openCardRoutes({ group: 'leo', stateDirectory: folder });
  });

  const request = (
    method: string,
    name: string,
    body: unknown = { cards: [cardOf('leo')] },
    etag: string | null = null,
  ): CardRequest => ({
    method,
    query: new URLSearchParams(etag === null ? {} : { etag }),
    identity: { globalCluster: 'orders', group: name.split('-')[0] as string, name },
    body: async () => body,
    signal,
  });

  test('let the operator of the own group put cards, and nobody else', async () => {
    const expected = { 'leo-operator': 200, 'ait-operator': 403, 'leo-1': 403, 'leo-proxy-1': 403, 'leo-cli': 403 };
    for (const [name, status] of Object.entries(expected))
      assert.equal((await routes.answer(request('PUT', name))).status, status, name);
    assert.equal((await routes.answer(request('DELETE', 'leo-operator'))).status, 405);
  });

  test('answer anybody with what was put, and keep it over a restart', async () => {
    await routes.answer(request('PUT', 'leo-operator'));
    for (const name of ['ait-operator', 'ait-1', 'leo-proxy-1']) {
      const { status, body } = await routes.answer(request('GET', name));
      assert.equal(status, 200);
      assert.deepEqual((body as ShelfContent).cards, [cardOf('leo')]);
    }
    const restarted = await openCardRoutes({ group: 'leo', stateDirectory: folder });
    assert.deepEqual(restarted.shelf.content, routes.shelf.content);
    assert.match(await readFile(join(folder, 'cards.json'), 'utf8'), /"leo"/);
  });

  test('take no card that is none, and forget a file that nobody can read', async () => {
    for (const body of [null, {}, { cards: 'all' }, { cards: [{ group: 'leo' }] }])
      assert.equal((await routes.answer(request('PUT', 'leo-operator', body))).status, 400);
    await writeFile(join(folder, 'cards.json'), '{"cards": [');
    const restarted = await openCardRoutes({ group: 'leo', stateDirectory: folder });
    assert.deepEqual(restarted.shelf.content.cards, []);
  });
});
