/**
 * A group whose part in the global cluster is not known yet: what others need to find and trust it is made (its CA, its Services,
 * its card), and nothing that runs. Of a group that runs already nothing is touched.
 */
import type { PostgresGroup } from '../../api/postgres-group.ts';
import type { Reason } from '../../core/leadership/voter.ts';
import { caConfigMap } from '../../core/topology/names.ts';
import type { KubeObject } from '../../platform/kubernetes/kube-object.ts';
import { applyObjects } from '../apply-group.ts';
import type { GroupSession } from '../group-session.ts';
import { type GroupSecrets, maintainSecrets, renderOperatorSecrets } from '../group-secrets.ts';
import { objectKey, renderGroup, type DesiredObject } from '../objects/render-group.ts';
import { type GroupFacts, renderInput, type RenderInput } from '../objects/render-input.ts';
import type { GroupSight } from '../observe-group.ts';
import type { OperatorContext } from '../operator-context.ts';
import { writeStandstill } from '../write-status.ts';
import { followGroups, type GroupsSight, tellGroups } from './know-groups.ts';
import { planGroups } from './plan-groups.ts';

/** Whatever is waited for is told at once; this is for what is told by nobody. */
const WAITING_LOOK_MS = 30_000;

/** @returns ms until the next look. Throws ApiError, TlsFilesError, ManifestError. */
export async function waitForGroups(
  context: OperatorContext,
  session: GroupSession,
  object: KubeObject,
  {
    group,
    sight,
    groups,
    reason,
    facts,
  }: {
    readonly group: PostgresGroup;
    readonly sight: GroupSight;
    readonly groups: GroupsSight;
    readonly reason: Reason;
    readonly facts: (secrets: GroupSecrets) => GroupFacts;
  },
): Promise<number> {
  const { plan, groupPlan } = planGroups([group], group.metadata.name, sight, [], context.clusterDns.clusterDomain);
  const secrets = await maintainSecrets({
    client: context.client,
    plan,
    groupPlan,
    group,
    ownerUid: session.uid,
    memory: session.secrets,
    now: new Date(),
    otherAuthorities: groups.authorities,
  });
  if (sight.existing.length === 0) {
    const given = facts(secrets);
    const input = renderInput(plan, group, given);
    const operatorSecrets = renderOperatorSecrets(input, secrets) as DesiredObject['object'][];
    await applyObjects(context, session, [
      ...operatorSecrets.map((one) => ({ key: objectKey(one), object: one })),
      ...objectsForOthers(input),
      // Without a primary group nobody could plan with it.
      ...(reason.code === 'PrimaryGroupUnknown' ? [] : [tellGroups(input, session, sight, { plan, secrets })]),
    ]);
  }
  await followGroups(context, session, group, groups.counted, secrets);
  const problems = session.peers.problems.map((one) => `; ${one}`).join('');
  const message = `${reason.message}${problems}`;
  await writeStandstill(context, object, { condition: 'Progressing', reason: reason.code, message });
  return WAITING_LOOK_MS;
}

/** What others need to find and trust this group. */
export function objectsForOthers({ plan, group, facts }: RenderInput): DesiredObject[] {
  const bundle = caConfigMap(group.metadata.name);
  return renderGroup(plan, group, facts).filter(
    ({ object: { kind, metadata } }) => kind === 'Service' || (kind === 'ConfigMap' && metadata.name === bundle),
  );
}
