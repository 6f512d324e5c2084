import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { JoinRelay, RATE, REQUESTS_MAX, REQUESTS_PER_ADDRESS_MAX } from './join-relay.ts';

const { signal } = new AbortController();
const read = async () => ({ step: 'hello' });
const codeOf = (answer: { body: unknown }) => (answer.body as { code?: string }).code;

describe('the relay of requests to join', () => {
  test('refuses at once while no operator listens, and does not even read', async () => {
    const relay = new JoinRelay({ group: 'leo' });
    const answer = await relay.relay('10.0.0.1', () => assert.fail('it was read'), signal);
    assert.equal(answer.status, 503);
    assert.equal(codeOf(answer), 'JOIN_UNHEARD');
  });

  test('brings a request to the operator that waits, once, and its answer back', async () => {
    const relay = new JoinRelay({ group: 'leo' });
    const polled = relay.next(signal);
    const answered = relay.relay('10.0.0.1', read, signal);
    const { requests } = await polled;
    assert.deepEqual(
      requests.map(({ from, message }) => ({ from, message })),
      [{ from: '10.0.0.1', message: { step: 'hello' } }],
    );
    assert.deepEqual((await relay.next(signal, 1)).requests, []);
    const id = requests[0]?.id as string;
    assert.equal(relay.answer({ id, status: 200, body: { ok: true } }), true);
    assert.deepEqual(await answered, { status: 200, body: { ok: true } });
    assert.equal(relay.answer({ id, status: 200, body: {} }), false);
    assert.equal(relay.placeCount, 0);
  });

  test('lets no more wait than its places, nor than an address may have, and gives them back', async () => {
    const relay = new JoinRelay({ group: 'leo', waitMs: 30 });
    await relay.next(signal, 1);
    const of = (address: string) => relay.relay(address, read, signal);
    const floods = Array.from({ length: 20 }, () => of('10.0.0.1'));
    assert.equal(relay.placeCount, REQUESTS_PER_ADDRESS_MAX);
    const others = Array.from({ length: 20 }, (_, index) => of(`10.0.1.${index}`));
    assert.equal(relay.placeCount, REQUESTS_MAX);
    const codes = (await Promise.all([...floods, ...others])).map(codeOf);
    assert.equal(codes.filter((code) => code === 'JOIN_UNHEARD').length, REQUESTS_MAX);
    assert.equal(codes.filter((code) => code === 'JOIN_BUSY').length, 40 - REQUESTS_MAX);
    assert.equal(relay.placeCount, 0);
  });

  test('gives the place of a stranger back who goes, or sends what cannot be read', async () => {
    const relay = new JoinRelay({ group: 'leo' });
    await relay.next(signal, 1);
    const gone = new AbortController();
    const waiting = relay.relay('10.0.0.1', read, gone.signal);
    await Promise.resolve();
    gone.abort();
    await waiting;
    await assert.rejects(relay.relay('10.0.0.1', () => Promise.reject(new Error('no JSON')), signal));
    assert.equal(relay.placeCount, 0);
  });

  test('admits a burst, and then as many as its rate', () => {
    let nowMs = 0;
    const relay = new JoinRelay({ group: 'leo', nowMs: () => nowMs });
    const admitted = () => Array.from({ length: 100 }, () => relay.admit()).filter(Boolean).length;
    assert.equal(admitted(), RATE.burst);
    nowMs += 3000;
    assert.equal(admitted(), 3 * RATE.perSecond);
    nowMs += 3_600_000;
    assert.equal(admitted(), RATE.burst);
  });

  test('forgets an operator that has gone', async () => {
    let nowMs = 0;
    const relay = new JoinRelay({ group: 'leo', nowMs: () => nowMs, waitMs: 5 });
    await relay.next(signal, 1);
    nowMs += 59_000;
    assert.match(JSON.stringify(await relay.relay('a', read, signal)), /has not answered/);
    nowMs += 2000;
    assert.match(JSON.stringify(await relay.relay('a', read, signal)), /no open invitation/);
  });
});
