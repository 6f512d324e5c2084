/**
 * Ends sessions on nodes that have vanished without a word (docs/decisions/proxy-read-route.md, "Lost nodes").
 *
 * A client's own TCP ends at the proxy and stays well, so it would wait for the kernel to give up the proxy's connection:
 * a quarter of an hour. While a node's agent is silent, its PostgreSQL is asked for TLS now and then. An answer, or a
 * refusal by a living kernel, starts the count again.
 */
import type { Peer } from '../../api/agent-config.ts';
import { LOST_NODE_CHECK_MS, LOST_NODE_MS } from '../../core/routing/limits.ts';
import { encodeSslRequest } from '../../wire/postgres-opening.ts';
import { type Attempt, attemptBackend } from './backend-attempt.ts';

export interface LostNodesOptions {
  /** Nodes that have sessions here and whose agent is not heard. */
  readonly silentNodes: () => readonly Peer[];
  readonly sourceAddress: () => string | null;
  readonly connectTimeoutMs: () => number;
  readonly onLost: (node: string) => void;
  /** For tests. Default LOST_NODE_CHECK_MS and LOST_NODE_MS. */
  readonly checkMs?: number;
  readonly lostMs?: number;
}

export function watchLostNodes(options: LostNodesOptions): { close(): void } {
  const { checkMs = LOST_NODE_CHECK_MS, lostMs = LOST_NODE_MS } = options;
  /** Since when each has given no sign of life. */
  const silentSinceMs = new Map<string, number>();
  const asking = new Map<string, Attempt>();
  const check = (): void => {
    const silent = options.silentNodes();
    const names = new Set(silent.map((peer) => peer.node));
    for (const node of silentSinceMs.keys()) if (!names.has(node)) silentSinceMs.delete(node);
    for (const peer of silent) {
      const since = silentSinceMs.get(peer.node) ?? performance.now();
      silentSinceMs.set(peer.node, since);
      if (performance.now() - since >= lostMs) {
        silentSinceMs.delete(peer.node);
        options.onLost(peer.node);
      } else if (!asking.has(peer.node)) asking.set(peer.node, ask(peer));
    }
  };
  const ask = (peer: Peer): Attempt =>
    attemptBackend(
      {
        endpoint: peer.postgres,
        sourceAddress: options.sourceAddress(),
        opening: 'ssl-request',
        bytes: encodeSslRequest(),
        timeoutMs: options.connectTimeoutMs(),
      },
      (result) => {
        asking.delete(peer.node);
        if (result.kind === 'open') result.backend.socket.on('error', () => {}).destroy();
        const isSilent = result.kind === 'failed' && (result.failure === 'timeout' || result.failure === 'unreachable');
        if (!isSilent && silentSinceMs.has(peer.node)) silentSinceMs.set(peer.node, performance.now());
      },
    );
  const timer = setInterval(check, checkMs);
  return {
    close() {
      clearInterval(timer);
      for (const attempt of asking.values()) attempt.cancel();
    },
  };
}
