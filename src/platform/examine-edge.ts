/**
 * Tries one edge step by step, and says at which step it fails: resolve, connect, handshake, certificate, authenticate. Each
 * step has its own deadline. What the facts mean is decided elsewhere (core/connectivity).
 */
import { lookup } from 'node:dns/promises';
import { connect, isIP, type Socket } from 'node:net';
import * as tls from 'node:tls';
import {
  EDGE_FAILURE,
  type EdgeCertificate,
  type EdgeFacts,
  type EdgeQuestion,
  type EdgeStep,
} from '../api/edge-facts.ts';
import { parseSubjectAltNames } from '../base/spiffe-identity.ts';
import { encodeSslRequest } from '../wire/postgres-opening.ts';

export const EDGE_STEP_TIMEOUT_MS = 3000;

/** What the examiner has for all edges of a purpose. */
export interface EdgeMeans {
  /** Source address of connections; null: the system's choice. */
  readonly sourceAddress: string | null;
  /** PEM: the trust bundle against which the other end is verified; null: the edge has no TLS. */
  readonly ca: string | null;
  /** PEM: shown to the other end when it asks. */
  readonly identity?: { readonly cert: string; readonly key: string };
  /** Before TLS the other end expects PostgreSQL's SSLRequest. */
  readonly startsAsPostgres: boolean;
  /** The last step, on a connection that was verified; null: there is none. Returns what was found; throws StepError or any Error. */
  readonly authenticate: ((question: EdgeQuestion, secure: tls.TLSSocket | null) => Promise<string>) | null;
  /** `host` is resolved though the address is known: a client would dial the name. Not resolving is then said, and fails nothing. */
  readonly isNameAsked?: boolean;
  /** By default getaddrinfo. */
  readonly resolve?: (host: string) => Promise<string[]>;
}

/** `code`: api/edge-facts.ts, EdgeStep. */
export class StepError extends Error {
  override name = 'StepError';
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

/** Never throws. */
export async function examineEdge(question: EdgeQuestion, means: EdgeMeans): Promise<EdgeFacts> {
  const steps: EdgeStep[] = [];
  const run = stepRunner(steps);
  let resolved: string[] | null = null;
  let certificate: EdgeCertificate | null = null;
  const facts = (): EdgeFacts => ({ ...question, resolved, certificate, roundTripMs: roundTripOf(steps), steps });
  const name = await run('resolve', () => resolveName(question, means));
  resolved = name?.value ?? null;
  if (name === null) return facts();
  const socket = await run('connect', () => connectTcp(question, resolved, means.sourceAddress));
  if (socket === null) return facts();
  // A peer that is gone says so at any time; the step that waits is told by its own listener.
  socket.value.on('error', () => {});
  let secure: tls.TLSSocket | null = null;
  try {
    if (means.ca !== null) {
      const found = await run('handshake', () => startTls(socket.value, question, means));
      if (found === null) return facts();
      secure = found.value;
      secure.on('error', () => {});
      certificate = readCertificate(secure, question.host);
      if ((await run('certificate', async () => describeCertificate(certificate, question.host, secure))) === null)
        return facts();
    }
    const { authenticate } = means;
    if (authenticate !== null)
      await run('authenticate', async () => ({ value: null, found: await authenticate(question, secure) }));
    return facts();
  } finally {
    secure?.destroy();
    socket.value.destroy();
  }
}

/** Each is a TLS handshake or two; more at a time would measure each other. */
const AT_ONCE_MAX = 8;
/** For all of them; those that are left keep what their first connect took. */
const MEASURE_BUDGET_MS = 1500;

/** All edges of one examiner, some at a time; then their round trips, one after the other, when nothing else is under way. */
export async function examineAll(
  questions: readonly EdgeQuestion[],
  meansOf: (question: EdgeQuestion) => Promise<EdgeMeans>,
): Promise<EdgeFacts[]> {
  const found: { readonly means: EdgeMeans; readonly facts: EdgeFacts }[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < questions.length) {
      const index = next++;
      const question = questions[index] as EdgeQuestion;
      const means = await meansOf(question);
      found[index] = { means, facts: await examineEdge(question, means) };
    }
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE_MAX, questions.length) }, worker));
  const deadlineMs = performance.now() + MEASURE_BUDGET_MS;
  const measured: EdgeFacts[] = [];
  for (const { means, facts } of found)
    measured.push(performance.now() < deadlineMs ? await measureRoundTrip(facts, means.sourceAddress) : facts);
  return measured;
}

/** Milliseconds of one TCP connect, which is one round trip. */
async function measureRoundTrip(facts: EdgeFacts, sourceAddress: string | null): Promise<EdgeFacts> {
  if (facts.roundTripMs === null) return facts;
  const startedMs = performance.now();
  const found = await connectTcp(facts, facts.resolved, sourceAddress).catch(() => null);
  found?.value.destroy();
  const again = found === null ? facts.roundTripMs : rounded(performance.now() - startedMs);
  return { ...facts, roundTripMs: Math.min(facts.roundTripMs, again) };
}

/** getaddrinfo, as every dial here does it. */
export async function addressesOf(host: string): Promise<string[]> {
  const found = await lookup(host, { all: true });
  return found.map(({ address }) => address);
}

interface Found<T> {
  readonly value: T;
  readonly found: string;
}

/** Runs a step, notes it, and gives its value or null. */
function stepRunner(steps: EdgeStep[]) {
  return async <T>(step: EdgeStep['step'], work: () => Promise<Found<T>>): Promise<Found<T> | null> => {
    const startedMs = performance.now();
    const note = (ok: boolean, code: string | null, found: string): void =>
      void steps.push({
        step,
        ok,
        code: code?.slice(0, 64) ?? null,
        found: found.slice(0, 1000),
        ms: rounded(performance.now() - startedMs),
      });
    try {
      const result = await work();
      note(true, null, result.found);
      return result;
    } catch (error) {
      const { code = 'FAILED', message } = error as NodeJS.ErrnoException;
      note(false, String(code), message);
      return null;
    }
  };
}

const rounded = (ms: number): number => Math.round(ms * 100) / 100;

const roundTripOf = (steps: readonly EdgeStep[]): number | null =>
  steps.find(({ step, ok }) => step === 'connect' && ok)?.ms ?? null;

/** Names need not resolve where the address is known: then nobody asks, unless clients would. */
async function resolveName(
  { host, address }: EdgeQuestion,
  { resolve = addressesOf, isNameAsked = false }: EdgeMeans,
): Promise<Found<string[] | null>> {
  if (address !== null && !isNameAsked) return { value: null, found: `${address} is dialled` };
  if (isIP(host) !== 0) return { value: [host], found: 'an address' };
  const addresses = await resolve(host).catch((error: NodeJS.ErrnoException) => {
    const found = `"${host}" does not resolve (${error.code ?? error.message})`;
    if (address !== null) return found;
    throw new StepError(error.code ?? 'FAILED', found);
  });
  if (typeof addresses === 'string') return { value: [], found: `${addresses}; ${address} is dialled` };
  return { value: addresses.slice(0, 32), found: addresses.join(', ') };
}

function connectTcp(
  { host, address, port }: Pick<EdgeQuestion, 'host' | 'address' | 'port'>,
  resolved: readonly string[] | null,
  sourceAddress: string | null,
): Promise<Found<Socket>> {
  const dialled = address ?? resolved?.[0] ?? host;
  return new Promise((resolve, reject) => {
    const socket = connect({
      host: dialled,
      port,
      noDelay: true,
      ...(sourceAddress === null || isIP(sourceAddress) !== isIP(dialled) ? {} : { localAddress: sourceAddress }),
    });
    const timer = setTimeout(() => {
      socket.destroy();
      const found = `no answer from ${dialled}:${port} within ${EDGE_STEP_TIMEOUT_MS} ms (cut off, or packets dropped)`;
      reject(new StepError(EDGE_FAILURE.timeout, found));
    }, EDGE_STEP_TIMEOUT_MS);
    socket.once('connect', () => {
      clearTimeout(timer);
      resolve({ value: socket, found: `${dialled}:${port}` });
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      const nobody = error.code === 'ECONNREFUSED' ? `nothing listens on ${dialled}:${port}` : error.message;
      reject(new StepError(error.code ?? 'FAILED', nobody));
    });
  });
}

/** Without verification first: a certificate that does not fit is told with what it holds. */
async function startTls(socket: Socket, { host }: EdgeQuestion, means: EdgeMeans): Promise<Found<tls.TLSSocket>> {
  if (means.startsAsPostgres) await askForTls(socket);
  return await inTime(socket, (resolve, reject) => {
    const secure = tls.connect({
      socket,
      ca: means.ca as string,
      ...means.identity,
      servername: isIP(host) === 0 ? host : '',
      rejectUnauthorized: false,
      checkServerIdentity: () => undefined,
    });
    secure.once('error', reject);
    secure.once('secureConnect', () =>
      resolve({ value: secure, found: `${secure.getProtocol()}, ${secure.getCipher().name}` }),
    );
  });
}

function askForTls(socket: Socket): Promise<void> {
  return inTime(socket, (resolve, reject) => {
    socket.once('data', (answer: Buffer) => {
      if (answer.toString('latin1') === 'S') return resolve();
      reject(new StepError(EDGE_FAILURE.noTls, 'it does not speak TLS (it answered the SSLRequest with no "S")'));
    });
    socket.write(encodeSslRequest());
  });
}

/** What a connection is to say within one step's time. */
export function inTime<T>(
  socket: Socket,
  listen: (resolve: (value: T) => void, reject: (error: Error) => void) => void,
): Promise<T> {
  return new Promise((resolve, reject) => {
    const closed = (): void => fail(new StepError(EDGE_FAILURE.closed, 'it closed the connection'));
    const settle = (outcome: () => void): void => {
      clearTimeout(timer);
      socket.off('error', fail).off('close', closed);
      outcome();
    };
    const fail = (error: Error): void => settle(() => reject(error));
    const silent = `it accepts connections and says nothing within ${EDGE_STEP_TIMEOUT_MS} ms (frozen?)`;
    const timer = setTimeout(() => fail(new StepError(EDGE_FAILURE.timeout, silent)), EDGE_STEP_TIMEOUT_MS);
    socket.once('error', fail).once('close', closed);
    listen((value) => settle(() => resolve(value)), fail);
  });
}

function readCertificate(secure: tls.TLSSocket, host: string): EdgeCertificate | null {
  const shown = secure.getPeerX509Certificate();
  if (shown === undefined) return null;
  const uris = parseSubjectAltNames(shown.subjectAltName ?? '', 'URI');
  return {
    fingerprint: shown.fingerprint256.replaceAll(':', '').toLowerCase(),
    issuer: shown.issuer.replaceAll('\n', ', ').slice(0, 512),
    names: (shown.subjectAltName ?? '').slice(0, 8192),
    identity: uris.length === 1 ? (uris[0] as string).slice(0, 300) : null,
    notBefore: shown.validFromDate.toISOString(),
    notAfter: shown.validToDate.toISOString(),
    isTrusted: secure.authorized,
    isCovering: (isIP(host) === 0 ? shown.checkHost(host) : shown.checkIP(host)) !== undefined,
  };
}

const VERIFY_FAILURE: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: EDGE_FAILURE.expired,
  CERT_NOT_YET_VALID: EDGE_FAILURE.notYetValid,
};

function describeCertificate(
  certificate: EdgeCertificate | null,
  host: string,
  secure: tls.TLSSocket | null,
): Found<null> {
  if (certificate === null) throw new StepError(EDGE_FAILURE.untrusted, 'it showed no certificate');
  if (!certificate.isTrusted) {
    // Node's types say Error; it is the code of the check.
    const code = String(secure?.authorizationError ?? '');
    const ours = VERIFY_FAILURE[code] ?? EDGE_FAILURE.untrusted;
    throw new StepError(ours, `its certificate is not accepted (${code}); issued by ${certificate.issuer}`);
  }
  if (!certificate.isCovering)
    throw new StepError(
      EDGE_FAILURE.name,
      `its certificate does not cover "${host}": ${certificate.names.slice(0, 600)}`,
    );
  const days = Math.floor((Date.parse(certificate.notAfter) - Date.now()) / 86_400_000);
  return { value: null, found: `covers "${host}", ${days} days left, issued by ${certificate.issuer}` };
}
