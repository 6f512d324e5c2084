import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type AddressInfo, connect, createServer } from 'node:net';
import { createRememberedLookup, lookupWith } from './remembered-lookup.ts';

type Done = (error: Error | null, addresses: { address: string; family: number }[]) => void;

describe('a lookup that remembers', () => {
  /** A resolver that answers when it is told to. */
  function harness(freshMs = 0) {
    const asked: { host: string; done: Done }[] = [];
    const lookup = createRememberedLookup({ resolve: (host, done) => void asked.push({ host, done }), freshMs });
    const ask = (host: string) =>
      new Promise<unknown>((resolve, reject) => {
        lookup(host, { all: true }, (error, addresses) => (error === null ? resolve(addresses) : reject(error)));
      });
    return { asked, ask, lookup };
  }
  const at = (address: string) => [{ address, family: 4 }];

  it('waits for the first answer, once for all who ask', async () => {
    const { asked, ask } = harness();
    const both = Promise.all([ask('leo-1'), ask('leo-1')]);
    assert.equal(asked.length, 1);
    asked[0]?.done(null, at('10.0.0.1'));
    assert.deepEqual(await both, [at('10.0.0.1'), at('10.0.0.1')]);
  });

  it('then answers with what it knows while the resolver is silent, and with the newer answer later', async () => {
    const { asked, ask } = harness();
    const first = ask('leo-1');
    asked[0]?.done(null, at('10.0.0.1'));
    await first;
    assert.deepEqual(await ask('leo-1'), at('10.0.0.1'));
    assert.equal(asked.length, 2, 'asked again behind the back');
    assert.deepEqual(await ask('leo-1'), at('10.0.0.1'));
    assert.equal(asked.length, 2, 'and not twice');
    asked[1]?.done(null, at('10.0.0.2'));
    assert.deepEqual(await ask('leo-1'), at('10.0.0.2'));
  });

  it('keeps what it knows when the resolver fails, and tells the failure of a name that it does not know', async () => {
    const { asked, ask } = harness();
    const first = ask('leo-1');
    asked[0]?.done(null, at('10.0.0.1'));
    await first;
    await ask('leo-1');
    asked[1]?.done(new Error('EAI_AGAIN'), []);
    assert.deepEqual(await ask('leo-1'), at('10.0.0.1'));
    const unknown = ask('leo-9');
    asked.at(-1)?.done(new Error('ENOTFOUND'), []);
    await assert.rejects(unknown, /ENOTFOUND/);
  });

  it("tells a failure of the system's resolver, and finds what it knows", async () => {
    const lookup = createRememberedLookup();
    const ask = (host: string) =>
      new Promise<unknown>((resolve, reject) => {
        lookup(host, { all: true }, (error, addresses) => (error === null ? resolve(addresses) : reject(error)));
      });
    await assert.rejects(ask('no-such-host.invalid'), { syscall: 'getaddrinfo' });
    assert.ok(((await ask('localhost')) as unknown[]).length > 0);
  });

  it('asks a silent resolver for two known names at a time and no more, so that threads stay free', async () => {
    const { asked, ask } = harness();
    const names = ['leo-1', 'leo-2', 'leo-3', 'leo-4'];
    for (const name of names) {
      const first = ask(name);
      asked.at(-1)?.done(null, at('10.0.0.1'));
      await first;
    }
    asked.length = 0;
    for (const name of names) await ask(name);
    assert.deepEqual(
      asked.map(({ host }) => host),
      ['leo-1', 'leo-2'],
    );
  });

  it('does not ask again for what is fresh, and gives one address to those who want one', async () => {
    const { asked, ask, lookup } = harness(60_000);
    const first = ask('leo-1');
    asked[0]?.done(null, at('10.0.0.1'));
    await first;
    const one = await new Promise((resolve) => {
      lookup('leo-1', {}, (_error, address, family) => resolve([address, family]));
    });
    assert.deepEqual(one, ['10.0.0.1', 4]);
    assert.equal(asked.length, 1);
  });
});

describe('a lookup of two names of one server', () => {
  const table: Record<string, string[]> = { pod: ['127.62.9.9'], service: ['127.62.9.1'], both: ['127.62.9.1'] };
  const lookup = createRememberedLookup({
    resolve: (host, done) => {
      const addresses = (table[host] ?? []).map((address) => ({ address, family: 4 }));
      setImmediate(() => done(addresses.length === 0 ? new Error(`no ${host}`) : null, addresses));
    },
  });
  const ask = (host: string, otherwise: string | undefined) =>
    new Promise<unknown>((resolve, reject) => {
      lookupWith(lookup, otherwise)(host, { all: true }, (error, found) => (error ? reject(error) : resolve(found)));
    });
  const addressesOf = async (host: string, otherwise: string | undefined) =>
    ((await ask(host, otherwise)) as { address: string }[]).map(({ address }) => address);

  it('gives the addresses of both, each once, and those of one where the other is unknown', async () => {
    assert.deepEqual(await addressesOf('pod', 'service'), ['127.62.9.9', '127.62.9.1']);
    assert.deepEqual(await addressesOf('both', 'service'), ['127.62.9.1']);
    assert.deepEqual(await addressesOf('gone', 'service'), ['127.62.9.1']);
    assert.deepEqual(await addressesOf('pod', 'gone'), ['127.62.9.9']);
    assert.deepEqual(await addressesOf('pod', undefined), ['127.62.9.9']);
    await assert.rejects(ask('gone', 'away'), /no gone/);
  });

  it('lets a connection reach the second where nobody is at the first', async () => {
    const server = createServer((socket) => socket.end());
    await new Promise<void>((resolve) => server.listen(0, '127.62.9.1', resolve));
    const { port } = server.address() as AddressInfo;
    const socket = connect({ host: 'pod', port, lookup: lookupWith(lookup, 'service') });
    await new Promise((resolve, reject) => socket.once('connect', () => resolve(null)).once('error', reject));
    assert.equal(socket.remoteAddress, '127.62.9.1');
    socket.destroy();
    server.close();
  });
});
