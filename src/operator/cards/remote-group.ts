/** The nodes of the other groups: as Services of this cluster, and as agents to be asked. */
import type { GroupCard } from '../../api/group-card.ts';
import { AGENT_PORT } from '../../core/topology/names.ts';
import type { GlobalPlan, GroupPlan } from '../../core/topology/plan-types.ts';
import { outsideAddress, planRemoteServices } from '../../core/topology/remote-services.ts';
import type { AgentPlace } from '../group-agents.ts';
import { renderRemoteServices } from '../objects/remote-services.ts';
import { type DesiredObject, objectKey } from '../objects/render-group.ts';
import type { RenderInput } from '../objects/render-input.ts';

export function renderRemote(input: RenderInput, cards: readonly GroupCard[]): DesiredObject[] {
  const { services } = planRemoteServices(input.groupPlan.internodeTrafficStrategy, cards);
  return renderRemoteServices(input, services).map((object) => ({
    key: objectKey(object),
    object: object as unknown as DesiredObject['object'],
  }));
}

/** Dialled by what their group told, and verified by their name. */
export function remotePlaces(plan: GlobalPlan, own: GroupPlan, cards: readonly GroupCard[]): AgentPlace[] {
  return plan.groups
    .filter(({ name }) => name !== own.name)
    .flatMap((group) => {
      const card = cards.find((one) => one.group === group.name);
      return group.nodes.map((node) => ({
        node: node.name,
        group: group.name,
        address:
          (card === undefined ? null : outsideAddress(card, node.name)) ??
          (own.internodeTrafficStrategy === 'ServiceName' ? null : node.addresses.FQDN),
        host: node.addresses.ServiceName,
        port: AGENT_PORT,
      }));
    });
}
