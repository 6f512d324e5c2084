/**
 * What the API server refuses beyond types and ranges, in CEL: what may not change, and what contradicts within one manifest.
 * The same contradictions are refused by core/topology for every platform; here they are said at `kubectl apply`. What CEL
 * cannot see (settings of PostgreSQL, templates of Services) or one manifest cannot show (other groups) stays with the core,
 * and the operator says it in the condition ConfigurationAccepted.
 *
 * CEL: https://kubernetes.io/docs/reference/using-api/cel/. A rule costs at most what the API server allows, so what it goes
 * through has a greatest length in the schema. Optional fields need has(); those with defaults are there.
 */
import type { StructuralSchema, ValidationRule } from './structural-schema.ts';

export interface PathRules {
  /** Merged over the generated schema of this path. */
  readonly schema?: StructuralSchema;
  readonly rules?: readonly ValidationRule[];
}

/** `has` of an optional field, and its value or another. */
const either = (field: string, fallback: string) => `self.?${field}.orValue(${fallback})`;

/** The same before and after, counting an absent field as one more value. */
function immutable(field: string, why: string): ValidationRule {
  return {
    rule: `has(self.${field}) == has(oldSelf.${field}) && (!has(self.${field}) || self.${field} == oldSelf.${field})`,
    message: why,
    fieldPath: `.${field}`,
  };
}

/** May be said later, and not changed then: a group that says nothing takes what another says. */
function immutableOnceSet(field: string, why: string): ValidationRule {
  return {
    rule: `!has(oldSelf.${field}) || (has(self.${field}) && self.${field} == oldSelf.${field})`,
    message: why,
    fieldPath: `.${field}`,
  };
}

/** `a` needs `b`: a rule that holds when `a` does not. */
function refuse(wrong: string, message: string, fieldPath?: string): ValidationRule {
  return { rule: `!(${wrong})`, message, ...(fieldPath === undefined ? {} : { fieldPath }) };
}

const hasGlobalName = (self: string) => `has(${self}.spec.globalCluster) && has(${self}.spec.globalCluster.name)`;
const globalName = (self: string) => `(${hasGlobalName(self)} ? ${self}.spec.globalCluster.name : '')`;
/** What core/topology/name-problems.ts appends to a group's name. */
const GROUP_SUFFIX = '^-(r|group|pods|pooler|etcd(-[0-9]+)?|proxy(-[0-9]+)?|[0-9]+)$';
const GLOBAL_SUFFIX = '^-(r|record)$';
/** The API server takes metadata.name for as long as the whole request, so nothing here may be dear for each of its letters. */
const isSuffixed = (name: string, owner: string, suffix: string) =>
  `${name}.startsWith(${owner}) && ${name}.substring(size(${owner})).matches('${suffix}')`;

const ROOT: PathRules = {
  rules: [
    {
      rule: `self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')`,
      message:
        'metadata.name: accepted: lower-case letters, digits and "-", beginning with a letter (it becomes part of DNS names)',
    },
    {
      rule: `${globalName('self')} == ${globalName('oldSelf')}`,
      message:
        'it cannot be changed, since certificates, Services and the record carry it; make a new group with the new name and move the data',
      fieldPath: '.spec.globalCluster.name',
    },
    refuse(
      `${globalName('self')} == self.metadata.name`,
      'it is the name of this group; the global cluster needs a name of its own, for its Services',
      '.spec.globalCluster.name',
    ),
    refuse(
      `${hasGlobalName('self')} && ${isSuffixed('self.spec.globalCluster.name', 'self.metadata.name', GROUP_SUFFIX)}`,
      'it is also the name of a Service or node of this group; give one of them another name',
      '.spec.globalCluster.name',
    ),
    refuse(
      `${hasGlobalName('self')} && ${isSuffixed('self.metadata.name', 'self.spec.globalCluster.name', GLOBAL_SUFFIX)}`,
      "metadata.name is also the name of the global cluster's read service or record; give one of them another name",
    ),
    refuse(
      'has(self.spec.globalCluster) && has(self.spec.globalCluster.peers) && self.spec.globalCluster.peers.exists(peer, peer.group == self.metadata.name)',
      'found this group itself; name the other groups only',
      '.spec.globalCluster.peers',
    ),
    refuse(
      'has(self.spec.globalCluster) && has(self.spec.globalCluster.join) && has(self.spec.globalCluster.primaryGroup) && self.spec.globalCluster.primaryGroup == self.metadata.name',
      'found a token to join others, and this is the primary group; leave out the one or the other',
      '.spec.globalCluster.join',
    ),
  ],
};

/** An amount that is none is refused by its own rule; here it passes. */
const quantities = (...of: readonly string[]) => of.map((one) => `isQuantity(string(${one}))`).join(' && ');
const compare = (a: string, b: string) => `quantity(string(${a})).compareTo(quantity(${b}))`;

const amountOver = (kind: 'cpu' | 'memory') =>
  refuse(
    `has(self.requests) && has(self.limits) && has(self.requests.${kind}) && has(self.limits.${kind}) && ${quantities(`self.requests.${kind}`, `self.limits.${kind}`)} && ${compare(`self.requests.${kind}`, `string(self.limits.${kind})`)} > 0`,
    'the request is more than the limit; accepted: at most the limit',
    `.requests.${kind}`,
  );

/** Major version in a tag such as `postgres:18.1-bookworm`; '' where the name tells none (core/topology/image.ts). */
const majorOf = (self: string) =>
  `${self}.imageName.matches(r'^.*:v?[0-9]{2}([.-][^/:@]*)?(@.*)?$') ? ${self}.imageName.find(r':v?[0-9]{2}([.-][^/:@]*)?(@.*)?$').find('[0-9]{2}') : ''`;

const noNodes = (field: string, wrong: string) =>
  refuse(
    `self.instances == 0 && ${wrong}`,
    'this group has no nodes (instances: 0); leave it out, or give the group nodes',
    `.${field}`,
  );

const SPEC: PathRules = {
  rules: [
    {
      rule: `(${majorOf('self')}) == '' || (${majorOf('oldSelf')}) == '' || (${majorOf('self')}) == (${majorOf('oldSelf')})`,
      message:
        'it has another major version than the data; take an image of the same major version, or make a new group and move the data with pg_dump or logical replication',
      fieldPath: '.imageName',
    },
    noNodes('role', `self.role == 'readOnly'`),
    noNodes('pooler', 'has(self.pooler)'),
    noNodes('roles', 'has(self.roles) && size(self.roles) > 0'),
    refuse(
      `has(self.pooler) && self.pooler.pgpool.backends == 'services' && !self.proxySettings.enableReadNodeRouting`,
      'found "services", and there is no read service; set spec.proxySettings.enableReadNodeRouting: true, or use "nodes"',
      '.pooler.pgpool.backends',
    ),
    refuse(
      `has(self.roles) && self.roles.exists(role, role.name == (has(self.bootstrap) ? self.bootstrap.?owner.orValue('app') : 'app'))`,
      'found the owner of the database; leave it out: it is made already',
      '.roles',
    ),
    refuse(
      `has(self.roles) && !self.enableSuperuserAccess && self.roles.exists(role, role.attributes.exists(word, word.upperAscii() == 'SUPERUSER'))`,
      'found SUPERUSER, and superusers may not log in from remote; set spec.enableSuperuserAccess: true, or leave it out',
      '.roles',
    ),
  ],
};

const STORAGE: PathRules = {
  rules: [
    immutable(
      'storageClass',
      'it cannot be changed, since a volume stays in its class; make a new group with the class and move the data',
    ),
    {
      rule: `!(${quantities('self.size', 'oldSelf.size')}) || ${compare('self.size', 'string(oldSelf.size)')} >= 0`,
      message: 'a volume cannot shrink; keep the size, or make a new group with smaller volumes and move the data',
      fieldPath: '.size',
    },
    {
      rule: `!${quantities('self.size')} || ${compare('self.size', "'256Mi'")} >= 0`,
      message: 'accepted: at least 256Mi, since smaller volumes do not hold an empty database and its log',
      fieldPath: '.size',
    },
  ],
};

const COORDINATION: PathRules = {
  rules: [
    {
      rule: `(self.?store.orValue('platform') == 'etcd') == (oldSelf.?store.orValue('platform') == 'etcd')`,
      message:
        'the record of the leader cannot move to another store; keep the store, or make a new group and move the data',
      fieldPath: '.store',
    },
    refuse(
      `${either('store', "''")} == 'local'`,
      'found "local", which is a process of the local platform; leave it out (a Lease of this cluster), or use "etcd"',
      '.store',
    ),
    refuse(
      `has(self.etcd) && ${either('store', "''")} != 'etcd'`,
      'found endpoints, and the store is not etcd; set spec.coordination.store: etcd, or leave them out',
      '.etcd',
    ),
    {
      rule: `${either('fenceMs', `(${either('preset', "'lan'")} == 'wan' ? 9000 : 3000)`)} > ${either('detectionMs', `(${either('preset', "'lan'")} == 'wan' ? 3000 : 1000)`)}`,
      message:
        'the fence must be longer than the detection (three times as long is usual); else a leader stops before anybody may replace it',
      fieldPath: '.fenceMs',
    },
  ],
};

const ETCD: PathRules = {
  rules: [
    refuse(
      `self.endpoints.exists(one, one.startsWith('http:')) && self.endpoints.exists(one, one.startsWith('https:'))`,
      'found both http and https; accepted: https for all of them (http is for tests)',
      '.endpoints',
    ),
  ],
};

const REPLICATION: PathRules = {
  rules: [
    refuse(
      `has(self.maximumLag) && ${either('scope', "'global'")} != 'group'`,
      'leave it out: with scope "global" no acknowledged write is ever behind',
      '.maximumLag',
    ),
  ],
};

const RESERVED_ROLE = `['postgres', 'streaming_replica', 'public', 'none', 'current_user', 'session_user']`;

const BOOTSTRAP: PathRules = {
  rules: [
    immutableOnceSet(
      'database',
      'it is made at the start only; keep it, and make another database with CREATE DATABASE',
    ),
    immutableOnceSet('owner', 'it is made at the start only; keep it, and make other roles in spec.roles'),
    refuse(
      `${either('database', "'app'")} in ['postgres', 'template0', 'template1']`,
      'PostgreSQL makes a database of this name for itself; choose another name',
      '.database',
    ),
    refuse(
      `${either('owner', "'app'")} in ${RESERVED_ROLE} || ${either('owner', "'app'")}.startsWith('pg_')`,
      'this name is reserved; choose another name',
      '.owner',
    ),
  ],
};

const ROLE: PathRules = {
  rules: [
    refuse(
      `self.name in ${RESERVED_ROLE} || self.name.startsWith('pg_')`,
      'this name is reserved; choose another name',
      '.name',
    ),
    refuse(
      `self.attributes.exists(word, ('NO' + word.upperAscii()) in self.attributes.map(other, other.upperAscii()))`,
      'found an attribute and its opposite; keep one',
      '.attributes',
    ),
  ],
};

const ROLE_ATTRIBUTE: PathRules = {
  schema: { maxLength: 16 },
  rules: [
    {
      rule: `self.upperAscii().matches('^(NO)?(LOGIN|CREATEDB|CREATEROLE|INHERIT|REPLICATION|BYPASSRLS|SUPERUSER)$')`,
      message: 'accepted: LOGIN, CREATEDB, CREATEROLE, INHERIT, REPLICATION, BYPASSRLS, SUPERUSER, or NO before one',
    },
  ],
};

const GLOBAL_CLUSTER: PathRules = {
  rules: [
    {
      rule: `(size(self.?peers.orValue([])) > 0 ? 1 : 0) + (has(self.join) ? 1 : 0) + (size(self.?discovery.orValue([])) > 0 ? 1 : 0) <= 1`,
      message: 'found more than one of peers, join and discovery; keep one way to find the other groups',
    },
  ],
};

const CONNECTIVITY: PathRules = {
  rules: [
    refuse(
      `self.internodeTrafficStrategy != 'SplitDNS' && has(self.splitDNS) && size(self.splitDNS.?extraRules.orValue([])) > 0`,
      'the rules are for the resolver beside each server; set spec.connectivity.internodeTrafficStrategy: SplitDNS, or leave them out',
      '.splitDNS.extraRules',
    ),
    ...(['internodeTrafficStrategy', 'clientTrafficStrategy'] as const).map((field) =>
      refuse(
        `self.${field} == 'ServiceName' && has(self.tls.serverCert) && has(self.tls.serverCert.certManager) && self.tls.serverCert.certManager.names == 'public'`,
        `found "public", and spec.connectivity.${field} is "ServiceName"; a public CA signs no names of Services: use ${field}: ${field === 'clientTrafficStrategy' ? 'FQDN' : 'SplitDNS'}, or a private CA`,
        '.tls.serverCert.certManager.names',
      ),
    ),
  ],
};

const NOT_ENABLED = 'load balancers are not enabled; set spec.connectivity.loadBalancer.enabled: true, or leave it out';

const LOAD_BALANCER: PathRules = {
  rules: [
    refuse(`!self.enabled && size(self.?allowedIPs.orValue([])) > 0`, NOT_ENABLED, '.allowedIPs'),
    refuse(`!self.enabled && has(self.loadBalancerClass)`, NOT_ENABLED, '.loadBalancerClass'),
    refuse(`!self.enabled && self.scope == 'node'`, NOT_ENABLED, '.scope'),
  ],
};

const ENTRY_CERTIFICATE: PathRules = {
  rules: [
    {
      rule: 'has(self.certManager) != has(self.secretRef)',
      message: 'found neither or both of certManager and secretRef; keep one',
    },
  ],
};

const SERVER_CERTIFICATE: PathRules = {
  rules: [
    refuse(
      'has(self.caCertSecret) && !has(self.certManager)',
      'leave it out: the built-in CA verifies its own certificates',
      '.caCertSecret',
    ),
  ],
};

const CLIENT_CERTIFICATE: PathRules = {
  rules: [
    refuse(
      'has(self.certManager) && has(self.preProvisioned)',
      'found both certManager and preProvisioned; keep the one that provides the certificate of streaming_replica',
    ),
    refuse(
      'has(self.preProvisioned) && !has(self.caCertSecret)',
      'it is missing; name the Secret with the CA that signed the pre-provisioned certificate, else no server accepts it',
      '.caCertSecret',
    ),
    refuse(
      'has(self.caCertSecret) && !has(self.certManager) && !has(self.preProvisioned)',
      'leave it out: the built-in CA verifies its own certificates',
      '.caCertSecret',
    ),
  ],
};

const POOLER_VARIABLE: PathRules = {
  rules: [
    {
      rule: 'has(self.value) != has(self.valueFrom)',
      message: 'it has neither or both of value and valueFrom; give it one of them',
    },
  ],
};

/** PostgreSQL would keep its old rules because of a broken one; the rest is judged by core/postgresql/hba-problems.ts. */
const HBA_LINE: PathRules = {
  rules: [
    refuse(
      `self.contains('\\n') || self.contains('\\r')`,
      'found a line break; accepted: one line in each entry of the list',
    ),
    {
      rule: String.raw`self.matches(r'^\s*(#.*)?$') || self.matches(r'^\s*(local|host|hostssl|hostnossl|hostgssenc|hostnogssenc)\s')`,
      message: 'accepted: "hostssl DATABASE USER ADDRESS METHOD [OPTION=VALUE …]"',
    },
    {
      rule: String.raw`!self.matches(r'^\s*(host|hostnossl|hostgssenc|hostnogssenc)\s') || self.matches(r'\sreject(\s|$)')`,
      message: 'it would let in connections without TLS; accepted: "hostssl", or the method "reject"',
    },
  ],
};

const IDENT_LINE: PathRules = {
  rules: [
    refuse(
      `self.contains('\\n') || self.contains('\\r')`,
      'found a line break; accepted: one line in each entry of the list',
    ),
    {
      rule: String.raw`!self.matches(r'^\s*"?pgspan"?\s')`,
      message: 'the map "pgspan" belongs to pgspan; use another name for the map',
    },
  ],
};

const ADDRESS_RANGE = 'an address or a range such as "203.0.113.0/24"';

const templateRules = (placeholders: string): Readonly<Record<string, PathRules>> => {
  const words = `[${placeholders.split(' ').map((word) => `'{${word}}'`)}]`;
  const known: ValidationRule = {
    rule: `self.all(key, self[key].findAll('[{][A-Za-z_][A-Za-z0-9_]*[}]').all(word, word in ${words}))`,
    message: `found an unknown placeholder; accepted: ${placeholders
      .split(' ')
      .map((word) => `{${word}}`)
      .join(', ')}`,
  };
  return {
    'metadata.labels': {
      schema: { maxProperties: 64 },
      rules: [
        known,
        {
          rule: `self.all(key, !key.startsWith('pgspan.io/') && !key.startsWith('app.kubernetes.io/'))`,
          message: 'the labels pgspan.io/… and app.kubernetes.io/… belong to pgspan; use a prefix of your own',
        },
      ],
    },
    'metadata.labels[]': { schema: { maxLength: 253 } },
    'metadata.annotations': { schema: { maxProperties: 32 }, rules: [known] },
    'metadata.annotations[]': { schema: { maxLength: 2048 } },
  };
};

/** By path below the resource; `[]` is an entry of a list or a value of a mapping. */
export const GROUP_RULES: Readonly<Record<string, PathRules>> = {
  '': ROOT,
  spec: SPEC,
  'spec.resources': { rules: [amountOver('cpu'), amountOver('memory')] },
  'spec.storage': STORAGE,
  'spec.globalCluster': GLOBAL_CLUSTER,
  'spec.globalCluster.peers': { schema: { 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['group'] } },
  'spec.globalCluster.discovery': { schema: { 'x-kubernetes-list-type': 'set' } },
  'spec.coordination': COORDINATION,
  'spec.coordination.etcd': ETCD,
  'spec.replication': REPLICATION,
  'spec.bootstrap': BOOTSTRAP,
  'spec.roles': { schema: { 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['name'] } },
  'spec.roles[]': ROLE,
  'spec.roles[].attributes': { schema: { maxItems: 14 } },
  'spec.roles[].attributes[]': ROLE_ATTRIBUTE,
  'spec.postgresql.pg_hba[]': HBA_LINE,
  'spec.postgresql.pg_ident[]': IDENT_LINE,
  'spec.connectivity': CONNECTIVITY,
  'spec.connectivity.loadBalancer': LOAD_BALANCER,
  'spec.connectivity.loadBalancer.allowedIPs[]': {
    rules: [{ rule: 'isIP(self) || isCIDR(self)', message: `accepted: ${ADDRESS_RANGE}` }],
  },
  'spec.connectivity.tls.serverCert': SERVER_CERTIFICATE,
  'spec.connectivity.tls.clientCert': CLIENT_CERTIFICATE,
  'spec.connectivity.tls.entryCert': ENTRY_CERTIFICATE,
  'spec.proxySettings.proxyProtocolFrom[]': {
    rules: [{ rule: 'isCIDR(self)', message: 'accepted: a range such as "10.0.0.0/8"' }],
  },
  'spec.pooler.pgpool.env': { schema: { 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['name'] } },
  'spec.pooler.pgpool.env[]': POOLER_VARIABLE,
  'spec.pooler.pgpool.env[].name': { schema: { maxLength: 253 } },
  ...below('spec.connectivity.nodeServiceTemplate', templateRules('node group service fqdn')),
  ...below('spec.connectivity.groupServiceTemplate', templateRules('group service fqdn')),
  ...below('spec.connectivity.proxyServiceTemplate', templateRules('group service fqdn')),
  ...below('spec.connectivity.proxyReadServiceTemplate', templateRules('group service fqdn')),
  'status.conditions': { schema: { 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['type'] } },
  'status.nodes': { schema: { 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['name'] } },
  'status.addresses': { schema: { 'x-kubernetes-list-type': 'map', 'x-kubernetes-list-map-keys': ['service'] } },
};

function below(path: string, rules: Readonly<Record<string, PathRules>>): Record<string, PathRules> {
  return Object.fromEntries(Object.entries(rules).map(([key, value]) => [`${path}.${key}`, value]));
}
