/** What an instance agent tries its edges with (edge-examination.ts): the certificates that it runs with. */
import { readFile } from 'node:fs/promises';
import type { StoreConfig } from '../../api/agent-config.ts';
import type { EdgeQuestion } from '../../api/edge-facts.ts';
import type { ReloadableTls } from '../../base/mutual-tls.ts';
import { targetOfEnvironment } from '../../coordination/lease-client.ts';
import { openRecordStore } from '../../coordination/open-store.ts';
import { edgesOfInstance } from '../../core/connectivity/agent-edges.ts';
import { REPLICATION_USER } from '../../core/topology/names.ts';
import { askAsPeer, loginForReplication } from '../../platform/edge-logins.ts';
import { EDGE_STEP_TIMEOUT_MS, type EdgeMeans } from '../../platform/examine-edge.ts';
import { EdgeExamination } from '../edge-examination.ts';
import type { NodeContext } from './node-context.ts';

/** @param storeTls of loadStoreTls. */
export function instanceEdges(node: NodeContext, storeTls: ReloadableTls): EdgeExamination {
  const { config } = node;
  return new EdgeExamination({
    name: config.node,
    group: config.group,
    edges: () => edgesOfInstance(node.config, kubernetesApi(node.config.store)),
    means: (question) => meansOf(node, storeTls, question),
  });
}

async function meansOf(node: NodeContext, storeTls: ReloadableTls, question: EdgeQuestion): Promise<EdgeMeans> {
  const { config, credentials } = node;
  const sourceAddress = config.listen.address;
  const { cert, key, ca } = pemOf(credentials);
  switch (question.purpose) {
    case 'replication': {
      const [ownCert, ownKey] = await Promise.all([
        readFile(config.tls.replicationCertFile, 'latin1'),
        readFile(config.tls.replicationKeyFile, 'latin1'),
      ]);
      return {
        sourceAddress,
        ca,
        identity: { cert: ownCert, key: ownKey },
        startsAsPostgres: true,
        authenticate: async (_question, secure) =>
          secure === null ? 'no TLS' : await loginForReplication(REPLICATION_USER, secure),
      };
    }
    case 'record':
      return await recordMeans(config.store, storeTls, sourceAddress);
    default:
      return {
        sourceAddress,
        ca,
        identity: { cert, key },
        startsAsPostgres: false,
        authenticate: (one) => askAsPeer(one, { credentials, path: '/v1/status' }),
      };
  }
}

/** A read of the record through this endpoint alone. */
async function recordMeans(store: StoreConfig, tls: ReloadableTls, source: string | null): Promise<EdgeMeans> {
  const authenticate = async (question: EdgeQuestion): Promise<string> => {
    const { host, address, port } = question;
    const one: StoreConfig = store.kind === 'etcd' ? { ...store, endpoints: [{ host, address, port }] } : store;
    const opened = openRecordStore(one, tls, { sourceAddress: source });
    try {
      const { record } = await opened.read({ timeoutMs: EDGE_STEP_TIMEOUT_MS });
      return record === null ? 'there is no record yet' : `read the record of term ${record.term}`;
    } finally {
      await opened.close();
    }
  };
  const common = { sourceAddress: store.kind === 'lease' ? null : source, startsAsPostgres: false, authenticate };
  if (store.kind === 'lease') return { ...common, ca: await readFile(store.caFile, 'utf8') };
  if (store.kind === 'etcd' && !store.secure) return { ...common, ca: null };
  const { cert, key, ca } = pemOf(tls);
  return { ...common, ca, identity: { cert, key } };
}

function pemOf(tls: ReloadableTls): { cert: string; key: string; ca: string } {
  const { cert, key, ca } = tls.serverOptions();
  return { cert: String(cert), key: String(key), ca: String(ca) };
}

function kubernetesApi(store: StoreConfig): ReturnType<typeof targetOfEnvironment> | null {
  if (store.kind !== 'lease' || store.endpoint !== null) return null;
  try {
    return targetOfEnvironment();
  } catch {
    return null;
  }
}
