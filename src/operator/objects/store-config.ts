/** Where the agents of a group find the record: the Lease of this cluster, pgspan's own etcd, or one of the user (requirement F1). */
import type { StoreConfig } from '../../api/agent-config.ts';
import { renderEtcdStore } from '../../core/topology/agent-config.ts';
import { recordLease } from './object-names.ts';
import { ETCD_TLS_FOLDER, SERVICE_ACCOUNT_FOLDER } from './pod-places.ts';
import type { RenderInput } from './render-input.ts';

export function usesLease({ plan }: Pick<RenderInput, 'plan'>): boolean {
  return plan.coordination.store === 'platform' || plan.coordination.store === 'kubernetes';
}

/** Secret with client certificate and CA of the etcd; null: the agents' own certificates are good there. */
export function etcdTlsSecret(input: Pick<RenderInput, 'plan' | 'group'>): string | null {
  return usesLease(input) ? null : (input.group.spec.coordination.etcd?.secretRef?.name ?? null);
}

export function storeConfig(input: Pick<RenderInput, 'plan' | 'groupPlan' | 'group'>): StoreConfig {
  const { plan, groupPlan } = input;
  if (usesLease(input)) {
    return {
      kind: 'lease',
      endpoint: null,
      namespace: groupPlan.namespace,
      name: recordLease(plan.globalCluster),
      tokenFile: `${SERVICE_ACCOUNT_FOLDER}/token`,
      caFile: `${SERVICE_ACCOUNT_FOLDER}/ca.crt`,
    };
  }
  if (etcdTlsSecret(input) === null) return renderEtcdStore(plan, null, groupPlan);
  return renderEtcdStore(plan, {
    certFile: `${ETCD_TLS_FOLDER}/tls.crt`,
    keyFile: `${ETCD_TLS_FOLDER}/tls.key`,
    caFile: `${ETCD_TLS_FOLDER}/ca.crt`,
  });
}
