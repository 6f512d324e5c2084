/**
 * Contradictions inside of one manifest: fields that are right each, and wrong together. Those of connectivity are in
 * connectivity-problems.ts.
 */
import type { ManifestProblem } from '../../api/manifest-error.ts';
import type { PostgresGroup } from '../../api/postgres-group.ts';
import { parseEndpointUrl, quantityBytes, quantityCpus } from '../../api/postgres-group-values.ts';
import { CONNECTIVITY_RULES } from './connectivity-problems.ts';
import { REPLICATION_USER, SUPERUSER } from './names.ts';
import { none, refuseIf, type SpecRule } from './spec-problem.ts';

export function groupProblems(group: PostgresGroup): ManifestProblem[] {
  const problems = RULES.flatMap((rule) => rule(group.spec, group));
  return problems.map((problem) => ({ group: group.metadata.name, ...problem, path: `spec.${problem.path}` }));
}

/** Smaller volumes do not hold an empty database, its write-ahead log and room to work. */
const VOLUME_BYTES_MIN = 256 * 2 ** 20;

const sizes: SpecRule = ({ storage, resources }) => {
  const { requests, limits } = resources;
  const over = (kind: 'cpu' | 'memory', amount: (quantity: string) => number) => {
    const [request, limit] = [requests[kind], limits[kind]];
    const isOver = request !== undefined && limit !== undefined && amount(request) > amount(limit);
    return refuseIf(
      isOver,
      `resources.requests.${kind}`,
      `found ${request}, and the limit is ${limit}`,
      'accepted: at most the limit',
    );
  };
  return [
    ...refuseIf(
      quantityBytes(storage.size) < VOLUME_BYTES_MIN,
      'storage.size',
      `found ${storage.size}`,
      'accepted: at least 256Mi',
    ),
    ...over('cpu', quantityCpus),
    ...over('memory', quantityBytes),
  ];
};

const RESERVED_ROLES = [SUPERUSER, REPLICATION_USER, 'public', 'none', 'current_user', 'session_user'];
const RESERVED_DATABASES = ['postgres', 'template0', 'template1'];

function reservedRole(name: string): boolean {
  return RESERVED_ROLES.includes(name) || name.startsWith('pg_');
}

const databases: SpecRule = ({ bootstrap, roles, enableSuperuserAccess }) => {
  const { database = 'app', owner = 'app' } = bootstrap;
  return [
    ...refuseIf(
      RESERVED_DATABASES.includes(database),
      'bootstrap.database',
      `found "${database}", which PostgreSQL makes for itself`,
      'choose another name',
    ),
    ...refuseIf(reservedRole(owner), 'bootstrap.owner', `found "${owner}", which is reserved`, 'choose another name'),
    ...roles.flatMap((role, index) => {
      const path = `roles[${index}]`;
      const opposed = role.attributes.find((attribute) => role.attributes.some((other) => other === `NO${attribute}`));
      const isSuper = role.attributes.includes('SUPERUSER');
      return [
        ...refuseIf(
          reservedRole(role.name),
          `${path}.name`,
          `found "${role.name}", which is reserved`,
          'choose another name',
        ),
        ...refuseIf(
          role.name === owner,
          `${path}.name`,
          `found "${role.name}", which is the owner of the database`,
          'leave it out: it is made already',
        ),
        ...refuseIf(
          roles.findIndex((other) => other.name === role.name) < index,
          `${path}.name`,
          `"${role.name}" is there twice`,
          'leave one out',
        ),
        ...refuseIf(opposed !== undefined, `${path}.attributes`, `found both ${opposed} and NO${opposed}`, 'keep one'),
        ...refuseIf(
          isSuper && !enableSuperuserAccess,
          `${path}.attributes`,
          'found SUPERUSER, and superusers may not log in from remote',
          'set spec.enableSuperuserAccess: true, or leave it out',
        ),
      ];
    }),
  ];
};

const joining: SpecRule = ({ globalCluster }, { metadata }) => {
  const { peers, join, discovery, primaryGroup } = globalCluster;
  const names = peers.map((peer) => peer.group);
  const twice = names.findIndex((name, index) => names.indexOf(name) < index);
  const ways = [peers.length > 0 && 'peers', join !== undefined && 'join', discovery.length > 0 && 'discovery'].filter(
    (way) => way !== false,
  );
  return [
    ...refuseIf(
      ways.length > 1,
      'globalCluster',
      `found ${ways.join(' and ')}`,
      'keep one way to find the other groups',
    ),
    ...refuseIf(
      names.includes(metadata.name),
      'globalCluster.peers',
      `found "${metadata.name}", which is this group`,
      'name the other groups only',
    ),
    ...refuseIf(twice > 0, `globalCluster.peers[${twice}].group`, `"${names[twice]}" is there twice`, 'leave one out'),
    ...refuseIf(
      join !== undefined && primaryGroup === metadata.name,
      'globalCluster.join',
      'found a token to join others, and this is the primary group',
      'leave out the one or the other',
    ),
  ];
};

const coordination: SpecRule = ({ coordination, replication }) => [
  ...refuseIf(
    new Set(coordination.etcd?.endpoints.map((endpoint) => parseEndpointUrl(endpoint).secure)).size > 1,
    'coordination.etcd.endpoints',
    'found both http and https',
    'accepted: https for all of them (http is for tests)',
  ),
  ...refuseIf(
    coordination.etcd !== undefined && coordination.store !== 'etcd',
    'coordination.etcd',
    `found endpoints, and the store is "${coordination.store ?? 'platform'}"`,
    'set spec.coordination.store: etcd, or leave them out',
  ),
  ...refuseIf(
    replication.maximumLag !== undefined && replication.scope !== 'group',
    'replication.maximumLag',
    `found ${replication.maximumLag}, and the scope is "${replication.scope ?? 'global'}"`,
    'leave it out: with scope "global" no acknowledged write is ever behind',
  ),
];

const witness: SpecRule = ({ instances, pooler, roles, postgresql, role }) => {
  if (instances > 0) return none;
  const todo = 'leave it out, or give the group nodes';
  return [
    ...refuseIf(role === 'readOnly', 'role', 'found "readOnly", and this group has no nodes (instances: 0)', todo),
    ...refuseIf(pooler !== undefined, 'pooler', 'this group has no nodes (instances: 0)', todo),
    ...refuseIf(roles.length > 0, 'roles', 'this group has no nodes (instances: 0)', todo),
    ...refuseIf(
      Object.keys(postgresql.parameters).length > 0,
      'postgresql.parameters',
      'this group has no nodes (instances: 0)',
      todo,
    ),
  ];
};

const pooler: SpecRule = ({ pooler, proxySettings }) => {
  if (pooler === undefined) return none;
  const services = pooler.pgpool.backends === 'services' && !proxySettings.enableReadNodeRouting;
  return [
    ...refuseIf(
      services,
      'pooler.pgpool.backends',
      'found "services", and there is no read service',
      'set spec.proxySettings.enableReadNodeRouting: true, or use "nodes"',
    ),
    ...pooler.pgpool.env.flatMap((entry, index) =>
      refuseIf(
        (entry.value === undefined) === (entry.valueFrom === undefined),
        `pooler.pgpool.env[${index}]`,
        `"${entry.name}" has ${entry.value === undefined ? 'no value' : 'both value and valueFrom'}`,
        'give it value or valueFrom',
      ),
    ),
  ];
};

const RULES: readonly SpecRule[] = [sizes, databases, joining, coordination, witness, pooler, ...CONNECTIVITY_RULES];
