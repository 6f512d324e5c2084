/**
 * Who of the other nodes is reached, and what is new in what they tell: the links to the peers of the configuration, the echoes to
 * the leader's beats, and one line in the log for each change of a link.
 */
import type { Peer } from '../../api/agent-config.ts';
import type { BeatMessage, EchoMessage, StateMessage } from '../../api/peer-stream.ts';
import { formatLsnOrNull } from '../../base/lsn.ts';
import { ChangedEndpoints, withPeer } from '../peer-stream/changed-endpoints.ts';
import type { NodeContext } from './node-context.ts';
import { PeerLink, type PeerView } from './peer-links.ts';
import type { PostgresObserver } from './postgres-view.ts';

/** At 3 s of fence every second beat is echoed. */
const ECHOES_PER_FENCE = 6;
/** A beat that comes this much early still counts as due, so that the rhythm does not slip by a whole beat. */
const ECHO_SLACK_MS = 50;

export interface PeerHearingEvents {
  /** A peer told something that others act on. */
  onNews(): void;
  /** A link was made, refused or lost. */
  onLink(): void;
}

export class PeerHearing {
  readonly #node: NodeContext;
  readonly #observer: PostgresObserver;
  readonly #events: PeerHearingEvents;
  #isReading = false;
  /** By peer: why it is not reached, as last logged; null: it is reached. */
  readonly #linkNews = new Map<string, string | null>();
  /** By peer: what its last state said, as far as anything follows from it. */
  readonly #stateNews = new Map<string, string>();
  /** Peers with new names that are dialled by their former ones until the new ones are reached. */
  readonly #changedEndpoints: ChangedEndpoints;
  #echoed = { node: '', promisedTerm: -1, atMs: 0 };

  constructor(node: NodeContext, observer: PostgresObserver, events: PeerHearingEvents) {
    this.#node = node;
    this.#observer = observer;
    this.#events = events;
    this.#changedEndpoints = new ChangedEndpoints({
      globalCluster: node.config.globalCluster,
      tls: node.credentials,
      sourceAddress: node.config.listen.address,
      onReached: (peer) => {
        node.config = { ...node.config, peers: withPeer(node.config.peers, peer) };
        this.connect();
        node.log.info({ peer: peer.node, host: peer.agent.host }, 'peer reached by its new name');
      },
      onTrial: (peer, error) => {
        const { host } = peer.agent;
        if (error === null)
          node.log.info({ peer: peer.node, host }, 'peer has a new name, tried beside the former one');
        else node.log.warn({ peer: peer.node, host, error: error.message }, 'peer not reached by its new name yet');
      },
    });
  }

  /** The peers of a new configuration, as they are to be dialled now; `connect` takes them from the node's configuration. */
  settle(peers: readonly Peer[]): Peer[] {
    const isReached = (name: string): boolean => this.#node.links.get(name)?.view.isConnected === true;
    return this.#changedEndpoints.settle(peers, this.#node.config.peers, isReached);
  }

  /** New names are tried no more. */
  endTrials(): void {
    this.#changedEndpoints.close();
  }

  /** Makes links to peers that are new in the configuration and ends those that are gone or changed. */
  connect(): void {
    const node = this.#node;
    const wanted = new Map(
      node.config.peers.filter((peer) => peer.node !== node.config.node).map((peer) => [peer.node, peer]),
    );
    for (const [name, link] of node.links) {
      if (JSON.stringify(wanted.get(name)) === JSON.stringify(link.view.peer)) continue;
      link.close();
      node.links.delete(name);
    }
    for (const [name, peer] of wanted) {
      if (node.links.has(name)) continue;
      const link = new PeerLink(peer, {
        globalCluster: node.config.globalCluster,
        credentials: node.credentials,
        sourceAddress: node.config.listen.address,
        pulse: node.pulse,
        events: {
          onState: (view) => this.#onState(view),
          onLink: (view) => this.#onLink(view),
          onBeat: (view, beat) => this.#onBeat(view, beat),
        },
      });
      node.links.set(name, link);
    }
  }

  close(): void {
    for (const link of this.#node.links.values()) link.close();
  }

  /** Members other than this node whose agents are connected. */
  otherMembers(): PeerView[] {
    const members = this.#node.acceptedRecord?.members ?? [];
    const views = members.map((member) => this.#node.links.get(member.node)?.view);
    return views.filter((view) => view?.isConnected === true) as PeerView[];
  }

  /** Nodes that are connected and may lead, members or not. */
  otherCandidates(): PeerView[] {
    const views = [...this.#node.links.values()].map((link) => link.view);
    return views.filter(({ peer, isConnected }) => isConnected && peer.priority > 0);
  }

  #onState(view: PeerView): void {
    const node = this.#node;
    const told = view.state?.leaderView;
    const known = node.acceptedRecord;
    // One read at a time: peers tell this several times a second, and a slow store must not get slower by it.
    const isNew = told !== undefined && (told.version > (known?.version ?? 0) || told.term > (known?.term ?? 0));
    if (isNew && !this.#isReading) {
      this.#isReading = true;
      node
        .readRecord()
        .catch((error: Error) => node.log.debug({ error: error.message }, 'record not read'))
        .finally(() => {
          this.#isReading = false;
        });
    }
    if (view.state === null) return;
    // Each says every few seconds that nothing has changed but its position: nobody need look again for that.
    const news = newsOf(view.state);
    if (this.#stateNews.get(view.peer.node) === news) return;
    this.#stateNews.set(view.peer.node, news);
    this.#events.onNews();
  }

  #onLink(view: PeerView): void {
    this.#tellLink(view);
    this.#stateNews.delete(view.peer.node);
    this.#events.onLink();
  }

  /** Once for each change, not for each attempt. */
  #tellLink({ peer, isConnected, lastError }: PeerView): void {
    if (this.#linkNews.get(peer.node) === lastError) return;
    this.#linkNews.set(peer.node, lastError);
    if (isConnected) this.#node.log.info({ peer: peer.node }, 'peer reached');
    else this.#node.log.warn({ peer: peer.node, error: lastError }, 'peer not reached');
  }

  #onBeat(view: PeerView, beat: BeatMessage): EchoMessage | null {
    const { pulse, voter } = this.#node;
    pulse.nudge();
    if (!this.#isEchoDue(view)) return null;
    return {
      type: 'echo',
      nonce: beat.nonce,
      promisedTerm: voter.promisedTerm,
      incarnation: voter.incarnation,
      flushLsn: formatLsnOrNull(this.#observer.view.flushLsn),
      replayLsn: formatLsnOrNull(this.#observer.view.replayLsn),
    };
  }

  /** An echo proves to the leader that it is heard; ECHOES_PER_FENCE of them in a fence are enough, a new promise goes at once. */
  #isEchoDue(view: PeerView): boolean {
    const { promisedTerm } = this.#node.voter;
    const isDue =
      view.peer.node !== this.#echoed.node ||
      promisedTerm !== this.#echoed.promisedTerm ||
      view.beatAtMs - this.#echoed.atMs >= this.#node.config.timing.fenceMs / ECHOES_PER_FENCE - ECHO_SLACK_MS;
    if (isDue) this.#echoed = { node: view.peer.node, promisedTerm, atMs: view.beatAtMs };
    return isDue;
  }
}

/** What others act on in a state; positions and lags alone are no news. */
function newsOf(state: StateMessage): string {
  const { leaderView, promisedTerm, activity, reason, incarnation, timeline, acceptsReads, leading } = state;
  const words = [leaderView.term, leaderView.version, leaderView.leader, leaderView.phase, promisedTerm, activity];
  return JSON.stringify([...words, reason.code, incarnation, timeline, acceptsReads, leading]);
}
