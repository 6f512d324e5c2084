/** Secrets: keys of nodes and proxies, and the logins with all that an application needs to connect (requirement A9). */
import { type ConnectionSpec, formatJdbc, formatPgpass, formatUri } from '../../core/connection/formats.ts';
import { appSecret, SUPERUSER, superuserSecret } from '../../core/topology/names.ts';
import type { ConnectionPlan } from '../../core/topology/plan-types.ts';
import type { WorkloadType } from '../../api/labels.ts';
import type { Secret } from '../../platform/kubernetes/object-types.ts';
import { ownedMetadata } from './metadata.ts';
import { etcdTlsSecret, nodeTlsSecret, proxyTlsSecret, rolesSecret } from './object-names.ts';
import { APP_FOLDER } from './pod-places.ts';
import type { CertificatePair, Login, RenderInput } from './render-input.ts';

export function renderSecrets(input: RenderInput): Secret[] {
  const { groupPlan, facts } = input;
  const nodes = groupPlan.nodes.map(({ name }) => {
    const replication = pairOf(facts.replicationCertificates, name);
    return tlsSecret(input, nodeTlsSecret(name), pairOf(facts.certificates, name), {
      'replication.crt': replication.certificate,
      'replication.key': replication.key,
    });
  });
  const [proxy] = groupPlan.proxies;
  const proxies =
    proxy === undefined
      ? []
      : [tlsSecret(input, proxyTlsSecret(groupPlan.name), pairOf(facts.certificates, proxy.name), {}, 'proxy')];
  const { etcd } = groupPlan;
  if (etcd !== null)
    proxies.push(tlsSecret(input, etcdTlsSecret(etcd.name), pairOf(facts.certificates, etcd.name), {}, 'etcd'));
  if (groupPlan.nodes.length === 0) return proxies;
  const logins = [loginSecret(input, appSecret(groupPlan.name), facts.app)];
  if (groupPlan.bootstrap.superuserAccess) {
    if (facts.superuserPassword === null)
      throw new RangeError(`Cannot render the superuser's Secret of "${groupPlan.name}": no password is given`);
    const superuser = { username: SUPERUSER, password: facts.superuserPassword };
    logins.push(loginSecret(input, superuserSecret(groupPlan.name), superuser));
  }
  return [...nodes, ...proxies, ...logins, roleSecret(input)];
}

/** Always there and always mounted, so that a new role needs no new pod. */
function roleSecret(input: RenderInput): Secret {
  const { groupPlan, facts } = input;
  const known = groupPlan.roles.flatMap(({ name, hasPassword }): [string, string][] => {
    const password = facts.rolePasswords[name];
    return hasPassword && password !== undefined ? [[name, password]] : [];
  });
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: ownedMetadata(input, rolesSecret(groupPlan.name)),
    type: 'Opaque',
    data: encode(Object.fromEntries(known)),
  };
}

function tlsSecret(
  input: RenderInput,
  name: string,
  { certificate, key }: CertificatePair,
  more: Readonly<Record<string, string>>,
  workload: WorkloadType = 'postgres',
): Secret {
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: ownedMetadata(input, name, { workload }),
    type: 'kubernetes.io/tls',
    data: encode({ 'tls.crt': certificate, 'tls.key': key, 'ca.crt': input.facts.trustBundle, ...more }),
  };
}

function loginSecret(input: RenderInput, name: string, login: Login): Secret {
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: ownedMetadata(input, name),
    type: 'kubernetes.io/basic-auth',
    data: encode(loginTexts(input, login)),
  };
}

/**
 * Every form in which clients take a connection. The names are the global ones, which survive the loss of a group; only
 * without any proxy the nodes' own. `*-uri` name the CA's file where this Secret is mounted at APP_FOLDER.
 */
export function loginTexts({ plan, facts }: RenderInput, { username, password }: Login): Record<string, string> {
  const find = (purpose: ConnectionPlan['purpose']) => plan.connections.find((one) => one.purpose === purpose);
  const failover = find('failover');
  const write = find('write') ?? failover;
  if (write === undefined || failover === undefined) throw new RangeError('Cannot find the connections of the plan');
  const spec = (connection: ConnectionPlan): ConnectionSpec => ({
    hosts: connection.hosts.map((host) => ({ host, address: null, port: connection.port })),
    database: connection.database,
    user: username,
    password,
    passfile: null,
    sslRootCert: `${APP_FOLDER}/ca.crt`,
    targetSessionAttrs: connection.targetSessionAttrs,
    directTls: false,
  });
  const all = spec(write);
  const read = find('read');
  const hosts = [write, failover, ...(read === undefined ? [] : [read])].flatMap((one) => spec(one).hosts);
  return {
    username,
    password,
    host: all.hosts.map(({ host }) => host).join(','),
    port: String(write.port),
    dbname: write.database,
    uri: formatUri(all),
    'jdbc-uri': formatJdbc(all),
    pgpass: `${formatPgpass({ ...all, hosts })}\n`,
    'failover-uri': formatUri(spec(failover)),
    'failover-jdbc-uri': formatJdbc(spec(failover)),
    ...(read === undefined
      ? {}
      : {
          'read-host': read.hosts.join(','),
          'read-uri': formatUri(spec(read)),
          'read-jdbc-uri': formatJdbc(spec(read)),
        }),
    'ca.crt': facts.trustBundle,
  };
}

function pairOf(pairs: Readonly<Record<string, CertificatePair>>, name: string): CertificatePair {
  const pair = pairs[name];
  if (pair === undefined) throw new RangeError(`Cannot render the Secret of "${name}": no certificate is given for it`);
  return pair;
}

function encode(texts: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(texts).map(([key, text]) => [key, Buffer.from(text, 'utf8').toString('base64')]),
  );
}
