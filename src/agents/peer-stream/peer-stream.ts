/**
 * The subscriber's end of one stream to one instance agent (src/api/peer-stream.ts): dials, upgrades, reads lines,
 * notices silence, dials again. It lives until it is closed; what it says about the node is what the node said, checked
 * against the certificate that it showed.
 *
 *   dialling --upgraded--> open --line--> onState / onBeat / onOther
 *      ^                     | silence, error, end, hostile line
 *      +---- back-off <------+
 */
import type { TLSSocket } from 'node:tls';
import type { Peer } from '../../api/agent-config.ts';
import {
  type BeatMessage,
  beatMessageSchema,
  LINE_BYTES_MAX,
  STATE_INTERVAL_MS,
  type StateMessage,
  STREAM_PATH,
  STREAM_PROTOCOL,
  stateMessageSchema,
} from '../../api/peer-stream.ts';
import { dialTls } from '../../base/dial-tls.ts';
import type { ReloadableTls } from '../../base/mutual-tls.ts';
import { encodeUpgradeRequest, parseUpgradeAnswer } from '../../wire/http-upgrade.ts';
import { encodeJsonLine, LineDecoder, LineError, parseJsonLine } from '../../wire/ndjson.ts';

/** Connect, TLS and the answer to the upgrade together. */
const OPEN_TIMEOUT_MS = 2000;
/** Three states missed. */
export const SILENCE_MS = 3 * STATE_INTERVAL_MS;
/** At first at once again (an agent that restarts is back in a second), then rarer, so that a dead node costs nothing. */
const BACKOFF_MS_MIN = 50;
const BACKOFF_MS_MAX = 1000;
/** What may wait to be sent; more means that the other side does not read. */
const UNSENT_BYTES_MAX = 4 * LINE_BYTES_MAX;

export interface PeerStreamOptions {
  readonly globalCluster: string;
  readonly peer: Pick<Peer, 'node' | 'group' | 'agent'>;
  readonly tls: ReloadableTls;
  readonly sourceAddress: string | null;
  /** `isNew` is false for a repetition of the state before, byte by byte. */
  readonly onState: (state: StateMessage, isNew: boolean) => void;
  /** Only instance agents listen to beats; others leave them unparsed. */
  readonly onBeat?: (beat: BeatMessage) => void;
  /** Messages of other types, parsed as JSON and nothing more. */
  readonly onOther?: (message: { readonly type: string }) => void;
  /** `error` says why a stream was lost or could not be opened; null when it was opened. Not called after `close`. */
  readonly onStatus: (open: boolean, error: Error | null) => void;
  /** For tests. Default SILENCE_MS. */
  readonly silenceMs?: number;
}

export class PeerStream {
  readonly #options: PeerStreamOptions;
  #socket: TLSSocket | null = null;
  #abort = new AbortController();
  #retry: NodeJS.Timeout | null = null;
  #silence: NodeJS.Timeout | null = null;
  #failures = 0;
  #closed = false;
  #lastStateLine = '';
  #lastState: StateMessage | null = null;

  constructor(options: PeerStreamOptions) {
    this.#options = options;
    void this.#open();
  }

  get isOpen(): boolean {
    return this.#socket !== null;
  }

  /** Sends one message; false if the stream is not open or its other side does not read. */
  send(message: object): boolean {
    if (this.#socket === null) return false;
    if (this.#socket.writableLength > UNSENT_BYTES_MAX) {
      this.#lose(new Error(`Cannot send to "${this.#options.peer.node}": it does not read`));
      return false;
    }
    this.#socket.write(encodeJsonLine(message, LINE_BYTES_MAX));
    return true;
  }

  close(): void {
    this.#closed = true;
    this.#abort.abort(new Error('The stream was closed'));
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#dropSocket();
  }

  async #open(): Promise<void> {
    try {
      const socket = await this.#dialAndUpgrade();
      if (this.#closed) {
        socket.destroy();
        return;
      }
      this.#options.onStatus(true, null);
    } catch (error) {
      if (!this.#closed) this.#lose(error as Error);
    }
  }

  async #dialAndUpgrade(): Promise<TLSSocket> {
    const { peer, tls, sourceAddress, globalCluster } = this.#options;
    const deadline = performance.now() + OPEN_TIMEOUT_MS;
    const socket = await dialTls(tls, peer.agent, {
      sourceAddress,
      expect: { globalCluster, group: peer.group, name: peer.node },
      timeoutMs: OPEN_TIMEOUT_MS,
      signal: this.#abort.signal,
    });
    const head = await upgrade(socket, peer.agent.host, Math.max(1, deadline - performance.now()));
    this.#read(socket, head);
    return socket;
  }

  #read(socket: TLSSocket, head: Buffer): void {
    const decoder = new LineDecoder(LINE_BYTES_MAX);
    const take = (chunk: Buffer): void => {
      if (this.#socket !== socket) return;
      this.#silence?.refresh();
      try {
        decoder.push(chunk, (line) => this.#takeLine(line));
      } catch (error) {
        this.#lose(error as Error);
      }
    };
    this.#socket = socket;
    this.#silence = setTimeout(
      () => this.#lose(new Error(`Lost the stream of "${this.#options.peer.node}": silence`)),
      this.#options.silenceMs ?? SILENCE_MS,
    );
    socket.on('data', take);
    socket.on('error', (error) => this.#loseFrom(socket, error));
    socket.on('close', () => this.#loseFrom(socket, new Error(`"${this.#options.peer.node}" closed the stream`)));
    if (head.length > 0) take(head);
    socket.resume();
  }

  #takeLine(line: string): void {
    if (line === this.#lastStateLine && this.#lastState !== null) {
      this.#options.onState(this.#lastState, false);
      return;
    }
    const message = parseJsonLine(line);
    switch (typeOf(message)) {
      case 'state':
        this.#takeState(message, line);
        return;
      case 'beat':
        this.#options.onBeat?.(this.#checked(beatMessageSchema.safeParse(message)));
        return;
      case null:
        throw new LineError('LINE_NOT_JSON', `Cannot read a line of "${this.#options.peer.node}": it has no type`);
      default:
        this.#options.onOther?.(message as { type: string });
    }
  }

  #takeState(message: unknown, line: string): void {
    const state = this.#checked(stateMessageSchema.safeParse(message));
    const { node, group } = this.#options.peer;
    if (state.node !== node || state.group !== group) {
      throw new Error(`Cannot take a state of "${state.node}" in "${state.group}" from the agent of "${node}"`);
    }
    this.#lastStateLine = line;
    this.#lastState = state;
    // Only now: an agent that opens streams and then breaks them is dialled ever more rarely, too.
    this.#failures = 0;
    this.#options.onState(state, true);
  }

  #checked<T>(result: { success: true; data: T } | { success: false; error: Error }): T {
    if (result.success) return result.data;
    throw new Error(`Cannot take a message of "${this.#options.peer.node}": it has not the agreed form`, {
      cause: result.error,
    });
  }

  #loseFrom(socket: TLSSocket, error: Error): void {
    if (this.#socket === socket) this.#lose(error);
  }

  #lose(error: Error): void {
    this.#dropSocket();
    if (this.#closed) return;
    const delayMs = backoffMs(this.#failures, Math.random());
    this.#failures += 1;
    this.#retry = setTimeout(() => void this.#open(), delayMs);
    this.#options.onStatus(false, error);
  }

  #dropSocket(): void {
    if (this.#silence !== null) clearTimeout(this.#silence);
    this.#silence = null;
    const socket = this.#socket;
    this.#socket = null;
    socket?.destroy();
  }
}

/** Doubles up to its maximum; up to half of it is random, so that subscribers of one node do not come back together. */
function backoffMs(failures: number, random: number): number {
  const full = Math.min(BACKOFF_MS_MAX, BACKOFF_MS_MIN * 2 ** Math.min(failures, 10));
  return full * (1 - random / 2);
}

/** Asks for the stream on a verified connection. Returns what came behind the answer already; nothing more is read. */
function upgrade(socket: TLSSocket, host: string, timeoutMs: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let received: Buffer = Buffer.alloc(0);
    const settle = (outcome: () => void): void => {
      clearTimeout(timer);
      socket.off('data', onData).off('error', fail).off('close', onClose).pause();
      outcome();
    };
    const fail = (error: Error): void =>
      settle(() => {
        socket.on('error', () => {}).destroy();
        reject(error);
      });
    const onClose = (): void => fail(new Error(`Cannot open the stream to "${host}": it closed the connection`));
    const onData = (chunk: Buffer): void => {
      received = Buffer.concat([received, chunk]);
      const answer = parseUpgradeAnswer(received);
      if (answer.kind === 'upgraded') settle(() => resolve(received.subarray(answer.byteLength)));
      else if (answer.kind === 'refused') fail(new Error(`Cannot open the stream to "${host}": "${answer.found}"`));
    };
    const timer = setTimeout(() => fail(new Error(`Cannot open the stream to "${host}": no answer`)), timeoutMs);
    socket.on('data', onData).on('error', fail).on('close', onClose);
    socket.write(encodeUpgradeRequest({ host, path: STREAM_PATH, protocol: STREAM_PROTOCOL }));
  });
}

function typeOf(message: unknown): string | null {
  if (typeof message !== 'object' || message === null || !('type' in message)) return null;
  return typeof message.type === 'string' ? message.type : null;
}
