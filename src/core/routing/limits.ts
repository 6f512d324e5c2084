/**
 * The proxy's limits: the defaults of `.spec.proxySettings` with the reason for each (a test compares them with the
 * schema), and those that are not configured.
 */
import type { ProxyConfig } from '../../api/agent-config.ts';

export const PROXY_LIMITS: ProxyConfig['limits'] = {
  /** Far more than a PostgreSQL takes from one proxy; bounds its memory to about 300 MiB (28 KiB a connection). */
  connectionsMax: 10_000,
  /** Longer than a failover with preset `wan` (6 s) and a slow promotion; most pools give up by themselves after 30 s. */
  holdMs: 30_000,
  /** A held connection costs two sockets and 32 KiB; beyond this number waiting helps nobody. */
  heldConnectionsMax: 1000,
  /** Connect and first answer of a backend. Across continents 2 x 300 ms; the fork of a server under load some seconds. */
  connectTimeoutMs: 5000,
  /** From accept to a complete first packet. PostgreSQL's own authentication_timeout (60 s) begins after it. */
  firstBytesTimeoutMs: 10_000,
  /** Between SIGTERM and the end of the last sessions. */
  drainMs: 30_000,
};

/** A read node that has not answered for so long is left for the next one, if there is one. */
export const READ_ATTEMPT_MS = 1500;
/** What a client may send before its backend has answered, over its first packet: a pipelined ClientHello. */
export const EARLY_BYTES_MAX = 16 * 1024 + 512;
/** After a failed connection to a leader: at first again after this, doubled up to the maximum. */
export const RETRY_DELAY_MS_MIN = 50;
export const RETRY_DELAY_MS_MAX = 500;
/** A node to which a connection failed is tried last for this long: three states of its agent tell more than we know. */
export const FAILING_MS = 3000;
/** Connections that try a node which just failed, at one time; the others wait for the outcome. */
export const ATTEMPTS_AT_FAILING_MAX = 8;
/** A client whose server has ended the session, or who is refused, may go this long without taking any of what is left. */
export const LINGER_MS = 15_000;
/** The last bytes of a session that is over must be with the kernel after this. */
export const FLUSH_MS = 1000;
/** Cancel requests being forwarded at once; more are dropped, as a server under load would do. */
export const CANCELS_MAX = 64;
/** One forwarded cancel request: connect, TLS, send, and the server's close. */
export const CANCEL_TIMEOUT_MS = 5000;
/** A source with up to this many sessions gets its next one where it waits for an answer (see decideReadRoute). */
export const AFFINITY_SESSIONS_MAX = 4;
/** TCP keep-alive of both sides: a vanished peer is noticed after this and ten probes, a second apart. */
export const KEEPALIVE_MS = 10_000;
/** How often a node whose agent is silent, and that has sessions here, is asked for a sign of life. */
export const LOST_NODE_CHECK_MS = 5000;
/** Without one for this long its sessions are ended: longer than a virtual machine's migration, shorter than people wait. */
export const LOST_NODE_MS = 30_000;
