/**
 * One client connection, from its first byte to its end.
 *
 *   opening --SSLRequest, direct TLS--> attempting --answer--> relaying --both ended--> closed
 *      |  \--CancelRequest--> forwarded      |  ^
 *      |                                failed|  |view changed, or the retry delay is over
 *      +--anything else--> refusing          v  |
 *                             ^            held --deadline, too many--> refusing
 *                             +-- counts as a connection until its client has gone, or LINGER_MS
 *
 * TLS passes through untouched, so nothing of the session itself is seen here. Bytes that a client sends behind its
 * SSLRequest (a pipelined ClientHello) are kept until the backend has said yes: servers before 17 refuse them ahead of it.
 */
import type * as net from 'node:net';
import { cutSocket } from '../../base/cut-socket.ts';
import type { DirectReadSocket } from '../../base/direct-read-socket.ts';
import { type Relay, relay } from '../../base/relay.ts';
import {
  EARLY_BYTES_MAX,
  FLUSH_MS,
  LINGER_MS,
  RETRY_DELAY_MS_MAX,
  RETRY_DELAY_MS_MIN,
} from '../../core/routing/limits.ts';
import { DIRECT_TLS_VERSION_MIN, type Route, type WaitReason } from '../../core/routing/routes.ts';
import type { PostgresError } from '../../wire/postgres-error.ts';
import { encodeSslRequest } from '../../wire/postgres-opening.ts';
import { type Attempt, type AttemptResult, attemptBackend, type TlsOpening } from './backend-attempt.ts';
import { ClientOpening } from './client-opening.ts';
import { refusals, type RefusalReason, refuseInClear, refuseInsideTls } from './refusal.ts';
import type { Router } from './router.ts';

/** Why a session ended; a label of metrics. */
export type EndReason =
  | 'done'
  | 'client-left'
  | 'first-bytes-timeout'
  | 'refused'
  | 'cancel-request'
  | 'superseded'
  | 'fenced'
  | 'lost'
  | 'drained'
  | 'error';

type Phase = 'opening' | 'waiting' | 'relaying' | 'refusing' | 'ended';

const SSL_REQUEST = encodeSslRequest();
const SSL_YES = Buffer.from('S');
const EMPTY = Buffer.alloc(0);

export class Session {
  readonly route: Route;
  /** Client's address, from its PROXY header where there was one. */
  readonly source: string;
  readonly #router: Router;
  readonly #client: DirectReadSocket;
  #backend: DirectReadSocket | null = null;
  /** From the client (a) to the backend (b) and back. */
  #relay: Relay | null = null;
  #phase: Phase = 'opening';
  /** Bytes of TLS that came before the backend's answer, and how many of them went with the attempt. */
  #early: Buffer = EMPTY;
  #earlySent = 0;
  #opening: TlsOpening = 'ssl-request';
  #timer: NodeJS.Timeout | null;
  #attempt: Attempt | null = null;
  /** The node it is attempted at, then related to. */
  #node: string | null = null;
  #term = 0;
  #tried = new Set<string>();
  #waitingSince = 0;
  #retryDelayMs = RETRY_DELAY_MS_MIN;
  #held = false;
  #waitReason: WaitReason | null = null;
  #lastFailure: string | null = null;
  /** True while the client's last bytes have no answer: where a cancel request would go. */
  #awaitsAnswer = false;
  #counted = { read: 0, written: 0 };

  constructor(router: Router, accepted: { client: DirectReadSocket; route: Route; source: string }) {
    this.#router = router;
    this.#client = accepted.client;
    this.route = accepted.route;
    this.source = accepted.source;
    this.#timer = setTimeout(() => this.end('first-bytes-timeout'), router.limits.firstBytesTimeoutMs);
    const opening = new ClientOpening(accepted.source);
    this.#client.onChunk = (chunk) => this.#onOpeningBytes(opening, chunk);
    this.#client.socket.on('error', () => this.#onClosed());
    this.#client.socket.on('close', () => this.#onClosed());
    this.#client.socket.on('end', () => {
      if (this.#phase === 'opening' || this.#phase === 'waiting') this.end('client-left');
    });
  }

  get node(): string | null {
    return this.#node;
  }
  get isRelaying(): boolean {
    return this.#phase === 'relaying';
  }
  /** It had a backend, also when it has ended since. */
  get isOpened(): boolean {
    return this.#backend !== null;
  }
  get isHeld(): boolean {
    return this.#held;
  }
  get awaitsAnswer(): boolean {
    return this.#awaitsAnswer;
  }
  /** Bytes moved since the last call. */
  takeUncountedBytes(): { readonly fromClient: number; readonly toClient: number } {
    const { bytesRead, bytesWritten } = this.#client.socket;
    const uncounted = { fromClient: bytesRead - this.#counted.read, toClient: bytesWritten - this.#counted.written };
    this.#counted = { read: bytesRead, written: bytesWritten };
    return uncounted;
  }

  /** Bytes that were read before this session existed (behind a PROXY header). */
  takeEarlyBytes(chunk: Buffer): void {
    if (chunk.length > 0) this.#client.onChunk(chunk);
  }

  /** The view changed: a held session tries at once, and one that is being opened to the wrong node starts again. */
  onRoutesChanged(ended: ReadonlySet<string>): void {
    if (this.#phase !== 'waiting') return;
    const node = this.#attempt === null ? null : this.#node;
    if (node !== null && !ended.has(node) && this.#router.isStillRight(this.route, node, this.#term)) return;
    this.#cancelAttempt();
    this.#tried.clear();
    this.#retryDelayMs = RETRY_DELAY_MS_MIN;
    this.#tryNext();
  }

  /** Ends it at once, whatever it does. Kernel buffers are thrown away too: 'superseded' means that nothing may arrive. */
  end(reason: EndReason): void {
    if (this.#phase === 'ended') return;
    this.#phase = 'ended';
    this.#clearTimer();
    this.#cancelAttempt();
    if (this.#backend !== null) this.#closeEnd(this.#backend, reason);
    this.#closeEnd(this.#client, reason);
    this.#router.onSessionEnd(this, reason);
  }

  #closeEnd(end: DirectReadSocket, reason: EndReason): void {
    end.onChunk = () => {};
    if (reason === 'superseded' || reason === 'fenced' || reason === 'lost') cutSocket(end.socket);
    else if (reason === 'drained' || reason === 'done' || reason === 'cancel-request') closeSoon(end.socket);
    else end.socket.destroy();
  }

  #onOpeningBytes(opening: ClientOpening, chunk: Buffer): void {
    const step = opening.take(chunk);
    switch (step.kind) {
      case 'more':
        return;
      case 'answer':
        this.#client.socket.write(step.bytes);
        return;
      case 'open':
        return this.#startWaiting(step.opening, step.early);
      case 'cancel':
        this.#router.forwardCancel(this.route, step.packet);
        return this.end('cancel-request');
      case 'refuse':
        return this.#refuse(step.reason, step.error);
      case 'alert':
        return this.#refuseWithAlert(step.reason, step.alert);
    }
  }

  #startWaiting(opening: TlsOpening, early: Buffer): void {
    this.#clearTimer();
    this.#opening = opening;
    this.#early = early;
    this.#phase = 'waiting';
    this.#waitingSince = performance.now();
    this.#client.onChunk = (chunk) => this.#onEarlyBytes(chunk);
    this.#tryNext();
  }

  /** More of its TLS, before the backend has answered. */
  #onEarlyBytes(chunk: Buffer): void {
    this.#early = Buffer.concat([this.#early, chunk]);
    if (this.#early.length > EARLY_BYTES_MAX) this.#client.socket.pause();
  }

  /** One attempt at the next node that the routes name; without one, wait. */
  #tryNext(): void {
    this.#clearTimer();
    const choice = this.#router.choose(this.route, this.source, this.#tried);
    if (choice.kind === 'wait') {
      this.#waitReason = choice.reason;
      return this.#hold();
    }
    this.#waitReason = null;
    if (
      this.#opening === 'direct-tls' &&
      choice.serverVersion !== null &&
      choice.serverVersion < DIRECT_TLS_VERSION_MIN
    ) {
      return this.#refuse('direct-tls-version', refusals.directTlsVersion(choice.serverVersion));
    }
    this.#node = choice.node;
    this.#term = choice.term;
    this.#earlySent = this.#opening === 'ssl-request' ? 0 : this.#early.length;
    this.#router.onAttempting(choice.node);
    this.#attempt = attemptBackend(
      {
        endpoint: choice.endpoint,
        sourceAddress: this.#router.sourceAddress,
        opening: this.#opening,
        bytes: this.#opening === 'ssl-request' ? SSL_REQUEST : this.#early,
        timeoutMs: choice.timeoutMs,
      },
      (result) => this.#onAttempted(choice.node, result),
    );
  }

  #cancelAttempt(): void {
    if (this.#attempt === null) return;
    this.#attempt.cancel();
    this.#attempt = null;
    this.#router.onAttemptCancelled(this.#node as string);
    this.#node = null;
  }

  #onAttempted(node: string, result: AttemptResult): void {
    this.#attempt = null;
    this.#router.onAttempted(node, result);
    if (result.kind === 'open') return this.#startRelaying(result.backend, result.answer);
    this.#node = null;
    this.#lastFailure = `"${node}": ${result.message}`;
    this.#tried.add(node);
    // The next node at once, where there is one; a node alone is asked again after a delay.
    this.#tryNext();
  }

  #hold(): void {
    const { limits } = this.#router;
    const waitedMs = performance.now() - this.#waitingSince;
    if (waitedMs >= limits.holdMs) {
      return this.#refuse('no-backend', refusals.noBackend(this.#waitReason, waitedMs, this.#lastFailure));
    }
    if (!this.#held && !this.#router.admitHeld(this)) {
      return this.#refuse('too-many-held', refusals.tooManyHeld(limits.heldConnectionsMax));
    }
    this.#held = true;
    // After failures by itself; without a route only the deadline counts, the view wakes it.
    const failed = this.#tried.size > 0 || this.#waitReason?.code === 'NoAnswer';
    const delayMs = failed ? Math.min(this.#retryDelayMs, limits.holdMs - waitedMs) : limits.holdMs - waitedMs;
    this.#retryDelayMs = Math.min(this.#retryDelayMs * 2, RETRY_DELAY_MS_MAX);
    this.#timer = setTimeout(
      () => {
        this.#tried.clear();
        this.#tryNext();
      },
      Math.max(1, delayMs),
    );
  }

  #startRelaying(backend: DirectReadSocket, answer: Buffer): void {
    this.#backend = backend;
    this.#phase = 'relaying';
    this.#clearTimer();
    this.#router.onSessionOpen(this, performance.now() - this.#waitingSince);
    this.#held = false;
    const client = this.#client;
    backend.socket.on('error', () => this.#onClosed());
    backend.socket.on('close', () => this.#onClosed());
    backend.socket.once('end', () => this.#lingerAfterBackend());
    client.socket.write(this.#opening === 'ssl-request' ? SSL_YES : answer);
    if (this.#early.length > this.#earlySent) backend.socket.write(this.#early.subarray(this.#earlySent));
    this.#early = EMPTY;
    this.#relay = relay(client, backend);
    this.#watchAnswers();
  }

  /** One side closed, or broke: the other one goes with it. It is no error once either side had said its last word. */
  #onClosed(): void {
    if (this.#phase !== 'relaying') return this.end(this.#phase === 'refusing' ? 'refused' : 'client-left');
    const client = this.#client.socket;
    const hasServerEnded = this.#backend?.socket.readableEnded === true;
    // What the server sent last is still on its way; #lingerAfterBackend watches over it.
    if (hasServerEnded && !client.destroyed && this.#relay?.isFlushedToA === false) return;
    this.end(hasServerEnded || client.readableEnded ? 'done' : 'error');
  }

  /** The server ended the session: the client gets what is left as long as it takes some of it, and then must go. */
  #lingerAfterBackend(): void {
    const client = this.#client.socket;
    let before = client.bytesWritten;
    const check = (): void => {
      if (this.#phase !== 'relaying') return;
      if (client.bytesWritten === before) return this.end('done');
      before = client.bytesWritten;
      this.#timer = setTimeout(check, LINGER_MS);
    };
    this.#timer = setTimeout(check, LINGER_MS);
  }

  #watchAnswers(): void {
    if (this.route !== 'read') return;
    const client = this.#client;
    const backend = this.#backend as DirectReadSocket;
    const { onChunk: toBackend } = client;
    const { onChunk: toClient } = backend;
    client.onChunk = (chunk) => {
      this.#awaitsAnswer = true;
      toBackend(chunk);
    };
    backend.onChunk = (chunk) => {
      this.#awaitsAnswer = false;
      toClient(chunk);
    };
  }

  #refuse(reason: RefusalReason, error: PostgresError): void {
    const refusalTls = this.#router.refusalTls;
    // Direct TLS leaves no other way to say anything; an SSLRequest can be answered with an error, if a nameless one.
    const insideTls = this.#phase === 'waiting' && (refusalTls?.isTrusted || this.#opening === 'direct-tls');
    this.#startRefusing(reason, error);
    if (refusalTls === null || !insideTls) return refuseInClear(this.#client, error);
    if (this.#opening === 'ssl-request') this.#client.socket.write(SSL_YES);
    refuseInsideTls(this.#client, { context: refusalTls.context, early: this.#early, error });
  }

  #refuseWithAlert(reason: RefusalReason, alert: Buffer): void {
    this.#startRefusing(reason, null);
    this.#client.onChunk = () => {};
    this.#client.socket.end(alert, () => this.#client.socket.destroy());
  }

  #startRefusing(reason: RefusalReason, error: PostgresError | null): void {
    this.#phase = 'refusing';
    this.#clearTimer();
    this.#timer = setTimeout(() => this.end('refused'), LINGER_MS);
    this.#router.onRefused(this, reason, error);
  }

  #clearTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}

/** With FIN and all that is written, but not later than FLUSH_MS. */
function closeSoon(socket: net.Socket): void {
  socket.destroySoon();
  if (socket.destroyed) return;
  const timer = setTimeout(() => socket.destroy(), FLUSH_MS);
  socket.once('close', () => clearTimeout(timer));
}
