/**
 * A place from which the programs of a global cluster are reached, with a certificate that agents obey: this machine beside a
 * local site, or a pod. What is asked is plain data, so that a pod can be told over a stream (vantage-lines.ts).
 */
import { readFile } from 'node:fs/promises';
import type { EdgeFacts, EdgeQuestion } from '../api/edge-facts.ts';
import { createReloadableTls, type DialTarget, type ReloadableTls, type TlsFiles } from '../base/mutual-tls.ts';
import { type AgentAnswer, askAgent } from './agent-api.ts';
import { askAsPeer, loginByPassword, type PasswordLogin } from './edge-logins.ts';
import { type EdgeMeans, examineAll } from './examine-edge.ts';

export interface AgentQuestion {
  readonly target: DialTarget;
  readonly method?: 'GET' | 'POST';
  /** Such as `/v1/status`. */
  readonly path: string;
  readonly body?: unknown;
  readonly timeoutMs: number;
}

export interface Vantage {
  /** `here`, or the pod, for people. */
  readonly name: string;
  /** Throws DialError, or what the way to the vantage itself met. */
  ask(question: AgentQuestion): Promise<AgentAnswer>;
  /** Edges from here: `client` as the application's user, `agent` and `health` with the certificate. Never throws for what it finds. */
  examine(questions: readonly EdgeQuestion[]): Promise<EdgeFacts[]>;
}

export interface VantageFiles {
  readonly name: string;
  readonly credentials: TlsFiles;
  /** Trust bundle for clients, a PEM path. */
  readonly trustBundle: string;
  readonly database: string;
  readonly user: string;
  password(): Promise<string>;
}

/** This process, with files of this machine. Certificates are read again when they are older than this, for long watches. */
const CREDENTIALS_FRESH_MS = 10_000;

export function vantageHere(files: VantageFiles): Vantage {
  const credentials = freshCredentials(files.credentials);
  return {
    name: files.name,
    ask: async (question) => askAgent({ ...question, credentials: await credentials() }),
    examine: (questions) => examineAll(questions, async (question) => meansOf(files, await credentials(), question)),
  };
}

function freshCredentials(files: TlsFiles): () => Promise<ReloadableTls> {
  let loading: Promise<ReloadableTls> | null = null;
  let loadedAtMs = 0;
  return () => {
    if (loading === null || performance.now() - loadedAtMs > CREDENTIALS_FRESH_MS) {
      loading = createReloadableTls(files);
      loadedAtMs = performance.now();
    }
    return loading;
  };
}

async function meansOf(files: VantageFiles, credentials: ReloadableTls, { purpose }: EdgeQuestion): Promise<EdgeMeans> {
  if (purpose === 'client') {
    const [ca, password] = await Promise.all([readFile(files.trustBundle, 'utf8'), files.password()]);
    return clientMeans({ ca, database: files.database, user: files.user, password });
  }
  const { cert, key, ca } = credentials.serverOptions();
  return {
    sourceAddress: null,
    ca: String(ca),
    identity: { cert: String(cert), key: String(key) },
    startsAsPostgres: false,
    authenticate: (question) =>
      askAsPeer(question, { credentials, path: purpose === 'health' ? '/livez' : '/v1/status' }),
  };
}

/** PostgreSQL as an application sees it: the trust bundle and a password. */
export function clientMeans(login: PasswordLogin): EdgeMeans {
  return {
    sourceAddress: null,
    ca: login.ca,
    startsAsPostgres: true,
    authenticate: (question) => loginByPassword(question, login),
  };
}
