/**
 * One upstream: a question out, its answer back, over UDP and, where that was cut, over TCP.
 *
 * Who is not on the path can only guess: an answer counts if it comes from the upstream's address to the socket's own port,
 * with the identity and the question that were sent. Ports and identities are random, and a socket is used for a while only.
 */
import { randomInt } from 'node:crypto';
import * as dgram from 'node:dgram';
import * as net from 'node:net';
import type { DnsEndpoint } from '../../core/dns/resolv-conf.ts';
import { type DnsResponse, MESSAGE_BYTES_MAX, parseResponse, type Question } from '../../wire/dns-message.ts';

export interface Exchange {
  /** Rejects with an error of the network, or when it is cancelled. */
  readonly response: Promise<DnsResponse>;
  cancel(): void;
}

/** So many questions, or so long, then another port. */
const LANE_QUESTIONS_MAX = 256;
const LANE_MS_MAX = 10_000;
/** An answer of the largest size, and half as much for what others sent meanwhile. */
const RECEIVE_BUFFER_BYTES = 256 * 1024;

interface Pending {
  readonly question: Question;
  readonly resolve: (response: DnsResponse) => void;
  readonly reject: (error: Error) => void;
}

/** A socket with its own port, and the questions that it waits for. */
interface Lane {
  readonly socket: dgram.Socket;
  readonly pending: Map<number, Pending>;
  readonly openedAtMs: number;
  /** Until it is connected; then null. */
  unsent: (() => void)[] | null;
  questions: number;
  isRetired: boolean;
}

export class Upstream {
  readonly endpoint: DnsEndpoint;
  readonly #lanes = new Set<Lane>();
  #lane: Lane | null = null;

  constructor(endpoint: DnsEndpoint) {
    this.endpoint = endpoint;
  }

  /** @param message as encodeQuestion makes it; not kept. */
  ask(message: Buffer, question: Question): Exchange {
    const lane = this.#laneForNext();
    const id = freeId(lane.pending);
    const { promise, resolve, reject } = Promise.withResolvers<DnsResponse>();
    let tcp: Exchange | null = null;
    const settle = (): void => {
      lane.pending.delete(id);
      this.#closeIfDone(lane);
    };
    lane.pending.set(id, {
      question,
      resolve: (response) => {
        settle();
        if (!response.isTruncated) return resolve(response);
        tcp = this.#askByTcp(message, question);
        tcp.response.then(resolve, reject);
      },
      reject: (error) => {
        settle();
        reject(error);
      },
    });
    lane.questions++;
    const copy = Buffer.from(message);
    copy.writeUInt16BE(id, 0);
    const send = (): void =>
      lane.socket.send(copy, (error) => {
        if (error) lane.pending.get(id)?.reject(error);
      });
    if (lane.unsent === null) send();
    else lane.unsent.push(send);
    return {
      response: promise,
      cancel: () => {
        tcp?.cancel();
        lane.pending.get(id)?.reject(new Error('cancelled'));
      },
    };
  }

  close(): void {
    for (const lane of this.#lanes) {
      for (const { reject } of [...lane.pending.values()]) reject(new Error('closed'));
      this.#retire(lane);
    }
  }

  #laneForNext(): Lane {
    const lane = this.#lane;
    if (lane !== null && lane.questions < LANE_QUESTIONS_MAX && performance.now() - lane.openedAtMs < LANE_MS_MAX)
      return lane;
    if (lane !== null) this.#retire(lane);
    this.#lane = this.#openLane();
    return this.#lane;
  }

  #openLane(): Lane {
    const { address, port } = this.endpoint;
    const socket = dgram.createSocket({
      type: net.isIP(address) === 6 ? 'udp6' : 'udp4',
      recvBufferSize: RECEIVE_BUFFER_BYTES,
    });
    const lane: Lane = {
      socket,
      pending: new Map(),
      openedAtMs: performance.now(),
      unsent: [],
      questions: 0,
      isRetired: false,
    };
    this.#lanes.add(lane);
    // A connected socket takes no other sender, and is told when nobody listens there.
    socket.connect(port, address, () => {
      const unsent = lane.unsent ?? [];
      lane.unsent = null;
      for (const send of unsent) send();
    });
    socket.on('message', (message) => {
      const response = parseResponse(message);
      const pending = response === null ? undefined : lane.pending.get(response.id);
      if (response !== null && pending !== undefined && isSameQuestion(response.question, pending.question))
        pending.resolve(response);
    });
    socket.on('error', (error) => {
      for (const { reject } of [...lane.pending.values()]) reject(error);
      this.#retire(lane);
    });
    socket.unref();
    return lane;
  }

  #retire(lane: Lane): void {
    lane.isRetired = true;
    if (this.#lane === lane) this.#lane = null;
    this.#closeIfDone(lane);
  }

  #closeIfDone(lane: Lane): void {
    if (!lane.isRetired || lane.pending.size > 0 || !this.#lanes.delete(lane)) return;
    lane.socket.close();
  }

  /** A connection for one question: answers that are too long for UDP are rare. */
  #askByTcp(message: Buffer, question: Question): Exchange {
    const { address, port } = this.endpoint;
    const id = randomInt(0x1_0000);
    const framed = Buffer.alloc(2 + message.length);
    framed.writeUInt16BE(message.length, 0);
    message.copy(framed, 2);
    framed.writeUInt16BE(id, 2);
    const socket = net.connect({ host: address, port }, () => void socket.write(framed));
    const { promise, resolve, reject } = Promise.withResolvers<DnsResponse>();
    let received = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      if (received.length < 2) return;
      const length = received.readUInt16BE(0);
      if (received.length < 2 + length && received.length <= 2 + MESSAGE_BYTES_MAX) return;
      const response = parseResponse(received.subarray(2, 2 + length));
      if (response !== null && response.id === id && isSameQuestion(response.question, question)) resolve(response);
      else reject(new Error('sent no answer to the question'));
      socket.destroy();
    });
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('closed the connection')));
    return { response: promise, cancel: () => socket.destroy() };
  }
}

function isSameQuestion(a: Question, b: Question): boolean {
  return a.key === b.key && a.type === b.type && a.class === b.class;
}

/** At most LANE_QUESTIONS_MAX of 65 536 are taken. */
function freeId(taken: ReadonlyMap<number, unknown>): number {
  for (;;) {
    const id = randomInt(0x1_0000);
    if (!taken.has(id)) return id;
  }
}
