/** Servers that freeze, die or live on without their agent, as the watch over lost nodes sees them. */
import assert from 'node:assert/strict';
import * as net from 'node:net';
import { test } from 'node:test';
import type { Peer } from '../../api/agent-config.ts';
import { waitUntil } from '../../base/wait-until.ts';
import { watchLostNodes } from './lost-nodes.ts';

const HOST = '127.62.7.1';
const SOON = { timeoutMs: 10_000 } as const;

const peerAt = (node: string, port: number): Peer => ({
  node,
  group: 'leo',
  postgres: { host: node, address: HOST, port },
  agent: { host: node, address: HOST, port: 1 },
  priority: 1,
  votes: true,
});

test('gives up a node that takes connections and answers none, and no other', async () => {
  const listen = async (onConnection: (socket: net.Socket) => void): Promise<net.Server> => {
    const server = net.createServer(onConnection);
    await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
    return server;
  };
  const portOf = (server: net.Server): number => (server.address() as net.AddressInfo).port;
  const sockets: net.Socket[] = [];
  let asked = 0;
  const frozen = await listen((socket) => void sockets.push(socket.on('error', () => {})));
  const alive = await listen((socket) => {
    asked += 1;
    sockets.push(socket.on('error', () => {}));
    socket.once('data', () => socket.write('S'));
  });
  const gone = await listen(() => {});
  const refusingPort = portOf(gone);
  gone.close();
  const silent = [peerAt('frozen', portOf(frozen)), peerAt('alive', portOf(alive)), peerAt('refusing', refusingPort)];
  const lost: string[] = [];
  const watch = watchLostNodes({
    silentNodes: () => silent.filter((peer) => !lost.includes(peer.node)),
    sourceAddress: () => null,
    connectTimeoutMs: () => 60,
    onLost: (node) => lost.push(node),
    checkMs: 50,
    lostMs: 400,
  });
  await waitUntil(
    'one is given up, and the living one was asked long after',
    SOON,
    () => lost.length > 0 && asked > 20,
  );
  assert.deepEqual(lost, ['frozen']);
  watch.close();
  for (const socket of sockets) socket.destroy();
  for (const server of [frozen, alive]) server.close();
});

test('starts to count again when the agent is heard in between', async () => {
  let isSilent = true;
  let checks = 0;
  const lost: string[] = [];
  // Nothing listens at this address: a probe would be refused, and refusal is a sign of life; so use an unroutable one.
  const peer = { ...peerAt('cut', 5432), postgres: { host: 'cut', address: '240.0.0.1', port: 5432 } };
  const watch = watchLostNodes({
    silentNodes: () => {
      checks += 1;
      // Heard for one check in every four.
      isSilent = checks % 4 !== 0;
      return isSilent ? [peer] : [];
    },
    sourceAddress: () => null,
    connectTimeoutMs: () => 20,
    onLost: (node) => lost.push(node),
    checkMs: 30,
    lostMs: 150,
  });
  await waitUntil('it was checked often', SOON, () => checks > 30);
  watch.close();
  assert.deepEqual(lost, []);
});
