/**
 * A place from which the programs of a global cluster are reached, with a certificate that agents obey: this machine beside a
 * local site, or a pod. What is asked is plain data, so that a pod can be told over a stream (vantage-lines.ts).
 */
import { readFile } from 'node:fs/promises';
import { createReloadableTls, type DialTarget, type ReloadableTls, type TlsFiles } from '../base/mutual-tls.ts';
import { type AgentAnswer, askAgent } from './agent-api.ts';
import { measureConnect, probeAgent, probePostgres, type StepResult } from './probe.ts';

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
  /** PostgreSQL at `target`, as the application's user. */
  probePostgres(target: DialTarget): Promise<StepResult[]>;
  probeAgent(target: DialTarget, path: string): Promise<StepResult[]>;
  /** Milliseconds of one TCP connect; null if it fails. */
  measureConnect(target: DialTarget): Promise<number | null>;
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
    probePostgres: async (target) =>
      probePostgres(target, {
        ca: await readFile(files.trustBundle, 'utf8'),
        database: files.database,
        user: files.user,
        password: await files.password(),
      }),
    probeAgent: (target, path) => probeAgent(target, files.credentials, path),
    measureConnect,
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
