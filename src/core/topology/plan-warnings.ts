/** What works and may surprise: said by `pgspan plan`, refused by nobody. What a set-up survives is in survival.ts. */
import type { PostgresGroup } from '../../api/postgres-group.ts';
import { splitHbaLine } from '../postgresql/hba-problems.ts';
import { SERVER_SETTINGS } from '../postgresql/setting-values.ts';
import { imageMajor } from './image.ts';
import type { PlanNote } from './plan-types.ts';
import { planReplication } from './replication-plan.ts';
import { resolveShared, type SharedSettings } from './shared-settings.ts';

type SharedReplication = SharedSettings['replication'];

export function planWarnings(groups: readonly PostgresGroup[]): PlanNote[] {
  return [...globalWarnings(groups), ...groups.flatMap(groupWarnings)];
}

function globalWarnings(groups: readonly PostgresGroup[]): PlanNote[] {
  const first = (groups[0] as PostgresGroup).metadata.name;
  const { coordination, replication } = resolveShared(groups);
  const notes: PlanNote[] = [];
  if (coordination.store === 'kubernetes' && groups.length > 1) {
    notes.push({
      group: first,
      path: 'spec.coordination.store',
      message:
        'a Lease lives in one Kubernetes cluster: without etcd over three sites, another cluster takes over by declaration (primaryGroup) only',
    });
  }
  if (coordination.store === 'etcd' && coordination.etcdEndpoints.length === 0 && groups.length < 3) {
    notes.push({
      group: first,
      path: 'spec.coordination.store',
      message: `etcd over ${groups.length} group${groups.length === 1 ? '' : 's'} survives the loss of none: add a group, a witness (instances: 0) is enough`,
    });
  }
  notes.push(...relayWarnings(groups, replication));
  if (replication.scope === 'group') {
    notes.push({
      group: first,
      path: 'spec.replication.scope',
      message: 'commits do not wait for other groups, so losing a whole group may lose acknowledged writes',
    });
  }
  return notes;
}

/** Fewer nodes vote with relays: what can no longer be lost because of that. */
function relayWarnings(groups: readonly PostgresGroup[], shared: SharedReplication): PlanNote[] {
  const relayed = groups.find(({ spec }) => spec.replication.relay === true);
  if (relayed === undefined) return [];
  const first = (groups[0] as PostgresGroup).metadata.name;
  const without = groups.map((group) => ({
    ...group,
    spec: { ...group.spec, replication: { ...group.spec.replication, relay: false } },
  }));
  const { voters, minCopies, survives } = planReplication(groups, shared, first);
  const lost = planReplication(without, shared, first).survives.groups.filter(
    (name) => !survives.groups.includes(name),
  );
  if (lost.length === 0) return [];
  return [
    {
      group: relayed.metadata.name,
      path: 'spec.replication.relay',
      message: `with relays ${voters.length} nodes vote, and the loss of group ${lost.map((name) => `"${name}"`).join(' or ')} is an outage (${minCopies} copies are asked for); without them it is survived`,
    },
  ];
}

function groupWarnings({ metadata, spec }: PostgresGroup): PlanNote[] {
  const notes: PlanNote[] = [];
  const warn = (path: string, message: string) => notes.push({ group: metadata.name, path: `spec.${path}`, message });
  if (spec.instances > 0 && imageMajor(spec.imageName) === undefined) {
    warn(
      'imageName',
      `"${spec.imageName}" does not tell the version of PostgreSQL: its settings are not checked against it`,
    );
  }
  if (spec.instances > 0 && spec.proxySettings.instances === 0) {
    warn('proxySettings.instances', 'without proxies, clients must try the nodes themselves (target_session_attrs)');
  }
  const { mode } = spec.connectivity.tls;
  if (mode !== 'verify-full') {
    warn(
      'connectivity.tls.mode',
      mode === 'require'
        ? 'servers do not verify whom they replicate from'
        : 'servers do not verify the name of the server that they replicate from',
    );
  }
  for (const name of Object.keys(spec.postgresql.parameters).map((key) => key.toLowerCase())) {
    if (!name.includes('.') && !SERVER_SETTINGS.has(name))
      warn(
        `postgresql.parameters.${name}`,
        'unknown to pgspan: PostgreSQL does not start if its version does not know it',
      );
    if (name === 'statement_timeout' || name === 'transaction_timeout') {
      warn(
        `postgresql.parameters.${name}`,
        'a commit that is cancelled while it waits for standbys is reported as done though it may not survive',
      );
    }
  }
  for (const [index, line] of spec.postgresql.pg_hba.entries()) {
    if (splitHbaLine(line).includes('trust')) warn(`postgresql.pg_hba[${index}]`, 'lets in without a password');
  }
  return notes;
}
