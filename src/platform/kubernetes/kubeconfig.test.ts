import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { UserError } from '../../base/user-error.ts';
import { openKubeContext } from './kubeconfig.ts';

suite('kubeconfig files', () => {
  let folder: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'pgspan-kubeconfig-'));
  });
  after(() => rmSync(folder, { recursive: true }));

  const write = (name: string, content: object | string): string => {
    const path = join(folder, name);
    mkdirSync(join(path, '..'), { recursive: true });
    writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
    return path;
  };
  const config = (user: object, more: object = {}) => ({
    'current-context': 'first',
    contexts: [{ name: 'first', context: { cluster: 'c', user: 'u', namespace: 'shop' } }],
    clusters: [{ name: 'c', cluster: { server: 'https://one.example:6443', ...more } }],
    users: [{ name: 'u', user }],
  });
  const open = (KUBECONFIG: string, context?: string) => openKubeContext({ context }, { KUBECONFIG, HOME: '/nowhere' });
  const refused = (code: string) => (error: unknown) => error instanceof UserError && error.code === code;

  test('give server, namespace, CA and token of the current context', async () => {
    const ca = Buffer.from('the CA').toString('base64');
    const { name, namespace, dial } = await open(
      write(
        'plain',
        config({ token: 'secret' }, { 'certificate-authority-data': ca, 'tls-server-name': 'kubernetes' }),
      ),
    );
    assert.deepEqual([name, namespace, dial.server.href], ['first', 'shop', 'https://one.example:6443/']);
    assert.deepEqual(dial.tls, { ca: 'the CA', servername: 'kubernetes', rejectUnauthorized: true });
    assert.deepEqual(await dial.headers(), { authorization: 'Bearer secret' });
  });

  test('are merged, the first that names a thing wins, and one that is missing is passed over', async () => {
    const first = write('first', { contexts: [{ name: 'second', context: { cluster: 'c' } }] });
    const second = write('second', { ...config({ token: 't' }), 'current-context': 'second' });
    const { name, namespace, dial } = await open([join(folder, 'none'), first, second].join(delimiter));
    assert.deepEqual([name, namespace], ['second', 'default']);
    assert.deepEqual(await dial.headers(), {}, 'that context has no user');
    assert.equal((await open([first, second].join(delimiter), 'first')).namespace, 'shop');
  });

  test('name files relative to themselves', async () => {
    write('deep/token', 'from a file\n');
    write('deep/ca.crt', 'the CA');
    const { dial } = await open(
      write('deep/config', config({ tokenFile: 'token' }, { 'certificate-authority': 'ca.crt' })),
    );
    assert.deepEqual(await dial.headers(), { authorization: 'Bearer from a file' });
    assert.equal(dial.tls.ca, 'the CA');
  });

  test('ask a plugin once as long as its answer holds, with what it needs in its environment', async () => {
    const plugin = write(
      'plugin',
      `#!/bin/sh
echo asked >>"$COUNT"
test "$1" = get-token && echo "$KUBERNETES_EXEC_INFO" | grep -q '"kind":"ExecCredential"' || exit 1
echo '{"kind":"ExecCredential","status":{"token":"from the plugin","expirationTimestamp":"'$EXPIRY'"}}'`,
    );
    chmodSync(plugin, 0o755);
    const count = write('count', '');
    const asked = async (expiry: string) => {
      write('count', '');
      const env = [
        { name: 'COUNT', value: count },
        { name: 'EXPIRY', value: expiry },
      ];
      const exec = { command: './plugin', args: ['get-token'], env, apiVersion: 'client.authentication.k8s.io/v1' };
      const { dial } = await open(write('with-plugin', config({ exec })));
      for (let time = 0; time < 2; time += 1)
        assert.deepEqual(await dial.headers(), { authorization: 'Bearer from the plugin' });
      const { readFileSync } = await import('node:fs');
      return readFileSync(count, 'utf8').split('\n').length - 1;
    };
    assert.equal(await asked('2999-01-01T00:00:00Z'), 1);
    assert.equal(await asked('2020-01-01T00:00:00Z'), 3, 'an answer that has expired is asked for anew');
  });

  test('that cannot be used are refused with the reason', async () => {
    const exec = { command: '/bin/false', apiVersion: 'client.authentication.k8s.io/v1', installHint: 'Install it.' };
    await assert.rejects(open(write('a', config({ exec }))), refused('KUBE_PLUGIN_FAILED'));
    await assert.rejects(open(write('b', 'clusters: [')), refused('KUBECONFIG_INVALID'));
    await assert.rejects(open(write('c', { clusters: 'none' })), refused('KUBECONFIG_INVALID'));
    await assert.rejects(open(write('d', config({}, { 'proxy-url': 'http://x' }))), refused('KUBECONFIG_INVALID'));
    await assert.rejects(open(write('e', config({ 'client-key': 'none' }))), refused('KUBECONFIG_INVALID'));
    await assert.rejects(open(write('f', config({})), 'other'), refused('KUBE_CONTEXT_UNKNOWN'));
    await assert.rejects(open(write('g', {})), refused('KUBE_CONTEXT_UNKNOWN'));
    await assert.rejects(open(join(folder, 'none')), refused('KUBECONFIG_MISSING'));
  });
});
