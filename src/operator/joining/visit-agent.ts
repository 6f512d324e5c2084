/**
 * How a group that is invited reaches an agent of the group which invited it, before either trusts the other: TLS 1.3 without a
 * client certificate.
 *
 *   1. fetch the CA bundle, believing nothing, and saying nothing but the request for it
 *   2. keep the certificates of it whose fingerprints are in the token (core/joining/find-authority.ts)
 *   3. from now on: only servers with a certificate of these, which are nodes of the inviting group
 *
 * The host name is not compared: a token may name an address or a forwarded port, and the identity in the certificate says more.
 */
import { request } from 'node:https';
import { isIP } from 'node:net';
import type { PeerCertificate } from 'node:tls';
import { JOIN_ANSWER_BYTES_MAX, JOIN_PATH, JOIN_WAIT_MS } from '../../api/invitation.ts';
import { nodeOfCertificate } from '../../base/mutual-tls.ts';
import { readBounded } from '../../base/read-bounded.ts';

/** The wait of the agent, and the way there and back. */
const TIMEOUT_MS = JOIN_WAIT_MS + 5000;
/** The box, and what is around it. */
const ANSWER_BYTES_MAX = JOIN_ANSWER_BYTES_MAX + 4096;

export interface AgentEndpoint {
  readonly host: string;
  readonly port: number;
}

/** Whom the token names. */
export interface ExpectedGroup {
  readonly globalCluster: string;
  readonly group: string;
  /** PEM. */
  readonly authority: string;
}

export interface VisitAnswer {
  readonly status: number;
  /** Parsed JSON, or null. */
  readonly body: unknown;
}

/** Code JOIN_UNREACHABLE: no connection, no answer, or not the one that was to be there. */
export class VisitError extends Error {
  override name = 'VisitError';
  readonly code = 'JOIN_UNREACHABLE';
}

/** Believes nobody: what comes must be compared with the token. */
export function fetchBundle(endpoint: AgentEndpoint): Promise<VisitAnswer> {
  return visit(endpoint, null, undefined);
}

/** Speaks only with a node of `expected`. */
export function sendToGroup(endpoint: AgentEndpoint, expected: ExpectedGroup, message: unknown): Promise<VisitAnswer> {
  return visit(endpoint, expected, message);
}

function visit(endpoint: AgentEndpoint, expected: ExpectedGroup | null, message: unknown): Promise<VisitAnswer> {
  const text = message === undefined ? null : JSON.stringify(message);
  const { host, port } = endpoint;
  return new Promise((resolve, reject) => {
    const fail = (error: Error): void =>
      reject(
        new VisitError(
          `Cannot ask "${host}:${port}": ${error.name === 'TimeoutError' ? `no answer within ${TIMEOUT_MS} ms` : error.message}`,
          { cause: error },
        ),
      );
    const outgoing = request(
      {
        host,
        port,
        agent: false,
        servername: isIP(host) === 0 ? host : '',
        minVersion: 'TLSv1.3',
        // Without a token's CA nothing can be verified, and nothing is said.
        ...(expected === null
          ? { rejectUnauthorized: false }
          : {
              rejectUnauthorized: true,
              ca: expected.authority,
              checkServerIdentity: (_host: string, certificate: PeerCertificate) => checkNode(certificate, expected),
            }),
        method: text === null ? 'GET' : 'POST',
        path: JOIN_PATH,
        headers: text === null ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) },
        signal: AbortSignal.timeout(TIMEOUT_MS),
      },
      (response) => {
        readBounded(response, ANSWER_BYTES_MAX).then(
          (bytes) => resolve({ status: response.statusCode ?? 0, body: parseJson(bytes) }),
          fail,
        );
      },
    );
    outgoing.once('error', fail);
    outgoing.end(text ?? undefined);
  });
}

function checkNode(certificate: PeerCertificate, expected: ExpectedGroup): Error | undefined {
  if (nodeOfCertificate(certificate, expected) !== null) return undefined;
  return new Error(
    `the server is no node of group "${expected.group}" of global cluster "${expected.globalCluster}", though its CA is the one that the token names`,
  );
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return null;
  }
}
