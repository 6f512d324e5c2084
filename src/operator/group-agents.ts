/**
 * What the agents of one group say: their streams tell at once that something changed, `/v1/status` tells all of it. The streams
 * are not the Kubernetes API: listening costs it nothing.
 *
 * Agents are dialled by the address of their pod and verified by their name, so that neither DNS nor a Service is needed.
 */
import type { Peer } from '../api/agent-config.ts';
import { type NodeStatus, nodeStatusSchema } from '../api/node-status.ts';
import type { StateMessage } from '../api/peer-stream.ts';
import { PeerWatch } from '../agents/peer-stream/peer-watch.ts';
import { createMemoryTls, type ReloadableTls, type TlsTexts } from '../base/mutual-tls.ts';
import type { NodeSight } from '../core/routing/routing-view.ts';
import type { NodeObservation } from '../core/status/cluster-status.ts';
import { type AgentAnswer, askAgent } from '../platform/agent-api.ts';

export interface AgentPlace {
  readonly node: string;
  readonly group: string;
  /** Address of its pod; null: it has none. */
  readonly address: string | null;
  /** Name in its certificate. */
  readonly host: string;
  readonly port: number;
}

export interface GroupAgentsOptions {
  readonly globalCluster: string;
  /** `now`: something that people or decisions see; `later`: positions only. */
  readonly onChange: (urgency: 'now' | 'later') => void;
}

/** A node of the same Kubernetes cluster answers in milliseconds. */
const ASK_TIMEOUT_MS = 1500;
/** One whose stream goes on lives: a machine that is overloaded is no reason to call it lost. */
const ASK_TIMEOUT_LIVE_MS = 5000;

export class GroupAgents {
  readonly #options: GroupAgentsOptions;
  #texts: TlsTexts | null = null;
  #tls: ReloadableTls | null = null;
  #watch: PeerWatch | null = null;
  #places: readonly AgentPlace[] = [];
  readonly #errors = new Map<string, string>();
  #digest = '';

  constructor(options: GroupAgentsOptions) {
    this.#options = options;
  }

  /** Who is there, and with which certificate of ours. Throws TlsFilesError. */
  async follow(places: readonly AgentPlace[], texts: TlsTexts): Promise<void> {
    this.#places = places;
    if (this.#tls === null) {
      this.#texts = texts;
      this.#tls = await createMemoryTls(() => this.#texts as TlsTexts);
      this.#watch = new PeerWatch({
        globalCluster: this.#options.globalCluster,
        tls: this.#tls,
        sourceAddress: null,
        onChange: () => this.#onChange(),
        onStatus: (node, _open, error) => {
          if (error === null) this.#errors.delete(node);
          else this.#errors.set(node, error.message);
        },
      });
    } else {
      this.#texts = texts;
      await this.#tls.reload();
    }
    this.#watch?.follow(places.flatMap((place) => (place.address === null ? [] : [peerOf(place)])));
  }

  /** Asks all at once; never throws for one that does not answer. */
  observe(): Promise<NodeObservation[]> {
    return Promise.all(this.#places.map((place) => this.#observe(place)));
  }

  /** POST; an answer other than 200 is an answer. Throws DialError. */
  order(node: string, path: string, body: unknown, timeoutMs: number): Promise<AgentAnswer> {
    return this.#send('POST', node, path, body, timeoutMs);
  }

  /** What the streams said last, by node. */
  get sights(): ReadonlyMap<string, NodeSight> {
    return this.#watch?.sights ?? new Map();
  }

  /** Of this group, as they are followed. */
  ownPlaces(group: string): readonly AgentPlace[] {
    return this.#places.filter((place) => place.group === group);
  }

  /** PUT; as `order`. */
  put(node: string, path: string, body: unknown): Promise<AgentAnswer> {
    return this.#send('PUT', node, path, body, ASK_TIMEOUT_LIVE_MS);
  }

  #send(method: 'POST' | 'PUT', node: string, path: string, body: unknown, timeoutMs: number): Promise<AgentAnswer> {
    const place = this.#places.find((one) => one.node === node);
    if (place === undefined || place.address === null || this.#tls === null)
      return Promise.reject(new Error(`its pod has no address`));
    const target = { host: place.host, address: place.address, port: place.port };
    return askAgent({ target, credentials: this.#tls, method, path, body, timeoutMs });
  }

  close(): void {
    this.#watch?.close();
    this.#watch = null;
    this.#tls = null;
  }

  async #observe(place: AgentPlace): Promise<NodeObservation> {
    const { node: name, group, address, host, port } = place;
    const silent = (why: string): NodeObservation => ({ name, group, faults: [], answer: { kind: 'silent', why } });
    if (address === null || this.#tls === null) return silent('its pod has no address');
    // A stream that is broken has tried many times already; another wait would hold up what concerns the others.
    const sight = this.#watch?.sights.get(name);
    const lost = this.#errors.get(name);
    if (sight?.live !== true && lost !== undefined) return silent(lost);
    try {
      const target = { host, address, port };
      const timeoutMs = sight?.live === true ? ASK_TIMEOUT_LIVE_MS : ASK_TIMEOUT_MS;
      const answer = await askAgent({ target, credentials: this.#tls, path: '/v1/status', timeoutMs });
      if (answer.status !== 200) return silent(`its agent answered ${answer.status}`);
      const status: NodeStatus = nodeStatusSchema.parse(answer.body);
      if (status.node !== name) return silent(`the agent there calls itself "${status.node}"`);
      return { name, group, faults: [], answer: { kind: 'answered', status } };
    } catch (error) {
      return silent((error as Error).message);
    }
  }

  #onChange(): void {
    const sights = [...(this.#watch?.sights.values() ?? [])];
    const digest = JSON.stringify(
      sights.map(({ node, live, state }) => [node, live, state === null ? null : told(state)]),
    );
    const urgency = digest === this.#digest ? 'later' : 'now';
    this.#digest = digest;
    this.#options.onChange(urgency);
  }
}

/** What is more than a position. */
function told(state: StateMessage): unknown[] {
  const { leaderView, activity, reason, acceptsReads, timeline, incarnation } = state;
  const { unreached } = state;
  return [
    leaderView,
    activity,
    reason.code,
    acceptsReads,
    timeline,
    incarnation,
    state.leading?.isRewindable,
    unreached,
  ];
}

function peerOf({ node, group, address, host, port }: AgentPlace): Peer {
  return {
    node,
    group,
    postgres: { host, address, port },
    agent: { host, address, port },
    priority: 0,
    votes: false,
  };
}
