/**
 * One manifest for each kind of mistake that one group can have. What `kubectl apply` says to each is in
 * manifest-mistakes.yaml beside this file, recorded from a real API server (crd.kube.test.ts compares); what only pgspan itself sees
 * is computed. The page docs/reference/mistakes.md is made of both (scripts/mistakes-reference.ts).
 */
export interface Mistake {
  /** What somebody did, in words. */
  readonly title: string;
  /** Merged over `.spec` of a valid group. */
  readonly spec: Readonly<Record<string, unknown>>;
  /** Default `leo`. */
  readonly name?: string;
  /** The group is there already with this merged over it, and is changed. */
  readonly before?: Readonly<Record<string, unknown>>;
}

const DNS = { domain: 'db.example.com' };
const connectivity = (more: Readonly<Record<string, unknown>>) => ({ connectivity: { dns: DNS, ...more } });
const issuer = { issuerRef: { name: 'letsencrypt' } };
const template = (more: Readonly<Record<string, unknown>>) => connectivity({ proxyServiceTemplate: more });

export const MISTAKES: readonly Mistake[] = [
  // Fields and values.
  { title: 'a field that does not exist', spec: { storage: { siz: '20Gi' } } },
  { title: 'a required field left out', spec: { connectivity: { dns: { domain: undefined } } } },
  { title: 'a value of another type', spec: { instances: 'three' } },
  { title: 'a number out of range', spec: { instances: 33 } },
  { title: 'a word that is none of the choices', spec: { role: 'readonly' } },
  { title: 'an amount with an unknown unit', spec: { storage: { size: '20GB' } } },
  { title: 'a fraction that is not written as text', spec: { resources: { limits: { cpu: 0.5 } } } },
  { title: 'a length of time that is none', spec: { replication: { memberTimeout: 'soon' } } },
  { title: 'a domain with capitals', spec: { connectivity: { dns: { domain: 'DB.example.com' } } } },
  { title: 'a host suffix that is none', spec: { connectivity: { dns: { ...DNS, hostSuffix: '-West' } } } },
  { title: 'the name of a group that begins with a digit', name: '1leo', spec: {} },
  { title: 'the name of a group that is too long', name: `leo${'o'.repeat(40)}`, spec: {} },
  { title: 'the name of an object that Kubernetes has not', spec: { storage: { storageClass: 'Fast' } } },
  { title: 'a database with capitals', spec: { bootstrap: { database: 'Orders' } } },
  { title: 'a list or mapping as a setting', spec: { postgresql: { parameters: { work_mem: { value: '4MB' } } } } },
  {
    title: 'the URL of an etcd with a path',
    spec: { coordination: { store: 'etcd', etcd: { endpoints: ['https://etcd/v3'] } } },
  },
  {
    title: 'a range of addresses that is none',
    spec: connectivity({ loadBalancer: { enabled: true, allowedIPs: ['10.0.0.0/33'] } }),
  },
  { title: 'a single address where a range is meant', spec: { proxySettings: { proxyProtocolFrom: ['10.0.0.1'] } } },
  {
    title: 'the name of a variable that is none',
    spec: { pooler: { type: 'pgpool', pgpool: { env: [{ name: '1st', value: 'x' }] } } },
  },
  { title: 'an attribute that no role has', spec: { roles: [{ name: 'report', attributes: ['ADMIN'] }] } },
  // What may not change.
  {
    title: 'another name of the global cluster',
    before: { globalCluster: { name: 'orders' } },
    spec: { globalCluster: { name: 'shop' } },
  },
  {
    title: 'another storage class',
    before: { storage: { storageClass: 'slow' } },
    spec: { storage: { storageClass: 'fast' } },
  },
  { title: 'a smaller volume', before: { storage: { size: '20Gi' } }, spec: { storage: { size: '10Gi' } } },
  {
    title: 'another store of the record',
    before: {},
    spec: { coordination: { store: 'etcd', etcd: { endpoints: ['https://etcd:2379'] } } },
  },
  {
    title: 'another first database',
    before: { bootstrap: { database: 'orders' } },
    spec: { bootstrap: { database: 'shop' } },
  },
  {
    title: 'another owner of the first database',
    before: { bootstrap: { owner: 'orders' } },
    spec: { bootstrap: { owner: 'shop' } },
  },
  {
    title: 'another major version',
    before: { imageName: 'postgres:17' },
    spec: { imageName: 'postgres:18.1-bookworm' },
  },
  // Sizes.
  { title: 'a volume that is too small', spec: { storage: { size: '100Mi' } } },
  {
    title: 'a request above the limit, processors',
    spec: { resources: { requests: { cpu: 2 }, limits: { cpu: '500m' } } },
  },
  {
    title: 'a request above the limit, memory',
    spec: { resources: { requests: { memory: '2Gi' }, limits: { memory: '1Gi' } } },
  },
  {
    title: 'more shared_buffers than memory',
    spec: { resources: { limits: { memory: '1Gi' } }, postgresql: { parameters: { shared_buffers: '2GB' } } },
  },
  // Names.
  { title: 'the global cluster has the name of the group', spec: { globalCluster: { name: 'leo' } } },
  { title: 'the global cluster has the name of a Service of the group', spec: { globalCluster: { name: 'leo-r' } } },
  {
    title: 'the group has the name of a Service of the global cluster',
    name: 'orders-r',
    spec: { globalCluster: { name: 'orders' } },
  },
  {
    title: 'a suffix with which names are no host names',
    spec: { connectivity: { dns: { ...DNS, hostSuffix: '..west' } } },
  },
  // Other groups.
  {
    title: 'two ways to find the other groups',
    spec: { globalCluster: { peers: [{ group: 'ait' }], discovery: ['ait.example.com'] } },
  },
  { title: 'the group among its own peers', spec: { globalCluster: { peers: [{ group: 'leo' }] } } },
  { title: 'a peer twice', spec: { globalCluster: { peers: [{ group: 'ait' }, { group: 'ait' }] } } },
  {
    title: 'a token to join others in the primary group',
    spec: { globalCluster: { primaryGroup: 'leo', join: { tokenSecretRef: { name: 'token', key: 'token' } } } },
  },
  { title: 'a primary group that is not there', spec: { globalCluster: { primaryGroup: 'loe' } } },
  { title: 'a group in which nobody may lead', spec: { coordination: { priority: 0 } } },
  // Leader and replication.
  { title: 'a fence shorter than the detection', spec: { coordination: { detectionMs: 2000, fenceMs: 1500 } } },
  { title: 'the store of the local platform', spec: { coordination: { store: 'local' } } },
  {
    title: 'endpoints of etcd without its store',
    spec: { coordination: { etcd: { endpoints: ['https://etcd:2379'] } } },
  },
  {
    title: 'http and https for one etcd',
    spec: { coordination: { store: 'etcd', etcd: { endpoints: ['https://etcd-1:2379', 'http://etcd-2:2379'] } } },
  },
  { title: 'a greatest lag without commits in the group', spec: { replication: { maximumLag: '1Gi' } } },
  { title: 'more copies than nodes', spec: { instances: 3, replication: { minCopies: 4 } } },
  // Databases and roles.
  { title: 'a database that PostgreSQL makes', spec: { bootstrap: { database: 'postgres' } } },
  { title: 'a reserved owner', spec: { bootstrap: { owner: 'pg_reader' } } },
  { title: 'a reserved role', spec: { roles: [{ name: 'streaming_replica' }] } },
  { title: 'a role twice', spec: { roles: [{ name: 'report' }, { name: 'report' }] } },
  { title: 'the owner as a role', spec: { roles: [{ name: 'app' }] } },
  { title: 'an attribute and its opposite', spec: { roles: [{ name: 'report', attributes: ['LOGIN', 'NOLOGIN'] }] } },
  { title: 'a superuser without remote superusers', spec: { roles: [{ name: 'root', attributes: ['SUPERUSER'] }] } },
  // A group without nodes.
  { title: 'a read-only witness', spec: { instances: 0, role: 'readOnly' } },
  { title: 'a pooler of a witness', spec: { instances: 0, pooler: { type: 'pgpool' } } },
  { title: 'roles of a witness', spec: { instances: 0, roles: [{ name: 'report' }] } },
  // Traffic.
  {
    title: 'rules of the resolver without it',
    spec: connectivity({ splitDNS: { extraRules: [{ host: 'a.example.com', result: '10.0.0.1' }] } }),
  },
  {
    title: 'a rule of the resolver whose result names a group that the expression has not',
    spec: connectivity({
      internodeTrafficStrategy: 'SplitDNS',
      splitDNS: { extraRules: [{ host: 'a-(.*)', result: '${2}.example.com', regex: true }] },
    }),
  },
  {
    title: 'a class of load balancers that are not enabled',
    spec: connectivity({ loadBalancer: { loadBalancerClass: 'internal' } }),
  },
  { title: 'a load balancer for each node, not enabled', spec: connectivity({ loadBalancer: { scope: 'node' } }) },
  {
    title: 'allowed addresses of load balancers that are not enabled',
    spec: connectivity({ loadBalancer: { allowedIPs: ['203.0.113.0/24'] } }),
  },
  { title: 'a template that selects other pods', spec: template({ spec: { selector: { app: 'mine' } } }) },
  {
    title: 'a template that moves the port of PostgreSQL',
    spec: template({ spec: { ports: [{ name: 'postgres', port: 5433 }] } }),
  },
  {
    title: 'a template with an unknown placeholder',
    spec: template({ metadata: { annotations: { 'example.com/name': '{fqnd}' } } }),
  },
  {
    title: "a template with one of pgspan's labels",
    spec: template({ metadata: { labels: { 'pgspan.io/group': 'mine' } } }),
  },
  // Certificates.
  {
    title: 'public server certificates for names of Services',
    spec: connectivity({
      internodeTrafficStrategy: 'FQDN',
      clientTrafficStrategy: 'ServiceName',
      tls: { serverCert: { certManager: { ...issuer, names: 'public' } } },
    }),
  },
  {
    title: 'two sources of the entry certificate',
    spec: connectivity({ tls: { entryCert: { certManager: issuer, secretRef: { name: 'entry' } } } }),
  },
  {
    title: 'two sources of the client certificate',
    spec: connectivity({
      tls: {
        clientCert: {
          certManager: issuer,
          caCertSecret: 'ca',
          preProvisioned: { streamingReplica: { secretRef: { name: 'replica' } } },
        },
      },
    }),
  },
  {
    title: 'a pre-provisioned client certificate without its CA',
    spec: connectivity({
      tls: { clientCert: { preProvisioned: { streamingReplica: { secretRef: { name: 'replica' } } } } },
    }),
  },
  {
    title: 'a CA for client certificates of the built-in CA',
    spec: connectivity({ tls: { clientCert: { caCertSecret: 'ca' } } }),
  },
  {
    title: 'a CA for server certificates of the built-in CA',
    spec: connectivity({ tls: { serverCert: { caCertSecret: 'ca' } } }),
  },
  // PostgreSQL.
  { title: 'a setting that belongs to pgspan', spec: { postgresql: { parameters: { fsync: 'off' } } } },
  { title: 'a setting that does not exist', spec: { postgresql: { parameters: { shared_bufers: '1GB' } } } },
  { title: 'a value that the setting does not take', spec: { postgresql: { parameters: { work_mem: 'much' } } } },
  { title: 'too few WAL senders', spec: { postgresql: { parameters: { max_wal_senders: 1 } } } },
  {
    title: 'a rule that lets in connections without TLS',
    spec: { postgresql: { pg_hba: ['host all all 10.0.0.0/8 scram-sha-256'] } },
  },
  { title: 'a rule of an unknown kind', spec: { postgresql: { pg_hba: ['hostss all all 10.0.0.0/8 scram-sha-256'] } } },
  {
    title: 'a rule that waits for DNS',
    spec: { postgresql: { pg_hba: ['hostssl all all client.example.com scram-sha-256'] } },
  },
  { title: 'two rules in one line', spec: { postgresql: { pg_hba: ['local all all peer\nlocal all all md5'] } } },
  { title: "pgspan's own map of users", spec: { postgresql: { pg_ident: ['pgspan root postgres'] } } },
  // The pooler.
  {
    title: 'a pooler on services, and no read service',
    spec: { pooler: { type: 'pgpool', pgpool: { backends: 'services' } } },
  },
  {
    title: 'a variable without a value',
    spec: { pooler: { type: 'pgpool', pgpool: { env: [{ name: 'PGPOOL_PARAMS_PORT' }] } } },
  },
];
