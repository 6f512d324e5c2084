/**
 * The login of the application as this group has it: agreed on with the others, given to the own agents for them, fetched from
 * whoever has a newer one. Decisions: core/joining/decide-login.ts.
 */
import { type ApplicationLogin, applicationLoginSchema, CREDENTIALS_PATH } from '../../api/invitation.ts';
import type { GroupCard } from '../../api/group-card.ts';
import { createMemoryTls, type ReloadableTls, type TlsTexts } from '../../base/mutual-tls.ts';
import { decideLogin } from '../../core/joining/decide-login.ts';
import { appSecret } from '../../core/topology/names.ts';
import { KUBE_KINDS } from '../../platform/kubernetes/kube-object.ts';
import type { KubeClient } from '../../platform/kubernetes/kube-client.ts';
import type { AgentPlace, GroupAgents } from '../group-agents.ts';
import type { Login, RenderInput } from '../objects/render-input.ts';
import { secretTexts } from '../stored-object.ts';
import { askNode } from './ask-node.ts';
import { type AgreedLogin, readAgreedLogin, writeAgreedLogin } from './stored-membership.ts';

/** A change of the Secret by its user is seen after this: a request, where there are other groups. */
const SHOWN_FRESH_MS = 30_000;
/** Agents keep it in memory: one that was started anew gets it again within this. */
const GIVEN_FRESH_MS = 300_000;

export interface LoginInput {
  readonly client: KubeClient;
  readonly input: RenderInput;
  /** Named by the manifest. */
  readonly given: Login | null;
  /** What would be rendered without an agreement. */
  readonly own: Login;
  /** Cards of the other groups. */
  readonly cards: readonly GroupCard[];
  readonly tls: TlsTexts;
}

export class GroupLogin {
  #agreed: AgreedLogin | null = null;
  #isLoaded = false;
  #shown: { readonly password: string; readonly readAtMs: number } | null = null;
  #texts: TlsTexts | null = null;
  #tls: ReloadableTls | null = null;
  readonly #given = new Map<string, { readonly key: string; readonly atMs: number }>();
  /** Why the newest is not here yet; null: it is. */
  problem: string | null = null;

  /** Null: nothing has been agreed on. */
  get login(): ApplicationLogin | null {
    return this.#agreed?.login ?? null;
  }

  /** Once. Throws ApiError. */
  async load(client: KubeClient, group: { readonly name: string; readonly namespace: string }): Promise<void> {
    if (this.#isLoaded) return;
    this.#agreed = await readAgreedLogin(client, group);
    this.#isLoaded = true;
  }

  /** What came with an invitation. Throws ApiError. */
  async adopt(client: KubeClient, input: RenderInput, login: ApplicationLogin): Promise<void> {
    const previousPassword = this.#agreed?.login.password ?? null;
    const agreed = { login, previousPassword: previousPassword === login.password ? null : previousPassword };
    await writeAgreedLogin(client, input, agreed);
    this.#agreed = agreed;
  }

  /** @returns whether the login is another one now: it is to be rendered anew. Throws ApiError. */
  async settle({ client, input, given, own, cards, tls }: LoginInput): Promise<boolean> {
    const { name, namespace } = input.group.metadata;
    await this.load(client, { name, namespace });
    const shown = given ?? { username: own.username, password: await this.#shownPassword(client, input, own) };
    const decision = decideLogin({
      group: name,
      agreed: this.login,
      previousPassword: this.#agreed?.previousPassword ?? null,
      shown,
      isGiven: given !== null,
      others: cards.map(({ group, credentialsGeneration: generation }) => ({ group, generation })),
    });
    this.problem = null;
    if (decision.kind === 'keep') return false;
    if (decision.kind === 'agree') {
      await this.adopt(client, input, decision.login);
      return true;
    }
    const card = cards.find(({ group }) => group === decision.from);
    try {
      const fetched = await this.#fetch(card, tls);
      if (fetched.generation < decision.generation)
        throw new Error(`its agent has only generation ${fetched.generation}`);
      // Until the Secret is written anew it shows the password before.
      const before = this.login?.password ?? shown.password;
      await writeAgreedLogin(client, input, { login: fetched, previousPassword: before });
      this.#agreed = { login: fetched, previousPassword: before };
      return true;
    } catch (error) {
      this.problem = `Cannot fetch the login of generation ${decision.generation} from group "${decision.from}": ${(error as Error).message}`;
      return false;
    }
  }

  /** To the own agents, for the operators of the others. @returns whether all have it. */
  async give(agents: GroupAgents, places: readonly AgentPlace[]): Promise<boolean> {
    const { login } = this;
    if (login === null) return true;
    const nowMs = performance.now();
    const results = await Promise.all(
      places.map(async ({ node, address }) => {
        if (address === null) return true;
        const key = `${address} ${login.generation}`;
        const before = this.#given.get(node);
        if (before?.key === key && nowMs - before.atMs < GIVEN_FRESH_MS) return true;
        try {
          const { status } = await agents.put(node, CREDENTIALS_PATH, login);
          if (status === 200) this.#given.set(node, { key, atMs: nowMs });
          return status === 200;
        } catch {
          return false;
        }
      }),
    );
    return results.every(Boolean);
  }

  async #shownPassword(client: KubeClient, { group }: RenderInput, own: Login): Promise<string> {
    const nowMs = performance.now();
    if (this.#shown === null || nowMs - this.#shown.readAtMs >= SHOWN_FRESH_MS) {
      const { name, namespace } = group.metadata;
      const found = await client.find({ kind: KUBE_KINDS.Secret, namespace, name: appSecret(name) });
      const { password = '' } = secretTexts(found);
      this.#shown = { password: password === '' ? (this.login?.password ?? own.password) : password, readAtMs: nowMs };
    }
    return this.#shown.password;
  }

  async #fetch(card: GroupCard | undefined, texts: TlsTexts): Promise<ApplicationLogin> {
    const endpoint = card?.endpoint ?? null;
    if (card === undefined || endpoint === null) throw new Error('nobody knows where it is reached');
    this.#texts = texts;
    if (this.#tls === null) this.#tls = await createMemoryTls(() => this.#texts as TlsTexts);
    else await this.#tls.reload();
    const { globalCluster, group } = card;
    const { status, body } = await askNode({
      tls: this.#tls,
      globalCluster,
      group,
      ...endpoint,
      path: CREDENTIALS_PATH,
    });
    if (status !== 200) throw new Error(`its agent answered ${status}`);
    return applicationLoginSchema.parse(body);
  }
}
