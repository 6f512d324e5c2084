/** Asks some node of another group by mutual TLS: its CA and its identity say who it is, whatever name or address was dialled. */
import { request } from 'node:https';
import type { PeerCertificate } from 'node:tls';
import { describeDialError } from '../../base/dial-tls.ts';
import { nodeOfCertificate, type ReloadableTls } from '../../base/mutual-tls.ts';
import { readBounded } from '../../base/read-bounded.ts';
import type { AgentAnswer } from '../../platform/agent-api.ts';

export interface NodeQuestion {
  readonly tls: ReloadableTls;
  readonly globalCluster: string;
  readonly group: string;
  readonly host: string;
  readonly port: number;
  readonly path: string;
}

const TIMEOUT_MS = 5000;
const ANSWER_BYTES_MAX = 64 * 1024;

/** Throws DialError. */
export function askNode({ tls, globalCluster, group, host, port, path }: NodeQuestion): Promise<AgentAnswer> {
  const target = { host, address: null, port };
  const { promise, resolve, reject } = Promise.withResolvers<AgentAnswer>();
  const fail = (error: Error): void => reject(describeDialError(target, error));
  const checkServerIdentity = (_host: string, certificate: PeerCertificate): Error | undefined => {
    const isThere = nodeOfCertificate(certificate, { globalCluster, group }) !== null;
    return isThere ? undefined : new Error(`it is no node of group "${group}"`);
  };
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const outgoing = request(
    { ...tls.connectOptions(target), checkServerIdentity, agent: false, path, signal },
    (response) => {
      readBounded(response, ANSWER_BYTES_MAX).then((bytes) => {
        try {
          const body: unknown = JSON.parse(bytes.toString('utf8'));
          resolve({ status: response.statusCode ?? 0, body });
        } catch {
          fail(new Error('its answer is no JSON'));
        }
      }, fail);
    },
  );
  outgoing.once('error', fail);
  outgoing.end();
  return promise;
}
