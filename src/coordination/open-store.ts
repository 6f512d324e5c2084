/** From an agent's configuration to its store. */
import type { StoreConfig } from '../api/agent-config.ts';
import { createReloadableTls, type ReloadableTls } from '../base/mutual-tls.ts';
import { openEtcdStore } from './etcd-store.ts';
import { openLeaseStore } from './lease-store.ts';
import { openLocalStore } from './local-store.ts';
import type { RecordStore } from './store.ts';

export interface OpenStoreOptions {
  /** Source address of every connection; null: the system's choice. */
  readonly sourceAddress: string | null;
}

/**
 * What a store of this configuration is dialled with: the agent's own certificates, or those of an etcd that has a CA of
 * its own. The caller reloads the result as well when it is another than `own`. Throws TlsFilesError.
 */
export async function loadStoreTls(config: StoreConfig, own: ReloadableTls): Promise<ReloadableTls> {
  return config.kind === 'etcd' && config.tls !== null ? createReloadableTls(config.tls) : own;
}

/** Opens nothing yet: the first call connects. `tls` is from loadStoreTls; the caller keeps it and reloads it. */
export function openRecordStore(config: StoreConfig, tls: ReloadableTls, options: OpenStoreOptions): RecordStore {
  switch (config.kind) {
    case 'local':
      return openLocalStore({ target: config.endpoint, tls, sourceAddress: options.sourceAddress });
    case 'etcd':
      return openEtcdStore({
        endpoints: config.endpoints,
        key: config.key,
        tls: config.secure ? tls : null,
        sourceAddress: options.sourceAddress,
      });
    case 'lease':
      return openLeaseStore({
        target: config.endpoint,
        namespace: config.namespace,
        name: config.name,
        tokenFile: config.tokenFile,
        caFile: config.caFile,
      });
  }
}
