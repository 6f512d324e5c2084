/**
 * What of joining is kept in the cluster:
 *
 *   ConfigMap `<group>-membership`    what the exchange brought, written once: an operator that starts anew finds it
 *   Secret    `<group>-credentials`   the login that all groups have agreed to, its generation, and the password before it
 */
import * as z from 'zod';
import { type GroupCard, parseGroupCard } from '../../api/group-card.ts';
import { type ApplicationLogin, applicationLoginSchema } from '../../api/invitation.ts';
import { groupNameSchema } from '../../api/postgres-group-values.ts';
import type { KubeClient } from '../../platform/kubernetes/kube-client.ts';
import { KUBE_KINDS } from '../../platform/kubernetes/kube-object.ts';
import { ownedMetadata } from '../objects/metadata.ts';
import type { DesiredObject } from '../objects/render-group.ts';
import type { RenderInput } from '../objects/render-input.ts';
import { configMapTexts, secretTexts } from '../stored-object.ts';

export const membershipConfigMap = (group: string): string => `${group}-membership`;
export const credentialsSecret = (group: string): string => `${group}-credentials`;
const KEY = 'membership.json';

const membershipSchema = z.strictObject({
  globalCluster: groupNameSchema,
  primaryGroup: groupNameSchema,
  invitedBy: groupNameSchema,
  invitation: z.string().max(64),
  joinedAt: z.iso.datetime(),
  cardGenerationMin: z.int().min(1),
  cards: z.array(z.unknown()).max(32),
});
export type Membership = Omit<z.infer<typeof membershipSchema>, 'cards'> & { readonly cards: readonly GroupCard[] };

interface GroupPlace {
  readonly name: string;
  readonly namespace: string;
}

/** Null: it has not joined by invitation. Throws ApiError. */
export async function readMembership(client: KubeClient, { name, namespace }: GroupPlace): Promise<Membership | null> {
  const ref = { kind: KUBE_KINDS.ConfigMap, namespace, name: membershipConfigMap(name) };
  const text = configMapTexts(await client.find(ref))[KEY];
  if (text === undefined) return null;
  const parsed = membershipSchema.safeParse(parseJson(text));
  if (!parsed.success) return null;
  const { cards, ...rest } = parsed.data;
  const read = cards.flatMap((value) => {
    const card = parseGroupCard(value, rest.globalCluster);
    return card.kind === 'card' ? [card.card] : [];
  });
  return { ...rest, cards: read };
}

export function renderMembership(input: RenderInput, membership: Membership): DesiredObject {
  const name = membershipConfigMap(input.group.metadata.name);
  return {
    key: `/ConfigMap/${name}`,
    object: {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: ownedMetadata(input, name),
      data: { [KEY]: `${JSON.stringify(membership)}\n` },
    },
  };
}

export interface AgreedLogin {
  readonly login: ApplicationLogin;
  readonly previousPassword: string | null;
}

/** Null: none has been agreed on. Throws ApiError. */
export async function readAgreedLogin(
  client: KubeClient,
  { name, namespace }: GroupPlace,
): Promise<AgreedLogin | null> {
  const ref = { kind: KUBE_KINDS.Secret, namespace, name: credentialsSecret(name) };
  const { username, password, generation, previous } = secretTexts(await client.find(ref));
  const parsed = applicationLoginSchema.safeParse({ username, password, generation: Number(generation ?? 'x') });
  return parsed.success ? { login: parsed.data, previousPassword: previous ?? null } : null;
}

/** Throws ApiError. */
export async function writeAgreedLogin(
  client: KubeClient,
  input: RenderInput,
  { login, previousPassword }: AgreedLogin,
): Promise<void> {
  const texts = {
    username: login.username,
    password: login.password,
    generation: String(login.generation),
    ...(previousPassword === null ? {} : { previous: previousPassword }),
  };
  await client.apply({
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: ownedMetadata(input, credentialsSecret(input.group.metadata.name)),
    type: 'Opaque',
    data: Object.fromEntries(Object.entries(texts).map(([key, text]) => [key, Buffer.from(text).toString('base64')])),
  } as Parameters<KubeClient['apply']>[0]);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
