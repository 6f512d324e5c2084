/**
 * What a group that runs does about the others, beside their cards: the application's login is one for all, invitations are
 * listened for, and the group is not deleted before the others know (its finalizer).
 */
import type { RenderInput } from '../objects/render-input.ts';
import type { Login } from '../objects/render-input.ts';
import type { GroupSecrets } from '../group-secrets.ts';
import type { GroupSession } from '../group-session.ts';
import type { AgentPlace } from '../group-agents.ts';
import type { GroupSight } from '../observe-group.ts';
import type { OperatorContext } from '../operator-context.ts';
import type { KubeObject } from '../../platform/kubernetes/kube-object.ts';
import { tellGroups } from '../cards/know-groups.ts';
import type { HostFacts } from './invitation-host.ts';
import { openUntilMs } from './invitation-listener.ts';
import { keepFinalizer } from './leave-global-cluster.ts';

/** A password that somebody changed, and agents that were started anew, are looked for this often where there are others. */
const LOGIN_LOOK_MS = 30_000;
/** What could not be done is tried again. */
const RETRY_LOOK_MS = 5000;

/** Throws ApiError, TlsFilesError. */
export async function dealWithOthers(
  context: OperatorContext,
  session: GroupSession,
  object: KubeObject,
  given: {
    readonly input: RenderInput;
    readonly sight: GroupSight;
    readonly secrets: GroupSecrets;
    /** Names of the other groups. */
    readonly counted: readonly string[];
    /** The login that the manifest names. */
    readonly given: Login | null;
    readonly places: readonly AgentPlace[];
  },
): Promise<{ readonly isChanged: boolean; readonly nextLookMs: number }> {
  const { input, sight, secrets, counted, places } = given;
  const { client } = context;
  const { peers, joining } = session;
  const { login, listener } = joining;
  for (const group of joining.newlyLeft(peers.cards.values())) {
    const note = `Group "${group}" has left the global cluster: its members, Services and CA are dropped`;
    context.events.say(object, { type: 'Normal', reason: 'GroupLeft', action: 'Leave', note });
  }
  await keepFinalizer(context, object, counted.length > 0);
  const untilMs = openUntilMs(object);
  const isOpen = untilMs !== null && untilMs > Date.now();
  if (counted.length === 0 && !isOpen) {
    listener.close();
    return { isChanged: false, nextLookMs: Number.POSITIVE_INFINITY };
  }
  const tls = { cert: secrets.operator.certificate, key: secrets.operator.key, ca: secrets.trustBundle };
  const cards = counted.flatMap((name) => peers.cards.get(name) ?? []);
  const isChanged = await login.settle({ client, input, given: given.given, own: input.facts.app, cards, tls });
  if (login.problem !== null)
    context.log.warn({ group: input.groupPlan.name, problem: login.problem }, 'login not fetched');
  const isGiven = await login.give(session.agents, places);
  const { group, plan } = input;
  const { ownCard } = peers;
  const facts: HostFacts | null =
    login.login === null || ownCard === null
      ? null
      : {
          globalCluster: plan.globalCluster,
          group: group.metadata.name,
          primaryGroup: plan.primaryGroup,
          caBundle: secrets.authority.authorityPem,
          cards: [ownCard, ...peers.cards.values()],
          login: login.login,
        };
  const tell = () => tellGroups(input, session, sight, { plan, secrets });
  const openMs = await listener.listen({ context, object, group, peers, places, tls, facts, tell });
  const isDone = isGiven && login.problem === null;
  const lookMs = Math.min(isDone ? LOGIN_LOOK_MS : RETRY_LOOK_MS, openMs ?? Number.POSITIVE_INFINITY);
  return { isChanged, nextLookMs: lookMs };
}
