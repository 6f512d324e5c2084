/**
 * Tries one edge step by step, and says at which step it fails: resolve, connect, handshake, certificate, authenticate.
 * Used by `pgspan doctor`. Each step has its own deadline, so that an edge takes a few seconds at most.
 */
import { lookup } from 'node:dns/promises';
import { connect, isIP, type Socket } from 'node:net';
import * as tls from 'node:tls';
import pg from 'pg';
import { createReloadableTls, type DialTarget, type TlsFiles } from '../base/mutual-tls.ts';
import { askAgent } from './agent-api.ts';

export type ProbeStep = 'resolve' | 'connect' | 'handshake' | 'certificate' | 'authenticate';

export interface StepResult {
  readonly step: ProbeStep;
  readonly ok: boolean;
  /** What was found, as a sentence part. */
  readonly found: string;
  readonly ms: number;
}

const STEP_TIMEOUT_MS = 3000;
/** SSLRequest: length 8, code 80877103 (PostgreSQL documentation, section "Message Formats"). */
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);

/** PostgreSQL at `target`, as a client with the trust bundle and a password sees it. */
export async function probePostgres(
  target: DialTarget,
  options: { readonly ca: string; readonly database: string; readonly user: string; readonly password: string },
): Promise<StepResult[]> {
  const steps: StepResult[] = [];
  const run = stepRunner(steps);
  await run('resolve', () => resolveName(target));
  const socket = await run('connect', () => connectTcp(target));
  if (socket === null) return steps;
  const secure = await run('handshake', () => startTls(socket, target, options.ca));
  if (secure === null) return steps;
  await run('certificate', async () => describeCertificate(secure, target.host));
  secure.value.destroy();
  if (!steps.every(({ ok, step }) => ok || step === 'resolve')) return steps;
  await run('authenticate', () => logIn(target, options));
  return steps;
}

/** An agent at `target`, by mutual TLS. */
export async function probeAgent(target: DialTarget, files: TlsFiles, path: string): Promise<StepResult[]> {
  const steps: StepResult[] = [];
  const run = stepRunner(steps);
  await run('resolve', () => resolveName(target));
  const socket = await run('connect', () => connectTcp(target));
  if (socket === null) return steps;
  socket.value.destroy();
  const credentials = await createReloadableTls(files);
  await run('handshake', async () => {
    const { status } = await askAgent({ target, credentials, path, timeoutMs: STEP_TIMEOUT_MS });
    if (status === 403) throw new Error('it does not accept our certificate');
    return { value: status, found: `mutual TLS as "${target.host}", answered ${status}` };
  });
  return steps;
}

/** Milliseconds of one TCP connect: one round trip. null if it fails. */
export async function measureConnect(target: DialTarget): Promise<number | null> {
  const startedMs = performance.now();
  const found = await connectTcp(target).catch(() => null);
  found?.value.destroy();
  return found === null ? null : Math.round((performance.now() - startedMs) * 100) / 100;
}

interface Found<T> {
  readonly value: T;
  readonly found: string;
}

/** Runs a step, notes it, and gives its value or null. */
function stepRunner(steps: StepResult[]) {
  return async <T>(step: ProbeStep, work: () => Promise<Found<T>>): Promise<Found<T> | null> => {
    const startedMs = performance.now();
    const elapsed = () => Math.round((performance.now() - startedMs) * 10) / 10;
    try {
      const result = await work();
      steps.push({ step, ok: true, found: result.found, ms: elapsed() });
      return result;
    } catch (error) {
      steps.push({ step, ok: false, found: (error as Error).message, ms: elapsed() });
      return null;
    }
  };
}

/** Names need not resolve where the address is known: that is said, and is no failure then. */
async function resolveName({ host, address }: DialTarget): Promise<Found<null>> {
  if (isIP(host) !== 0) return { value: null, found: 'an address' };
  const resolved = await lookup(host, { all: true }).catch(
    (error: NodeJS.ErrnoException) => error.code ?? error.message,
  );
  if (typeof resolved !== 'string') {
    const found = resolved.map((one) => one.address).join(', ');
    const isOther = address !== null && !resolved.some((one) => one.address === address);
    return { value: null, found: isOther ? `${found} here; ${address} is dialled` : found };
  }
  if (address === null) throw new Error(`it does not resolve here (${resolved})`);
  return { value: null, found: `does not resolve here; ${address} is dialled` };
}

function connectTcp({ host, address, port }: DialTarget): Promise<Found<Socket>> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address ?? host, port });
    const timer = setTimeout(() => {
      socket.destroy();
      reject(
        new Error(
          `no answer from ${address ?? host}:${port} within ${STEP_TIMEOUT_MS} ms (cut off, or packets dropped)`,
        ),
      );
    }, STEP_TIMEOUT_MS);
    socket.once('connect', () => {
      clearTimeout(timer);
      resolve({ value: socket, found: `${address ?? host}:${port}` });
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(timer);
      const nobody = error.code === 'ECONNREFUSED' ? `nothing listens on ${address ?? host}:${port}` : error.message;
      reject(new Error(nobody));
    });
  });
}

/** Without verification first: a certificate that does not fit is a finding of its own, told with what it holds. */
function startTls({ value: socket }: Found<Socket>, { host }: DialTarget, ca: string): Promise<Found<tls.TLSSocket>> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error(`it accepts connections and says nothing within ${STEP_TIMEOUT_MS} ms (frozen?)`));
    }, STEP_TIMEOUT_MS);
    const fail = (error: Error) => {
      clearTimeout(timer);
      reject(error);
    };
    socket.once('error', fail);
    socket.once('close', () => fail(new Error('it closed the connection')));
    socket.write(SSL_REQUEST);
    socket.once('data', (answer: Buffer) => {
      if (answer.toString('latin1') !== 'S') {
        socket.destroy();
        return fail(new Error('it does not speak TLS (answered the SSLRequest with no "S")'));
      }
      const secure = tls.connect({ socket, ca, servername: isIP(host) === 0 ? host : '', rejectUnauthorized: false });
      secure.once('error', fail);
      secure.once('secureConnect', () => {
        clearTimeout(timer);
        resolve({ value: secure, found: `${secure.getProtocol()}, ${secure.getCipher().name}` });
      });
    });
  });
}

function describeCertificate({ value: socket }: Found<tls.TLSSocket>, host: string): Found<null> {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) throw new Error('it showed no certificate');
  const issuer = certificate.issuer.replaceAll('\n', ', ');
  if (!socket.authorized) throw new Error(`not trusted: ${String(socket.authorizationError)}; issued by ${issuer}`);
  const isCovered = isIP(host) === 0 ? certificate.checkHost(host) : certificate.checkIP(host);
  if (isCovered === undefined)
    throw new Error(`it does not cover "${host}": ${certificate.subjectAltName ?? 'no names'}`);
  const days = Math.floor((certificate.validToDate.getTime() - Date.now()) / 86_400_000);
  return { value: null, found: `covers "${host}", ${days} days left, issued by ${issuer}` };
}

async function logIn(
  target: DialTarget,
  options: { readonly ca: string; readonly database: string; readonly user: string; readonly password: string },
): Promise<Found<null>> {
  const client = new pg.Client({
    host: target.address ?? target.host,
    port: target.port,
    database: options.database,
    user: options.user,
    password: options.password,
    connectionTimeoutMillis: STEP_TIMEOUT_MS,
    application_name: 'pgspan doctor',
    ssl: {
      ca: options.ca,
      ...(isIP(target.host) === 0 ? { servername: target.host } : { host: target.host }),
    } as tls.ConnectionOptions,
  });
  client.on('error', () => {}); // the promise tells
  try {
    await client.connect();
    const { rows } = await client.query(
      "select coalesce(host(inet_server_addr()), 'local') as address, pg_is_in_recovery() as standby",
    );
    const { address, standby } = rows[0] as { address: string; standby: boolean };
    return { value: null, found: `as "${options.user}", reached the ${standby ? 'standby' : 'leader'} at ${address}` };
  } finally {
    client.end().catch(() => {});
  }
}
