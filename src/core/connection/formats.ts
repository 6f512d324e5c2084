/**
 * Connection strings for applications and people, in the forms that clients take. Pure text: no file is read, nothing resolved.
 *
 * Names of the database's certificates need not resolve on the machine of the reader, so that libpq gets `host` (which is
 * verified) and `hostaddr` (which is dialled). Clients without hostaddr dial the address, which is an IP SAN.
 */
export interface ConnectionHost {
  /** Name that the certificate carries. */
  readonly host: string;
  /** Address to dial instead of resolving `host`, or null. */
  readonly address: string | null;
  readonly port: number;
}

export type TargetSessionAttrs = 'any' | 'read-write' | 'prefer-standby';

export interface ConnectionSpec {
  /** Tried in this order. At least one. */
  readonly hosts: readonly ConnectionHost[];
  readonly database: string;
  readonly user: string;
  /** null: leave it out. */
  readonly password: string | null;
  /** File with the password for libpq (passfile), used where `password` is null; or null. */
  readonly passfile: string | null;
  /** Absolute path of the trust bundle. */
  readonly sslRootCert: string;
  readonly targetSessionAttrs: TargetSessionAttrs;
  /** TLS from the first byte (ALPN `postgresql`): PostgreSQL 17 or later, libpq 17 or later. */
  readonly directTls: boolean;
}

/** Seconds for each of several hosts: one that is cut off must not hold up the next one for the kernel's two minutes. */
const CONNECT_TIMEOUT_S = 3;
/** For one name alone: a proxy holds a connection during a failover, of seconds at most, and there is no next host to try. */
const CONNECT_TIMEOUT_ALONE_S = 10;
const connectTimeout = ({ hosts }: Pick<ConnectionSpec, 'hosts'>): string =>
  String(hosts.length > 1 ? CONNECT_TIMEOUT_S : CONNECT_TIMEOUT_ALONE_S);

/** `postgresql://…`, RFC 3986 escapes. @param byAddress no names, no hostaddr: for clients other than libpq. */
export function formatUri(spec: ConnectionSpec, options: { readonly byAddress?: boolean } = {}): string {
  const hosts = spec.hosts.map((one) => (options.byAddress ? addressOf(one) : one.host));
  const ports = spec.hosts.map(({ port }) => port);
  const authority = hosts.map((host, index) => `${host.includes(':') ? `[${host}]` : host}:${ports[index]}`).join(',');
  const addresses = options.byAddress ? null : hostAddresses(spec);
  const parameters: [string, string | null][] = [
    ['hostaddr', addresses],
    ['sslmode', 'verify-full'],
    ['sslrootcert', spec.sslRootCert],
    ['sslnegotiation', spec.directTls ? 'direct' : null],
    ['passfile', spec.password === null && !options.byAddress ? spec.passfile : null],
    ['connect_timeout', connectTimeout(spec)],
    ['target_session_attrs', spec.targetSessionAttrs === 'any' ? null : spec.targetSessionAttrs],
  ];
  const query = parameters
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${name}=${escapeQuery(value ?? '')}`);
  const password = spec.password === null ? '' : `:${encodeURIComponent(spec.password)}`;
  return `postgresql://${encodeURIComponent(spec.user)}${password}@${authority}/${encodeURIComponent(spec.database)}?${query.join('&')}`;
}

/** Variables of libpq, by name. The password stands in a file where there is one: an environment is easily seen and inherited. */
export function connectionVariables(spec: ConnectionSpec): Record<string, string> {
  const variables: [string, string | null][] = [
    ['PGHOST', spec.hosts.map(({ host }) => host).join(',')],
    ['PGHOSTADDR', hostAddresses(spec)],
    ['PGPORT', spec.hosts.map(({ port }) => port).join(',')],
    ['PGDATABASE', spec.database],
    ['PGUSER', spec.user],
    ['PGPASSFILE', spec.passfile],
    ['PGPASSWORD', spec.passfile === null ? spec.password : null],
    ['PGSSLMODE', 'verify-full'],
    ['PGSSLROOTCERT', spec.sslRootCert],
    ['PGSSLNEGOTIATION', spec.directTls ? 'direct' : null],
    ['PGCONNECT_TIMEOUT', connectTimeout(spec)],
    ['PGTARGETSESSIONATTRS', spec.targetSessionAttrs === 'any' ? null : spec.targetSessionAttrs],
  ];
  return Object.fromEntries(variables.filter((one): one is [string, string] => one[1] !== null));
}

/** Lines for `eval` in a shell. */
export function formatEnv(spec: ConnectionSpec): string {
  return Object.entries(connectionVariables(spec))
    .map(([name, value]) => `export ${name}=${quoteForShell(value)}`)
    .join('\n');
}

/** For pgjdbc, which has no hostaddr and its own words for target_session_attrs. */
export function formatJdbc(spec: ConnectionSpec): string {
  const hosts = spec.hosts.map((one) => `${addressOf(one)}:${one.port}`).join(',');
  const serverType = { any: null, 'read-write': 'primary', 'prefer-standby': 'preferSecondary' }[
    spec.targetSessionAttrs
  ];
  const parameters: [string, string | null][] = [
    ['user', spec.user],
    ['password', spec.password],
    ['sslmode', 'verify-full'],
    ['sslrootcert', spec.sslRootCert],
    ['sslNegotiation', spec.directTls ? 'direct' : null],
    ['connectTimeout', connectTimeout(spec)],
    ['targetServerType', serverType],
  ];
  const query = parameters
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${name}=${encodeURIComponent(value ?? '')}`);
  return `jdbc:postgresql://${hosts}/${encodeURIComponent(spec.database)}?${query.join('&')}`;
}

/** Lines of a .pgpass, by each name: libpq looks up `host`, not `hostaddr`. And by each address, for those who dial it. */
export function formatPgpass(spec: Pick<ConnectionSpec, 'hosts' | 'database' | 'user' | 'password'>): string {
  const password = spec.password ?? '';
  const names = spec.hosts.flatMap(({ host, address, port }) => [`${host}:${port}`, `${address ?? host}:${port}`]);
  const escaped = [spec.database, spec.user, password].map((text) => text.replace(/[\\:]/g, '\\$&')).join(':');
  return [...new Set(names)].map((name) => `${name}:${escaped}`).join('\n');
}

/** Everything in one object: single values, and the strings above. */
export function connectionObject(spec: ConnectionSpec): Record<string, unknown> {
  const [first] = spec.hosts;
  return {
    host: first?.host,
    hostaddr: first?.address ?? null,
    port: first?.port,
    hosts: spec.hosts,
    dbname: spec.database,
    user: spec.user,
    username: spec.user,
    password: spec.password,
    sslmode: 'verify-full',
    sslrootcert: spec.sslRootCert,
    targetSessionAttrs: spec.targetSessionAttrs,
    passfile: spec.passfile,
    uri: formatUri(spec),
    uriByAddress: formatUri(spec, { byAddress: true }),
    jdbcUri: formatJdbc(spec),
    pgpass: formatPgpass(spec),
  };
}

/** One address for each host, in their order, or null where none is known: libpq wants as many as hosts, and an empty one resolves. */
function hostAddresses({ hosts }: ConnectionSpec): string | null {
  return hosts.every(({ address }) => address === null) ? null : hosts.map(({ address }) => address ?? '').join(',');
}

function addressOf({ host, address }: ConnectionHost): string {
  return address ?? host;
}

/** Readable paths and lists: "/" and "," need no escape in a query (RFC 3986, section 3.4). */
function escapeQuery(text: string): string {
  return encodeURIComponent(text).replaceAll('%2F', '/').replaceAll('%2C', ',');
}

function quoteForShell(text: string): string {
  return /^[A-Za-z0-9_./:,@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
