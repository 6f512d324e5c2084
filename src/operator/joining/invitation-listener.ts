/**
 * Listens for groups that come with an invitation, while one is open: an annotation of the PostgresGroup says until when
 * (`pgspan invite` writes it). The host decides; here is how it finds, uses up and takes in on Kubernetes.
 */
import { type GroupCard } from '../../api/group-card.ts';
import { ManifestError, problemLine } from '../../api/manifest-error.ts';
import {
  INVITATIONS_ANNOTATION,
  invitationSecret,
  openInvitationsSchema,
  parseStoredInvitation,
} from '../../api/invitation.ts';
import type { PostgresGroup } from '../../api/postgres-group.ts';
import { createMemoryTls, type ReloadableTls, type TlsTexts } from '../../base/mutual-tls.ts';
import { decideGroups } from '../../core/cards/decide-groups.ts';
import { isConflict } from '../../platform/kubernetes/api-error.ts';
import { KUBE_KINDS, type KubeObject } from '../../platform/kubernetes/kube-object.ts';
import type { GroupPeers } from '../cards/group-peers.ts';
import { planGroups } from '../cards/plan-groups.ts';
import type { AgentPlace } from '../group-agents.ts';
import type { DesiredObject } from '../objects/render-group.ts';
import type { OperatorContext } from '../operator-context.ts';
import { secretTexts } from '../stored-object.ts';
import { type HostFacts, type HostPort, InvitationHost } from './invitation-host.ts';
import { RequestFollower } from './request-follower.ts';

/** As the last look found it. */
export interface ListenerInput {
  readonly context: OperatorContext;
  readonly object: KubeObject;
  readonly group: PostgresGroup;
  readonly peers: GroupPeers;
  readonly places: readonly AgentPlace[];
  readonly tls: TlsTexts;
  /** Null: not far enough to take others in. */
  readonly facts: HostFacts | null;
  /** Renews the own card, and gives the ConfigMap with all cards. */
  readonly tell: () => DesiredObject;
}

export class InvitationListener {
  readonly #onChange: () => void;
  #input: ListenerInput | null = null;
  #tls: ReloadableTls | null = null;
  #follower: RequestFollower | null = null;
  readonly #host: InvitationHost;

  constructor({ onChange }: { readonly onChange: () => void }) {
    this.#onChange = onChange;
    this.#host = new InvitationHost(this.#port());
  }

  /** @returns ms until the last open invitation ends; null: none is open. Throws TlsFilesError. */
  async listen(input: ListenerInput): Promise<number | null> {
    this.#input = input;
    const untilMs = openUntilMs(input.object);
    const isOpen = untilMs !== null && untilMs > Date.now();
    if (!isOpen && this.#follower === null) return null;
    if (this.#tls === null) this.#tls = await createMemoryTls(() => (this.#input as ListenerInput).tls);
    else await this.#tls.reload();
    this.#follower ??= new RequestFollower({
      tls: this.#tls,
      answer: (message) => this.#host.answer(message, Date.now()),
      onError: (error) => this.#log('requests to join not fetched', error),
    });
    const targets = input.places.flatMap(({ node, host, address, port }) =>
      address === null ? [] : [[node, { host, address, port }] as const],
    );
    this.#follower.follow(new Map(isOpen ? targets : []));
    return isOpen ? untilMs - Date.now() : null;
  }

  close(): void {
    this.#follower?.close();
    this.#follower = null;
  }

  #port(): HostPort {
    const present = (): ListenerInput => this.#input as ListenerInput;
    const secretRef = (id: string) => {
      const { name, namespace } = present().group.metadata;
      return { kind: KUBE_KINDS.Secret, namespace, name: invitationSecret(name, id) };
    };
    return {
      facts: () => this.#input?.facts ?? null,
      find: async (id) => {
        const found = await present().context.client.find(secretRef(id));
        const stored = parseStoredInvitation(secretTexts(found));
        return stored === null ? null : { ...stored, version: versionOf(found) };
      },
      // One delete succeeds, whoever else tries, and none of an invitation that was withdrawn since it was read.
      useUp: async (id, version) => {
        const [uid = '', resourceVersion = ''] = version.split(' ');
        return await present()
          .context.client.delete(secretRef(id), { uid, resourceVersion })
          .catch((error: unknown) => {
            if (isConflict(error)) return false;
            throw error;
          });
      },
      problems: (card) => problemsWith(card, present()),
      admit: async (card) => {
        const { peers, context, tell } = present();
        peers.admit(card.group, [card]);
        await context.client.apply(tell().object);
        this.#onChange();
      },
      onEvent: ({ type, reason, note }) => {
        const { context, object } = present();
        context.events.say(object, { type, reason, action: 'Join', note });
        context.log.info({ group: object.metadata.name, reason, note }, 'joining');
      },
    };
  }

  #log(message: string, error: Error): void {
    this.#input?.context.log.warn({ group: this.#input.group.metadata.name, error: error.message }, message);
  }
}

/** Of one object in one state: two Secrets of one name may have been there one after the other. */
function versionOf(found: KubeObject | null): string {
  return `${found?.metadata.uid ?? ''} ${found?.metadata.resourceVersion ?? ''}`;
}

/** When the last open invitation of a group ends, in ms since 1970. */
export function openUntilMs({ metadata }: KubeObject): number | null {
  const text = metadata.annotations?.[INVITATIONS_ANNOTATION];
  if (text === undefined) return null;
  const parsed = openInvitationsSchema.safeParse(parseJson(text));
  const ends = Object.values(parsed.data ?? {}).map((end) => Date.parse(end));
  return ends.length === 0 ? null : Math.max(...ends);
}

/** What would be wrong if this group were one of ours. */
function problemsWith(card: GroupCard, { context, group, peers }: ListenerInput): string[] {
  const cards = new Map([...peers.cards, [card.group, card]]);
  const decision = decideGroups({ own: group, admits: [...peers.admits, card.group], cards, configured: [] });
  if (decision.kind === 'wait') return [decision.reason.message];
  try {
    const sight = { existing: [], retiring: [], published: {} };
    planGroups(decision.groups, group.metadata.name, sight, decision.cards, context.clusterDns.clusterDomain);
    return [];
  } catch (error) {
    if (error instanceof ManifestError) return error.problems.map(problemLine);
    throw error;
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
