/**
 * Peers whose name or port has changed while they are reached under the former one: that goes on being dialled until the new one
 * has been reached, by a handshake that proves who is there. So a change of names costs no connection that the group needs, and
 * one to names that do not resolve yet costs nothing but its being taken later.
 *
 *   wanted != present, present is reached --> tried every few seconds --reached--> taken
 */
import { isDeepStrictEqual } from 'node:util';
import type { Peer } from '../../api/agent-config.ts';
import { dialTls } from '../../base/dial-tls.ts';
import type { ReloadableTls } from '../../base/mutual-tls.ts';

const TRIAL_TIMEOUT_MS = 2000;
/** From the end of one trial to the next. */
const TRIAL_PAUSE_MS = 1000;

export interface ChangedEndpointsOptions {
  readonly globalCluster: string;
  readonly tls: ReloadableTls;
  readonly sourceAddress: string | null;
  /** The peer as it is wanted, which is to be dialled from now on. */
  readonly onReached: (peer: Peer) => void;
  /** Once for each trial's begin, and its first failure. */
  readonly onTrial: (peer: Peer, error: Error | null) => void;
  /** For tests. Default: TRIAL_PAUSE_MS. */
  readonly pauseMs?: number;
}

interface Trial {
  readonly peer: Peer;
  readonly abort: AbortController;
}

export class ChangedEndpoints {
  readonly #options: ChangedEndpointsOptions;
  readonly #trials = new Map<string, Trial>();

  constructor(options: ChangedEndpointsOptions) {
    this.#options = options;
  }

  /**
   * @param wanted as configured. @param present as they are dialled now.
   * @returns the peers to dial now: those of `wanted`, with present endpoints where the wanted ones are still to be reached.
   */
  settle(wanted: readonly Peer[], present: readonly Peer[], isReached: (node: string) => boolean): Peer[] {
    const nodes = new Set(wanted.map(({ node }) => node));
    for (const node of this.#trials.keys()) if (!nodes.has(node)) this.#end(node);
    return wanted.map((peer) => {
      const now = present.find(({ node, group }) => node === peer.node && group === peer.group);
      if (now === undefined || isDeepStrictEqual(now.agent, peer.agent) || !isReached(peer.node)) {
        this.#end(peer.node);
        return peer;
      }
      if (!isDeepStrictEqual(this.#trials.get(peer.node)?.peer, peer)) this.#begin(peer);
      return { ...peer, agent: now.agent, postgres: now.postgres };
    });
  }

  close(): void {
    for (const node of [...this.#trials.keys()]) this.#end(node);
  }

  #end(node: string): void {
    this.#trials.get(node)?.abort.abort(new Error('The trial has ended'));
    this.#trials.delete(node);
  }

  #begin(peer: Peer): void {
    this.#end(peer.node);
    const trial: Trial = { peer, abort: new AbortController() };
    this.#trials.set(peer.node, trial);
    this.#options.onTrial(peer, null);
    void this.#attempt(trial, 1);
  }

  async #attempt(trial: Trial, count: number): Promise<void> {
    const { peer, abort } = trial;
    const { globalCluster, tls, sourceAddress, pauseMs = TRIAL_PAUSE_MS } = this.#options;
    try {
      const socket = await dialTls(tls, peer.agent, {
        sourceAddress,
        expect: { globalCluster, group: peer.group, name: peer.node },
        timeoutMs: TRIAL_TIMEOUT_MS,
        signal: abort.signal,
      });
      socket.on('error', () => {}).destroy();
    } catch (error) {
      if (abort.signal.aborted) return;
      if (count === 1) this.#options.onTrial(peer, error as Error);
      const timer = setTimeout(() => void this.#attempt(trial, count + 1), pauseMs);
      abort.signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
      return;
    }
    if (abort.signal.aborted) return;
    this.#trials.delete(peer.node);
    this.#options.onReached(peer);
  }
}

/** `peers` with this one in its node's place. */
export function withPeer(peers: readonly Peer[], peer: Peer): Peer[] {
  return peers.map((one) => (one.node === peer.node ? peer : one));
}
