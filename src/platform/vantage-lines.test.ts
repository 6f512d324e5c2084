import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { suite, test } from 'node:test';
import { DialError } from '../base/dial-tls.ts';
import type { Vantage } from './vantage.ts';
import { serveVantage, VANTAGE_LINE_BYTES_MAX, vantageOverLines } from './vantage-lines.ts';

const TARGET = { host: 'leo-1', address: null, port: 5480 };
const QUESTION = { purpose: 'agent' as const, target: 'leo-1', ...TARGET };
const FACTS = {
  ...QUESTION,
  resolved: ['10.0.0.1'],
  certificate: null,
  roundTripMs: 1,
  steps: [{ step: 'connect' as const, ok: true, code: null, found: 'leo-1:5480', ms: 1 }],
};

/** Both ends, joined as exec joins them: in pieces. */
function joined(there: Vantage) {
  const input = new PassThrough();
  let onGreeting = () => {};
  const greeted = new Promise<void>((resolve) => {
    onGreeting = resolve;
  });
  const near = vantageOverLines('leo-1', (line) => void input.write(line), onGreeting);
  const served = serveVantage(there, input, (line) => {
    const middle = line.length >> 1;
    near.push(line.subarray(0, middle));
    near.push(line.subarray(middle));
  });
  return { near, greeted, served, end: () => input.end() };
}

const there: Vantage = {
  name: 'there',
  ask: async ({ path, body }) => {
    if (path === '/slow') await new Promise((resolve) => setTimeout(resolve, 30));
    if (path === '/gone') throw new DialError('DIAL_TIMEOUT', 'Cannot connect to "leo-1": no answer');
    return { status: 200, body: { path, body } };
  },
  examine: async () => [FACTS],
};

suite('a vantage over lines', () => {
  test('greets, answers each question as asked, in whatever order, and ends with its input', async () => {
    const { near, greeted, served, end } = joined(there);
    await greeted;
    const order: string[] = [];
    const ask = async (path: string) => {
      const { body } = await near.ask({ target: TARGET, path, body: { to: path }, timeoutMs: 100 });
      order.push(path);
      return body;
    };
    const answers = await Promise.all([ask('/slow'), ask('/fast')]);
    assert.deepEqual(answers, [
      { path: '/slow', body: { to: '/slow' } },
      { path: '/fast', body: { to: '/fast' } },
    ]);
    assert.deepEqual(order, ['/fast', '/slow']);
    assert.deepEqual(await near.examine([QUESTION]), [FACTS]);
    end();
    await served;
  });

  test('hands on why an agent could not be asked', async () => {
    const { near, end } = joined(there);
    await assert.rejects(
      near.ask({ target: TARGET, path: '/gone', timeoutMs: 100 }),
      (error) => error instanceof DialError && error.code === 'DIAL_TIMEOUT',
    );
    end();
  });

  test('a broken way fails what waits and all that comes', async () => {
    const near = vantageOverLines(
      'leo-1',
      () => {},
      () => {},
    );
    const waiting = near.ask({ target: TARGET, path: '/v1/status', timeoutMs: 100 });
    near.fail(new Error('the pod is gone'));
    await assert.rejects(waiting, /the pod is gone/);
    await assert.rejects(near.examine([QUESTION]), /the pod is gone/);
    for (const bad of ['no json\n', '{"id":"x"}\n', `${'x'.repeat(VANTAGE_LINE_BYTES_MAX + 1)}`]) {
      const other = vantageOverLines(
        'leo-1',
        () => {},
        () => {},
      );
      const asked = other.examine([QUESTION]);
      other.push(Buffer.from(bad));
      await assert.rejects(asked);
    }
  });

  test('the far side takes no other words', async () => {
    for (const line of [
      '{"id":1,"call":"exec"}\n',
      '{"id":1,"call":"examine","questions":[{"purpose":"agent","target":"x","host":"","address":null,"port":1}]}\n',
    ]) {
      const input = new PassThrough();
      const served = serveVantage(there, input, () => {});
      input.end(line);
      await assert.rejects(served);
    }
  });
});
