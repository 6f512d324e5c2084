import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ConnectionSpec, formatEnv, formatJdbc, formatPgpass, formatUri } from './formats.ts';

const genSpec = (change: Partial<ConnectionSpec> = {}): ConnectionSpec => ({
  hosts: [
    { host: 'orders.example.com', address: '127.0.0.2', port: 5432 },
    { host: 'orders.example.com', address: '127.0.0.5', port: 5432 },
  ],
  database: 'app',
  user: 'app',
  password: 'secret',
  passfile: '/state/pgpass',
  sslRootCert: '/state/ca.crt',
  targetSessionAttrs: 'read-write',
  directTls: false,
  ...change,
});

test('a URI carries names to verify and addresses to dial, one for each host', () => {
  assert.equal(
    formatUri(genSpec()),
    'postgresql://app:secret@orders.example.com:5432,orders.example.com:5432/app' +
      '?hostaddr=127.0.0.2,127.0.0.5&sslmode=verify-full&sslrootcert=/state/ca.crt&connect_timeout=3&target_session_attrs=read-write',
  );
});

test('without a password a URI names the password file', () => {
  const uri = formatUri(genSpec({ password: null }));
  assert.match(uri, /^postgresql:\/\/app@orders/);
  assert.match(uri, /&passfile=\/state\/pgpass&/);
});

test('by address there is no name, no hostaddr, and no file of libpq', () => {
  const uri = formatUri(genSpec({ password: null }), { byAddress: true });
  assert.match(uri, /^postgresql:\/\/app@127\.0\.0\.2:5432,127\.0\.0\.5:5432\/app\?sslmode=/);
  assert.doesNotMatch(uri, /hostaddr|passfile|example/);
});

test('names that resolve have no hostaddr; direct TLS and any server say so', () => {
  const hosts = [{ host: 'orders.example.com', address: null, port: 5432 }];
  const uri = formatUri(genSpec({ hosts, directTls: true, targetSessionAttrs: 'any' }));
  assert.match(uri, /sslnegotiation=direct/);
  assert.doesNotMatch(uri, /hostaddr|target_session_attrs/);
});

test('special characters survive in every form', () => {
  const odd = genSpec({ user: 'a b', password: `p@:/?#&='\\`, database: 'd/b', sslRootCert: `/o'dd dir/ca&.crt` });
  const url = new URL(formatUri({ ...odd, hosts: odd.hosts.slice(0, 1) }));
  assert.equal(decodeURIComponent(url.username), 'a b');
  assert.equal(decodeURIComponent(url.password), `p@:/?#&='\\`);
  assert.equal(decodeURIComponent(url.pathname), '/d/b');
  assert.equal(url.searchParams.get('sslrootcert'), `/o'dd dir/ca&.crt`);
  assert.equal(
    new URL(formatJdbc(odd).slice('jdbc:'.length).replace(',127.0.0.5:5432', '')).searchParams.get('password'),
    `p@:/?#&='\\`,
  );
  assert.match(formatEnv(odd), /export PGSSLROOTCERT='\/o'\\''dd dir\/ca&\.crt'/);
  assert.equal(formatPgpass(odd).split('\n')[0], `orders.example.com:5432:d/b:a b:p@\\:/?#&='\\\\`);
});

test('JDBC dials addresses and has its own word for the leader', () => {
  assert.match(formatJdbc(genSpec()), /^jdbc:postgresql:\/\/127\.0\.0\.2:5432,127\.0\.0\.5:5432\/app\?user=app/);
  assert.match(formatJdbc(genSpec()), /targetServerType=primary$/);
});

test('an environment holds a password only where there is no file for it', () => {
  assert.doesNotMatch(formatEnv(genSpec()), /PGPASSWORD|secret/);
  assert.match(formatEnv(genSpec({ passfile: null })), /export PGPASSWORD=secret/);
});
