/**
 * All streams of one subscriber: one to each peer's agent, kept in step with the configuration, and what they said as a
 * map of NodeSight. Proxies and other listeners use this; an instance agent, which also answers, uses PeerStream itself.
 */
import type { Peer } from '../../api/agent-config.ts';
import type { ReloadableTls } from '../../base/mutual-tls.ts';
import type { NodeSight } from '../../core/routing/routing-view.ts';
import { PeerStream } from './peer-stream.ts';

export interface PeerWatchOptions {
  readonly globalCluster: string;
  readonly tls: ReloadableTls;
  readonly sourceAddress: string | null;
  /** Something in `sights` changed. Called in the same turn in which the line was read. */
  readonly onChange: () => void;
  /** For logs and metrics. */
  readonly onStatus?: (node: string, open: boolean, error: Error | null) => void;
}

export class PeerWatch {
  readonly #options: PeerWatchOptions;
  readonly #streams = new Map<string, { readonly key: string; readonly stream: PeerStream }>();
  readonly #sights = new Map<string, NodeSight>();
  #order = 0;

  constructor(options: PeerWatchOptions) {
    this.#options = options;
  }

  /** Live view; each sight in it is never changed, only replaced. */
  get sights(): ReadonlyMap<string, NodeSight> {
    return this.#sights;
  }

  /** Makes the streams those of `peers`: new ones are opened, gone ones closed, changed ones dialled anew. */
  follow(peers: readonly Peer[]): void {
    const wanted = new Set(peers.map((peer) => peer.node));
    for (const node of this.#streams.keys()) if (!wanted.has(node)) this.#drop(node);
    for (const peer of peers) {
      const key = JSON.stringify([peer.group, peer.agent]);
      if (this.#streams.get(peer.node)?.key === key) continue;
      // Under another name it is still the same node: what it said counts until it says something else.
      const known = this.#sights.get(peer.node);
      const { state, order } = known?.group === peer.group ? known : { state: null, order: 0 };
      this.#drop(peer.node);
      this.#sights.set(peer.node, { node: peer.node, group: peer.group, state, live: false, order });
      this.#streams.set(peer.node, { key, stream: this.#open(peer) });
    }
    this.#options.onChange();
  }

  close(): void {
    for (const { stream } of this.#streams.values()) stream.close();
    this.#streams.clear();
  }

  #open(peer: Peer): PeerStream {
    const { globalCluster, tls, sourceAddress } = this.#options;
    return new PeerStream({
      globalCluster,
      tls,
      sourceAddress,
      peer,
      onState: (state, isNew) => {
        if (isNew || this.#sights.get(peer.node)?.live !== true) this.#update(peer, { state, live: true });
        else this.#touch(peer.node);
      },
      onStatus: (open, error) => {
        if (!open) this.#update(peer, { live: false });
        this.#options.onStatus?.(peer.node, open, error);
      },
    });
  }

  /** A repeated state is newer than what others said before it, but nobody needs to hear of it. */
  #touch(node: string): void {
    const sight = this.#sights.get(node);
    this.#order += 1;
    if (sight !== undefined) this.#sights.set(node, { ...sight, order: this.#order });
  }

  #update(peer: Peer, change: Partial<Pick<NodeSight, 'state' | 'live'>>): void {
    const sight = this.#sights.get(peer.node);
    if (sight === undefined) return;
    if (change.state !== undefined) this.#order += 1;
    const next = { ...sight, ...change, order: change.state === undefined ? sight.order : this.#order };
    if (next.live === sight.live && next.state === sight.state) return;
    this.#sights.set(peer.node, next);
    this.#options.onChange();
  }

  #drop(node: string): void {
    this.#streams.get(node)?.stream.close();
    this.#streams.delete(node);
    this.#sights.delete(node);
  }
}
