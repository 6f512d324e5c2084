/**
 * This node's streams to the other nodes' agents (src/api/peer-stream.ts, subscriber side): what they last said, whether
 * they answer, and requests with an answer. One link a peer; it dials again by itself.
 *
 * What is heard is checked twice: the certificate must be that node's, and a state must name the same node.
 */
import type { TLSSocket } from 'node:tls';
import type { Peer } from '../../api/agent-config.ts';
import {
  type BeatMessage,
  type EchoMessage,
  HEARTBEAT_INTERVAL_MS,
  LINE_BYTES_MAX,
  isUnknownPublication,
  publisherMessageSchema,
  readBeat,
  type RequestMessage,
  type ResponseMessage,
  type StateMessage,
  STATE_INTERVAL_MS,
  STREAM_PATH,
  STREAM_PROTOCOL,
} from '../../api/peer-stream.ts';
import { dialTls } from '../../base/dial-tls.ts';
import type { ReloadableTls } from '../../base/mutual-tls.ts';
import type { Pulse } from '../../base/pulse.ts';
import { encodeJsonLine, LineDecoder, parseJsonLine } from '../../wire/ndjson.ts';

/** Long enough for a far site, short against `detection`. */
const DIAL_TIMEOUT_MS = 1000;
/** A node that was killed is back in seconds: look often, at 20 small packets a second at most. */
const REDIAL_DELAYS_MS = [20, 50, 100, 200, 400] as const;
/** A stream that has been silent for this long is dead, whatever TCP thinks. */
const SILENCE_MS = 3 * STATE_INTERVAL_MS;
/** The same for a leader's stream: eight beats. */
const LEADER_SILENCE_MS = 8 * HEARTBEAT_INTERVAL_MS;
/** A stream that was up for less is no sign that the next one will be: its loss is followed by a pause like a failure to connect. */
const STABLE_MS = 1000;
/** Requests that wait for an answer from one peer; more is a bug of ours. */
const REQUESTS_MAX = 64;

export interface PeerView {
  readonly peer: Peer;
  /** The stream is up: its first state has come. */
  isConnected: boolean;
  /** The last attempt was refused: a machine answers and no agent listens. */
  isRefused: boolean;
  /** When the link was made; of performance.now(). */
  readonly madeAtMs: number;
  /** Why it is down, for people. */
  lastError: string | null;
  state: StateMessage | null;
  /** When `state` or a beat last came in; of performance.now(). */
  heardAtMs: number;
  beat: BeatMessage | null;
  beatAtMs: number;
}

export interface PeerLinkEvents {
  onState(view: PeerView): void;
  onBeat(view: PeerView, beat: BeatMessage): EchoMessage | null;
  /** Connected, refused or lost. */
  onLink(view: PeerView): void;
}

export class PeerRequestError extends Error {
  override name = 'PeerRequestError';
  readonly code = 'PEER_REQUEST_FAILED';
}

type RequestBody = RequestMessage extends infer T ? (T extends RequestMessage ? Omit<T, 'type' | 'id'> : never) : never;

export class PeerLink {
  readonly view: PeerView;
  readonly #options: {
    readonly globalCluster: string;
    readonly credentials: ReloadableTls;
    readonly sourceAddress: string | null;
    readonly events: PeerLinkEvents;
    readonly pulse?: Pulse;
  };
  readonly #waiting = new Map<number, { resolve(response: ResponseMessage): void; reject(error: Error): void }>();
  #nextId = 1;
  #socket: TLSSocket | null = null;
  #isClosed = false;
  #failures = 0;
  #silenceLimitMs = DIAL_TIMEOUT_MS;
  #connectedAtMs = 0;
  #timer: NodeJS.Timeout | null = null;

  constructor(
    peer: Peer,
    options: {
      readonly globalCluster: string;
      readonly credentials: ReloadableTls;
      readonly sourceAddress: string | null;
      readonly events: PeerLinkEvents;
      /** The agent's, to look for silence with; default: timers of its own. */
      readonly pulse?: Pulse;
    },
  ) {
    this.view = {
      peer,
      isConnected: false,
      isRefused: false,
      madeAtMs: performance.now(),
      lastError: null,
      state: null,
      heardAtMs: Number.NEGATIVE_INFINITY,
      beat: null,
      beatAtMs: Number.NEGATIVE_INFINITY,
    };
    this.#options = options;
    void this.#dial();
  }

  /** Sends a request; throws PeerRequestError when there is no answer in `timeoutMs` or the stream ends. */
  request(body: RequestBody, timeoutMs: number): Promise<ResponseMessage> {
    const socket = this.#socket;
    const { node } = this.view.peer;
    const fail = (why: string): PeerRequestError =>
      new PeerRequestError(`Cannot ask "${node}" to ${body.method}: ${why}`);
    if (socket === null) return Promise.reject(fail(this.view.lastError ?? 'not connected'));
    if (this.#waiting.size >= REQUESTS_MAX) return Promise.reject(fail('too many requests wait'));
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiting.delete(id);
        reject(fail(`no answer within ${timeoutMs} ms`));
      }, timeoutMs);
      const done = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(id);
      };
      this.#waiting.set(id, {
        resolve: (response) => {
          done();
          if (response.error === undefined) resolve(response);
          else reject(fail(response.error));
        },
        reject: (error) => {
          done();
          reject(error);
        },
      });
      socket.write(encodeJsonLine({ type: 'request', id, ...body }, LINE_BYTES_MAX));
    });
  }

  close(): void {
    this.#isClosed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#socket?.destroy();
  }

  async #dial(): Promise<void> {
    const { peer } = this.view;
    const { globalCluster, credentials, sourceAddress } = this.#options;
    try {
      const socket = await dialTls(credentials, peer.agent, {
        timeoutMs: DIAL_TIMEOUT_MS,
        sourceAddress,
        expect: { globalCluster, group: peer.group, name: peer.node },
        alpnProtocols: ['http/1.1'],
      });
      this.#run(socket);
    } catch (error) {
      this.#lost(error as Error);
    }
  }

  #run(socket: TLSSocket): void {
    const { peer } = this.view;
    if (this.#isClosed) {
      socket.destroy();
      return;
    }
    const decoder = new LineDecoder(LINE_BYTES_MAX);
    let head: Buffer | null = Buffer.alloc(0);
    socket.setKeepAlive(true, 1000);
    // Until the first state; then longer.
    this.#silenceLimitMs = DIAL_TIMEOUT_MS;
    this.view.heardAtMs = performance.now();
    this.#watchSilence(socket);
    socket.on('data', (chunk: Buffer) => {
      try {
        let rest: Buffer | null = chunk;
        if (head !== null) {
          head = Buffer.concat([head, chunk]);
          rest = takeUpgradeResponse(head);
          if (rest === null) return;
          head = null;
        }
        decoder.push(rest, (line) => this.#onMessage(socket, parseJsonLine(line)));
      } catch (error) {
        socket.destroy(error as Error);
      }
    });
    let failure: Error = new Error('the stream ended');
    socket.on('error', (error) => {
      failure = error;
    });
    socket.on('close', () => this.#lost(failure));
    socket.write(
      `GET ${STREAM_PATH} HTTP/1.1\r\nHost: ${peer.agent.host}\r\nConnection: Upgrade\r\nUpgrade: ${STREAM_PROTOCOL}\r\n\r\n`,
    );
  }

  /** By what was heard, not by the socket's own idle time, which each of our writes begins anew. */
  #watchSilence(socket: TLSSocket): void {
    if (socket.destroyed) return;
    const leftMs = this.view.heardAtMs + this.#silenceLimitMs - performance.now();
    if (leftMs <= 0) socket.destroy(new Error('the stream fell silent'));
    else this.#later(Math.min(leftMs, LEADER_SILENCE_MS) + 1, () => this.#watchSilence(socket));
  }

  #later(waitMs: number, work: () => void): void {
    const { pulse } = this.#options;
    if (pulse === undefined) setTimeout(work, waitMs).unref();
    else pulse.once(performance.now() + waitMs, work);
  }

  #connected(socket: TLSSocket): void {
    this.#socket = socket;
    this.#connectedAtMs = performance.now();
    Object.assign(this.view, { isConnected: true, isRefused: false, lastError: null });
    this.#options.events.onLink(this.view);
  }

  #onMessage(socket: TLSSocket, value: unknown): void {
    const { view } = this;
    view.heardAtMs = performance.now();
    if (isUnknownPublication(value)) return;
    const message = readBeat(value) ?? publisherMessageSchema.parse(value);
    switch (message.type) {
      case 'state':
        if (message.node !== view.peer.node) throw new Error(`it says that it is "${message.node}"`);
        if (message.group !== view.peer.group) throw new Error(`it says that it is of "${message.group}"`);
        view.state = message;
        this.#silenceLimitMs = SILENCE_MS;
        if (!view.isConnected) this.#connected(socket);
        this.#options.events.onState(view);
        return;
      case 'beat': {
        if (!view.isConnected) throw new Error('it sent a beat before its state');
        view.beat = message;
        view.beatAtMs = view.heardAtMs;
        // A leader that falls silent is dialled anew early: a stream through a healed cut may back off for seconds.
        this.#silenceLimitMs = LEADER_SILENCE_MS;
        const echo = this.#options.events.onBeat(view, message);
        if (echo !== null) socket.write(encodeJsonLine(echo, LINE_BYTES_MAX));
        return;
      }
      case 'response':
        this.#waiting.get(message.id)?.resolve(message);
        return;
    }
  }

  #lost(error: Error): void {
    const wasConnected = this.view.isConnected;
    this.#socket = null;
    const code = (error as NodeJS.ErrnoException).code ?? (error.cause as NodeJS.ErrnoException | undefined)?.code;
    const cause = (error.cause as NodeJS.ErrnoException | undefined)?.code ?? code;
    Object.assign(this.view, { isConnected: false, isRefused: cause === 'ECONNREFUSED', lastError: error.message });
    for (const one of [...this.#waiting.values()])
      one.reject(new PeerRequestError(`Cannot ask "${this.view.peer.node}": ${error.message}`));
    if (this.#isClosed) return;
    // A stream that was up is dialled again at once: "reset and refused" is the quickest sign of a dead agent.
    const wasStable = wasConnected && performance.now() - this.#connectedAtMs >= STABLE_MS;
    const waitMs = wasStable ? 0 : (REDIAL_DELAYS_MS[Math.min(this.#failures, REDIAL_DELAYS_MS.length - 1)] as number);
    this.#failures = wasStable ? 0 : this.#failures + 1;
    this.#timer = setTimeout(() => void this.#dial(), waitMs);
    this.#options.events.onLink(this.view);
  }
}

/** The bytes after the response's head once it is whole and says 101; null while more is to come. Throws for any other answer. */
function takeUpgradeResponse(received: Buffer): Buffer | null {
  const end = received.indexOf('\r\n\r\n');
  const head = received.subarray(0, Math.max(end, 0)).toString('latin1');
  if (/^HTTP\/1\.1 101 /.test(head)) return received.subarray(end + 4);
  if (received.length > HEAD_BYTES_MAX) throw new Error('its answer is no HTTP response');
  if (end < 0) return null;
  const [, status] = /^HTTP\/1\.1 (\d{3}) /.exec(head) ?? [];
  if (status === undefined) throw new Error(`it answered "${head.split('\r\n')[0]?.slice(0, 80)}"`);
  const body = received.subarray(end + 4);
  const length = Number(/\r\ncontent-length: *(\d{1,6})/i.exec(head)?.[1] ?? 0);
  if (body.length < length) return null;
  throw new Error(`it answered ${status}${errorIn(body)}`);
}

/** What our agents write into an answer that is no success (peer-server.ts). */
function errorIn(body: Buffer): string {
  try {
    const { error } = JSON.parse(body.toString('utf8')) as { error?: unknown };
    return typeof error === 'string' ? `: ${error.slice(0, 500)}` : '';
  } catch {
    return '';
  }
}

const HEAD_BYTES_MAX = 8192;
