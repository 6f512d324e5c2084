import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { needs } from '../../../test/kit/requirement.ts';
import { assertAddressesFree, chooseSubnet, hostAddresses } from './addresses.ts';

/** Of this file alone, so that no other test binds here. */
const SUBNET = '127.63.2';
const PORT = 6632;

async function listen(host: string): Promise<{ [Symbol.asyncDispose](): Promise<void> }> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(PORT, host, resolve));
  return { [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())) };
}

test('passes over a range in which somebody holds one of the addresses', needs('loopback'), async () => {
  await using _held = await listen(`${SUBNET}.4`);
  const rolls = [2 / 254, 3 / 254];
  const subnet = await chooseSubnet({
    range: '127.63',
    count: 5,
    ports: [PORT],
    random: () => (rolls.shift() ?? 0) - 1e-9,
  });
  assert.equal(subnet, '127.63.3');
});

test('names the process that holds an address of a site', needs('loopback'), async () => {
  await using _held = await listen(`${SUBNET}.5`);
  await assert.rejects(assertAddressesFree(hostAddresses(SUBNET, 9), [PORT]), (error: Error & { code: string }) => {
    assert.equal(error.code, 'ADDRESS_HELD');
    assert.match(error.message, new RegExp(`process ${process.pid} \\(.+\\) holds ${SUBNET}\\.5:${PORT}`));
    return true;
  });
});

test('names the process that holds the port on all addresses', needs('loopback', 'netns', 'ip'), async () => {
  // In a network of its own: nobody else may find port 5432 taken.
  const script = `
    import { createServer } from 'node:net';
    import { chooseSubnet } from ${JSON.stringify(join(import.meta.dirname, 'addresses.ts'))};
    createServer().listen(5432, '0.0.0.0', async () => {
      const request = { range: '127', count: 3, ports: [5432], random: () => 0.5 };
      const error = await chooseSubnet(request).catch((caught) => caught);
      console.log(JSON.stringify({ pid: process.pid, code: error.code, message: error.message }));
      process.exit();
    });`;
  const command = 'ip link set lo up && exec "$0" --input-type=module -e "$1"';
  const { stdout } = await promisify(execFile)('unshare', ['-n', 'sh', '-c', command, process.execPath, script]);
  const { pid, code, message } = JSON.parse(stdout);
  assert.equal(code, 'PORT_HELD_EVERYWHERE');
  assert.match(message, new RegExp(`process ${pid} .* holds it on all addresses \\(0\\.0\\.0\\.0\\)`));
});
