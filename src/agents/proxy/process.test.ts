/** The proxy as the process that a platform runs: signals, drain, and what it says when it cannot start. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import * as https from 'node:https';
import * as net from 'node:net';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { createProxyRig, type ProxyRig } from '../../../test/kit/proxy-rig.ts';
import { needs } from '../../../test/kit/requirement.ts';
import { waitUntil } from '../../base/wait-until.ts';

const SOON = { timeoutMs: 15_000 } as const;
const MAIN = join(import.meta.dirname, '../../cli/main.ts');

interface Program {
  readonly process: ChildProcess;
  output: string;
  readonly exit: Promise<number | null>;
}

function start(configFile: string): Program {
  const child = spawn(process.execPath, [MAIN, 'proxy', '--config', configFile], { stdio: ['ignore', 'pipe', 'pipe'] });
  const exit = new Promise<number | null>((resolve) => child.once('close', resolve));
  const program: Program = { process: child, output: '', exit };
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      program.output += text;
    });
  }
  return program;
}

suite('the program "proxy"', needs('postgres', 'psql', 'loopback'), () => {
  let rig: ProxyRig;
  before(async () => {
    rig = await createProxyRig({ net: 4, startProxy: false });
  });
  after(() => rig?.[Symbol.asyncDispose]());

  function readiness(): Promise<number> {
    return new Promise((resolve) => {
      const options = { host: rig.address, port: 8443, path: '/readyz', ca: rig.pki.ca.authorityPem, agent: false };
      https
        .get(options, (response) => {
          response.resume();
          resolve(response.statusCode ?? 0);
        })
        .on('error', () => resolve(0));
    });
  }

  async function startReady(change: Parameters<ProxyRig['writeConfig']>[0]): Promise<Program> {
    await rig.writeConfig(change);
    const program = start(rig.configFile);
    await waitUntil('the proxy is ready', SOON, async () => (await readiness()) === 200).catch((error: Error) => {
      program.process.kill('SIGKILL');
      throw new Error(program.output, { cause: error });
    });
    return program;
  }

  test('drains on SIGTERM: takes nobody new, lets a session finish, then ends', async () => {
    const program = await startReady({ limits: { drainMs: 20_000 } });
    const session = rig.session();
    session.send("select 'open';");
    await waitUntil('the session is open', SOON, () => session.output.includes('open'));
    program.process.kill('SIGTERM');
    await waitUntil('new connections are refused', SOON, () =>
      rig.query('select 1').then(
        () => false,
        (error: Error) => /Connection refused/.test(error.message),
      ),
    );
    assert.equal(await readiness(), 503);
    session.send("select 'still here';");
    await waitUntil('the session answers', SOON, () => session.output.includes('still here'));
    session.end();
    assert.equal(await session.ended, 0);
    assert.equal(await program.exit, 0, program.output);
    for (const line of program.output.trim().split('\n')) assert.doesNotThrow(() => JSON.parse(line), line);
  });

  test('ends what is left when the time to drain is over', async () => {
    const program = await startReady({ limits: { drainMs: 300 } });
    const session = rig.session();
    session.send("select 'open'; select pg_sleep(60);");
    await waitUntil('the session is open', SOON, () => session.output.includes('open'));
    program.process.kill('SIGTERM');
    assert.equal(await program.exit, 0);
    assert.notEqual(await session.ended, 0);
    // FIN, not a reset.
    assert.match(
      session.output,
      /server closed the connection unexpectedly|SSL connection has been closed|EOF detected|unexpected eof while reading/,
    );
  });

  test('takes its configuration again on SIGHUP, and keeps the old one when the new one is wrong', async () => {
    const program = await startReady({ limits: { drainMs: 0 } });
    await writeFile(rig.configFile, '{"generation":');
    program.process.kill('SIGHUP');
    await waitUntil('it says so', SOON, () => program.output.includes('configuration not loaded'));
    assert.equal(await rig.query('select 1'), '1');
    const { generation } = rig.config();
    await rig.writeConfig({ limits: { drainMs: 0 } });
    program.process.kill('SIGHUP');
    await waitUntil('it has the new one', SOON, () => program.output.includes(`"generation":${generation + 1}`));
    program.process.kill('SIGTERM');
    assert.equal(await program.exit, 0);
  });

  test('says what is wrong with its configuration', async () => {
    await writeFile(rig.configFile, JSON.stringify({ ...rig.config(), limits: { connectionsMax: 0 } }));
    const program = start(rig.configFile);
    assert.notEqual(await program.exit, 0);
    assert.match(program.output, /Cannot use ".*proxy\.json": limits\.connectionsMax: /);
    assert.match(program.output, /PROXY_CONFIG_INVALID/);
  });

  test('says that its port is taken', async () => {
    await rig.writeConfig();
    const holder = net.createServer();
    await new Promise<void>((resolve) => holder.listen(5432, rig.address, resolve));
    const program = start(rig.configFile);
    assert.notEqual(await program.exit, 0);
    holder.close();
    assert.match(program.output, /Cannot listen on "127\.62\.4\.100" port 5432: another process listens there/);
  });
});
