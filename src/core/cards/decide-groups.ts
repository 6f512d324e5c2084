/**
 * Which groups form the global cluster, as far as one operator knows: the plan is made from these (requirement D7). Pure.
 *
 * A group counts if the own manifest names it as a peer or the own group has taken it in, or a group that counts does: so all
 * operators come to the same set, and a group that nobody names any more is gone. Its silence never takes it out.
 */
import { type GroupCard, knownSpec } from '../../api/group-card.ts';
import { API_VERSION, KIND, type PostgresGroup } from '../../api/postgres-group.ts';
import type { Reason } from '../leadership/voter.ts';
import { resolveShared } from '../topology/shared-settings.ts';
import type { KnownCards } from './take-card.ts';

export interface GroupsInput {
  readonly own: PostgresGroup;
  /** Groups that the own one has taken in by invitation, or was invited by. */
  readonly admits: readonly string[];
  readonly cards: KnownCards;
  /** Groups that the stored configurations of the own nodes name: they were known once. */
  readonly configured: readonly string[];
}

export type GroupsDecision =
  | {
      readonly kind: 'known';
      /** In the order that all operators have: the primary group, then by name. The own one included. */
      readonly groups: readonly PostgresGroup[];
      readonly primaryGroup: string;
      /** Cards of the others among them. */
      readonly cards: readonly GroupCard[];
      /** Count, and have told nothing yet: they are taken in when they do. */
      readonly unknown: readonly string[];
    }
  /** Nothing may be made or changed yet. */
  | { readonly kind: 'wait'; readonly reason: Reason; readonly unknown: readonly string[] };

export function decideGroups(input: GroupsInput): GroupsDecision {
  const { own, configured } = input;
  const cards = withoutReplaced(own, input.cards);
  const counted = countedGroups(input);
  const present = counted.flatMap((name) => cards.get(name) ?? []);
  const unknown = counted.filter((name) => !cards.has(name));
  const wait = (code: string, message: string): GroupsDecision => ({
    kind: 'wait',
    reason: { code, message },
    unknown,
  });

  const primary = primaryGroupOf(own, present, cards);
  if (primary === null)
    return wait(
      'PrimaryGroupUnknown',
      'Nobody says which group makes the database: set spec.globalCluster.primaryGroup, the same in all groups',
    );
  const ownName = own.metadata.name;
  if (primary !== ownName && !present.some(({ group }) => group === primary))
    return wait(
      'WaitingForGroups',
      counted.includes(primary)
        ? `Group "${primary}", which makes the database, has not told of itself yet`
        : `Group "${primary}" makes the database, and is not known: name it in spec.globalCluster.peers, or join it`,
    );
  const forgotten = unknown.filter((name) => configured.includes(name));
  if (forgotten.length > 0)
    return wait(
      'WaitingForGroups',
      `The nodes know ${list(forgotten)}, whose card is lost: nothing is changed until it is there again`,
    );
  const groups = [own, ...present.map(groupOfCard)]
    .map((group) => withPrimaryGroup(group, primary, cards))
    .toSorted((a, b) => compareGroups(a.metadata.name, b.metadata.name, primary));
  const { peers, credentialsSecretRef } = own.spec.globalCluster;
  if (peers.length > 0 && credentialsSecretRef === undefined && own.spec.bootstrap.secretRef === undefined)
    return wait(
      'CredentialsNotShared',
      'All groups hold one database, so the login of the application is one: name a Secret that is the same everywhere in spec.globalCluster.credentialsSecretRef',
    );
  const { store } = resolveShared(groups).coordination;
  if (counted.length > 0 && store !== 'etcd')
    return wait(
      'RecordNotShared',
      `Several groups need one record that all reach: set spec.coordination.store: etcd (found "${store}")`,
    );
  return { kind: 'known', groups, primaryGroup: primary, cards: present, unknown };
}

/** Names of the other groups, sorted. */
export function countedGroups({ own, admits, cards: known }: Pick<GroupsInput, 'own' | 'admits' | 'cards'>): string[] {
  const ownName = own.metadata.name;
  const cards = withoutReplaced(own, known);
  const found = new Set<string>();
  const gone = new Set<string>();
  const next = [...own.spec.globalCluster.peers.map(({ group }) => group), ...admits];
  // Where others are only found, whoever has told of itself under a certificate of the global cluster counts.
  if (own.spec.globalCluster.discovery.length > 0) next.push(...cards.keys());
  for (let name = next.pop(); name !== undefined; name = next.pop()) {
    const card = cards.get(name);
    if (name === ownName || found.has(name) || gone.has(name)) continue;
    if (card?.left === true) {
      // It does not count, and those that it took in do: they may know each other by nobody else.
      gone.add(name);
      next.push(...card.admits);
      continue;
    }
    found.add(name);
    if (card === undefined) continue;
    next.push(...card.manifest.spec.globalCluster.peers.map(({ group }) => group), ...card.admits);
  }
  return [...found].toSorted();
}

/**
 * A group that has left, and that the manifest names with another CA than it had: a new group of that name, of which nothing is known
 * yet. Its first card goes above the tombstone, which it is shown when it asks for cards.
 */
function withoutReplaced(own: PostgresGroup, cards: KnownCards): KnownCards {
  const replaced = own.spec.globalCluster.peers.flatMap(({ group, caBundle = '' }) => {
    const card = cards.get(group);
    const isOther = caBundle !== '' && card !== undefined && squeezed(caBundle) !== squeezed(card.caBundle);
    return card?.left === true && isOther ? [group] : [];
  });
  return replaced.length === 0 ? cards : new Map([...cards].filter(([group]) => !replaced.includes(group)));
}

/** However it is broken into lines. */
function squeezed(pem: string): string {
  return pem.replace(/\s+/g, '');
}

/** A group that stands alone makes its own database; one that has others waits until somebody says. */
function primaryGroupOf(own: PostgresGroup, present: readonly GroupCard[], cards: KnownCards): string | null {
  const { primaryGroup, peers, discovery, join } = own.spec.globalCluster;
  const told = [primaryGroup, ...present.map(({ manifest }) => manifest.spec.globalCluster.primaryGroup)];
  const named = told.find((one) => one !== undefined && !hasLeft(one, cards));
  if (named !== undefined) return named;
  const isLeft = told.some((one) => one !== undefined) || [...cards.values()].some(({ left }) => left);
  // The database is there, and goes on in those that stay: all of them find the same one.
  if (isLeft) return [own.metadata.name, ...present.map(({ group }) => group)].toSorted()[0] ?? null;
  return peers.length === 0 && discovery.length === 0 && join === undefined ? own.metadata.name : null;
}

function hasLeft(group: string, cards: KnownCards): boolean {
  return cards.get(group)?.left === true;
}

export function compareGroups(a: string, b: string, primary: string): number {
  if (a === b) return 0;
  if (a === primary) return -1;
  if (b === primary) return 1;
  return a < b ? -1 : 1;
}

/** Without fields of newer versions: what nobody here knows takes no part in a plan. */
export function groupOfCard(card: GroupCard): PostgresGroup {
  const { name, namespace } = card.manifest.metadata;
  return { apiVersion: API_VERSION, kind: KIND, metadata: { name, namespace }, spec: knownSpec(card) };
}

/** What another says stays: a contradiction is found by core/topology/validate.ts, which names both. */
function withPrimaryGroup(group: PostgresGroup, primaryGroup: string, cards: KnownCards): PostgresGroup {
  const { primaryGroup: said, join: _done, ...rest } = group.spec.globalCluster;
  const present = said === undefined || hasLeft(said, cards) ? primaryGroup : said;
  // Whoever is planned with has joined, and may have become the primary group since.
  return { ...group, spec: { ...group.spec, globalCluster: { ...rest, primaryGroup: present } } };
}

function list(names: readonly string[]): string {
  return names.map((name) => `"${name}"`).join(', ');
}
