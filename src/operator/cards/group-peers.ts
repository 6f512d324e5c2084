/**
 * What the operator of one group knows of the other groups, and tells them. Kept in ConfigMap `<group>-peers`, one key a group, so that
 * an operator that starts anew plans with what the one before knew.
 *
 *   ConfigMap --load--> cards <--exchange-- agents of other groups
 *   own card --render--> ConfigMap, --put--> own agents
 */
import { CARDS_BYTES_MAX, cardText, CARDS_PATH, type GroupCard, parseGroupCard } from '../../api/group-card.ts';
import type { PostgresGroup } from '../../api/postgres-group.ts';
import { createMemoryTls, type ReloadableTls, type TlsTexts } from '../../base/mutual-tls.ts';
import { readCards } from '../../core/cards/stored-cards.ts';
import { type KnownCards, nextCard, takeCard } from '../../core/cards/take-card.ts';
import { AGENT_PORT, discoveryService, fqdn, peersConfigMap } from '../../core/topology/names.ts';
import { KUBE_KINDS } from '../../platform/kubernetes/kube-object.ts';
import type { KubeClient } from '../../platform/kubernetes/kube-client.ts';
import type { AgentPlace, GroupAgents } from '../group-agents.ts';
import { configMapTexts } from '../stored-object.ts';
import type { CardPlace, CardsAnswer } from './ask-cards.ts';
import { CardExchange } from './card-exchange.ts';

export class GroupPeers {
  readonly #globalCluster: string;
  readonly #onChange: () => void;
  readonly #exchange: CardExchange;
  readonly #refusals = new Map<string, string>();
  /** By node: what its agent has been given. */
  readonly #given = new Map<string, string>();
  #own = '';
  #cards: KnownCards = new Map();
  #ownCard: GroupCard | null = null;
  #seenGeneration = 0;
  #isLoaded = false;
  #texts: TlsTexts | null = null;
  #tls: ReloadableTls | null = null;
  /** Groups taken in, or joined, since the own card was told last. */
  readonly #admitted = new Set<string>();
  /** Generation of the own card that a group's agents have shown, by group. */
  readonly #heard = new Map<string, number>();
  /** The groups of the last plan that could be made; null: none yet. */
  planned: readonly PostgresGroup[] | null = null;

  constructor(options: { readonly globalCluster: string; readonly onChange: () => void }) {
    this.#globalCluster = options.globalCluster;
    this.#onChange = options.onChange;
    this.#exchange = new CardExchange({
      globalCluster: options.globalCluster,
      onCards: (answer) => this.#take(answer),
      onStatus: options.onChange,
    });
  }

  /** Of the other groups. */
  get cards(): KnownCards {
    return this.#cards;
  }

  get ownCard(): GroupCard | null {
    return this.#ownCard;
  }

  /** Groups that the own one has taken in by invitation, or was invited by. */
  get admits(): readonly string[] {
    return [...new Set([...(this.#ownCard?.admits ?? []), ...this.#admitted])];
  }

  /** Generation of the own card that this group has told it knows; 0: none. */
  heardBy(group: string): number {
    return this.#heard.get(group) ?? 0;
  }

  /**
   * Takes in what an invitation brought: these cards count, and `group` belongs to the global cluster.
   * @param generationMin of the own card, from now on.
   */
  admit(group: string, cards: readonly GroupCard[], generationMin = 1): void {
    this.#admitted.add(group);
    this.#seenGeneration = Math.max(this.#seenGeneration, generationMin - 1);
    for (const card of cards) this.#cards = takeCard(this.#cards, card, { from: card.group, own: this.#own });
  }

  /** Why a group is not known, or not asked any more: sentences. */
  get problems(): readonly string[] {
    const silent = this.#exchange.errors.map(({ place, error }) => `${placeText(place)}: ${error}`);
    return [...silent, ...this.#refusals.values()].toSorted();
  }

  /** By group, of those that cannot be asked, or whose card cannot be read. */
  get silence(): Readonly<Record<string, string>> {
    const unasked = this.#exchange.errors.flatMap(({ place, error }) =>
      place.group === null ? [] : [[place.group, error] as const],
    );
    return Object.fromEntries([...unasked, ...this.#refusals]);
  }

  /** Once. Throws ApiError. */
  async load(client: KubeClient, group: { readonly name: string; readonly namespace: string }): Promise<void> {
    if (this.#isLoaded) return;
    this.#own = group.name;
    const ref = { kind: KUBE_KINDS.ConfigMap, namespace: group.namespace, name: peersConfigMap(group.name) };
    const { own, others } = readCards(configMapTexts(await client.find(ref)), group.name, this.#globalCluster);
    this.#ownCard = own;
    this.#cards = others;
    this.#isLoaded = true;
  }

  /** @returns the own card, under a new generation if it says something new. */
  tell(fresh: Omit<GroupCard, 'generation'>): GroupCard {
    this.#ownCard = nextCard(fresh, this.#ownCard, this.#seenGeneration);
    return this.#ownCard;
  }

  /** Data of the ConfigMap: the own card and those of the others. */
  texts(): Record<string, string> {
    const all = [...(this.#ownCard === null ? [] : [this.#ownCard]), ...this.#cards.values()];
    return Object.fromEntries(
      all.toSorted((a, b) => (a.group < b.group ? -1 : 1)).map((card) => [`${card.group}.json`, `${cardText(card)}\n`]),
    );
  }

  /** Listens to the other groups. Throws TlsFilesError. */
  async follow(places: readonly CardPlace[], texts: TlsTexts): Promise<void> {
    this.#texts = texts;
    if (this.#tls === null) this.#tls = await createMemoryTls(() => this.#texts as TlsTexts);
    else await this.#tls.reload();
    this.#exchange.follow(places, this.#tls);
  }

  /**
   * Gives the own agents the cards that they do not have yet; one that does not answer gets them with a later look.
   * @returns whether all have them.
   */
  async give(agents: GroupAgents, places: readonly AgentPlace[]): Promise<boolean> {
    const cards = [...(this.#ownCard === null ? [] : [this.#ownCard]), ...this.#cards.values()];
    const text = cards.map(cardText).join('\n');
    if (Buffer.byteLength(text) > CARDS_BYTES_MAX) return false;
    const due = places.filter(
      ({ node, address }) => address !== null && this.#given.get(node) !== `${address} ${text}`,
    );
    const results = await Promise.all(
      due.map(async ({ node, address }) => {
        try {
          const { status } = await agents.put(node, CARDS_PATH, { cards });
          if (status === 200) this.#given.set(node, `${address} ${text}`);
          return status === 200;
        } catch {
          return false;
        }
      }),
    );
    return results.every(Boolean);
  }

  /** Cards of witnesses, from the record's store: untrusted, and of nobody who was known to hold data. */
  hear(cards: readonly unknown[]): void {
    const before = this.#cards;
    for (const value of cards) {
      const parsed = parseGroupCard(value, this.#globalCluster);
      if (parsed.kind === 'refused' || parsed.card.group === this.#own) continue;
      const { card } = parsed;
      const present = this.#cards.get(card.group);
      if (card.manifest.spec.instances > 0 || (present !== undefined && present.manifest.spec.instances > 0)) continue;
      this.#cards = takeCard(this.#cards, card, { from: card.group, own: this.#own });
    }
    if (this.#cards !== before) this.#onChange();
  }

  close(): void {
    this.#exchange.close();
  }

  #take({ from, cards }: CardsAnswer): void {
    const before = this.#cards;
    const seenBefore = this.#seenGeneration;
    const heardBefore = this.heardBy(from);
    this.#refusals.delete(from);
    for (const value of cards) {
      const parsed = parseGroupCard(value, this.#globalCluster);
      if (parsed.kind === 'refused') this.#refusals.set(from, `group "${from}": ${parsed.why}`);
      else if (parsed.card.group === this.#own) {
        this.#heard.set(from, parsed.card.generation);
        this.#seenGeneration = Math.max(this.#seenGeneration, parsed.card.generation);
      } else this.#cards = takeCard(this.#cards, parsed.card, { from, own: this.#own });
    }
    if (this.#cards !== before || this.#seenGeneration !== seenBefore || this.heardBy(from) !== heardBefore)
      this.#onChange();
  }
}

/** Whom to ask for cards: the manifest's endpoints, else what the cards say; and where others are to be found. */
export function cardPlaces(
  own: PostgresGroup,
  counted: readonly string[],
  cards: KnownCards,
  clusterDomain: string,
): CardPlace[] {
  const { peers, discovery } = own.spec.globalCluster;
  const places = counted.flatMap((group): CardPlace[] => {
    const peer = peers.find((one) => one.group === group);
    const told = cards.get(group)?.endpoint ?? null;
    const port = peer?.port ?? AGENT_PORT;
    const given: CardPlace[] = peer?.endpoint === undefined ? [] : [{ group, host: peer.endpoint, port }];
    if (told !== null && !given.some(({ host, port: one }) => host === told.host && one === told.port))
      given.push({ group, ...told });
    return given.length > 0 ? given : [{ group, host: defaultHost(own, group, clusterDomain), port }];
  });
  return [...places, ...discovery.map((host) => ({ group: null, host, port: AGENT_PORT }))];
}

/** The name of its group service under the own traffic strategy: that of a Service here, or one of the same domain. */
function defaultHost({ metadata, spec }: PostgresGroup, group: string, clusterDomain: string): string {
  const service = discoveryService(group);
  const { internodeTrafficStrategy, dns } = spec.connectivity;
  return internodeTrafficStrategy === 'ServiceName'
    ? `${service}.${metadata.namespace}.svc.${clusterDomain}`
    : fqdn(service, dns);
}

function placeText({ group, host, port }: CardPlace): string {
  return group === null ? `"${host}:${port}"` : `group "${group}" at "${host}:${port}"`;
}
