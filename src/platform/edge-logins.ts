/** The last step of an edge (examine-edge.ts): what the other end says to who we are. */
import { isIP } from 'node:net';
import type * as tls from 'node:tls';
import pg from 'pg';
import { EDGE_FAILURE, type EdgeQuestion } from '../api/edge-facts.ts';
import type { ReloadableTls } from '../base/mutual-tls.ts';
import { encodeStartup, readStartupAnswer } from '../wire/postgres-startup.ts';
import { askAgent } from './agent-api.ts';
import { EDGE_STEP_TIMEOUT_MS, inTime, StepError } from './examine-edge.ts';

const APPLICATION_NAME = 'pgspan doctor';

/** PostgreSQL by certificate, as a standby would: a session for replication that asks for nothing. */
export async function loginForReplication(user: string, secure: tls.TLSSocket): Promise<string> {
  const answer = await inTime<Buffer>(secure, (resolve) => {
    let received = Buffer.alloc(0);
    secure.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      if (readStartupAnswer(received).kind !== 'incomplete') resolve(received);
    });
    secure.write(encodeStartup({ user, replication: 'true', application_name: APPLICATION_NAME }));
  });
  const said = readStartupAnswer(answer);
  if (said.kind === 'accepted') return `as "${user}" by certificate`;
  if (said.kind === 'refused') throw new StepError(said.code, said.message);
  throw new StepError(EDGE_FAILURE.forbidden, `it asks "${user}" for more than a certificate`);
}

/** An agent by mutual TLS. @param path such as `/v1/status`. */
export async function askAsPeer(
  { host, address, port }: EdgeQuestion,
  options: { readonly credentials: ReloadableTls; readonly path: string },
): Promise<string> {
  const { status, body } = await askAgent({
    target: { host, address, port },
    ...options,
    timeoutMs: EDGE_STEP_TIMEOUT_MS,
  });
  if (status === 403) {
    const said = String((body as { error?: unknown } | null)?.error ?? 'it does not accept our certificate');
    throw new StepError(EDGE_FAILURE.forbidden, said);
  }
  return `mutual TLS as "${host}", answered ${status}`;
}

export interface PasswordLogin {
  readonly ca: string;
  readonly database: string;
  readonly user: string;
  readonly password: string;
}

/** PostgreSQL by password, over a verified connection of its own. */
export async function loginByPassword(target: EdgeQuestion, login: PasswordLogin): Promise<string> {
  const client = new pg.Client({
    host: target.address ?? target.host,
    port: target.port,
    database: login.database,
    user: login.user,
    password: login.password,
    connectionTimeoutMillis: EDGE_STEP_TIMEOUT_MS,
    query_timeout: EDGE_STEP_TIMEOUT_MS,
    application_name: APPLICATION_NAME,
    ssl: {
      ca: login.ca,
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
    return `as "${login.user}", reached the ${standby ? 'standby' : 'leader'} at ${address}`;
  } finally {
    client.end().catch(() => {});
  }
}
