/**
 * ConfigMaps: the agents' configurations and the trust bundle.
 *
 * A configuration carries a generation that grows with each change of it, and the agent reports the one it runs. The same
 * plan gives the same text again, so that a loop that applies it always changes nothing.
 */
import type { Placement } from '../../core/topology/agent-config.ts';
import { renderInstanceConfig, renderProxyConfig } from '../../core/topology/agent-config.ts';
import { AGENT_PORT, caConfigMap, POSTGRES_PORT } from '../../core/topology/names.ts';
import { planNodesOf } from '../../core/topology/plan.ts';
import type { ConfigMap } from '../../platform/kubernetes/object-types.ts';
import { ownedMetadata } from './metadata.ts';
import { nodeConfigMap, proxyConfigMap } from './object-names.ts';
import {
  APP_FOLDER,
  DATA_DIRECTORY,
  INSTANCE_CONFIG_KEY,
  PATH_PORT,
  POD_USER,
  PROXY_CONFIG_KEY,
  PROXY_HEALTH_PORT,
  PROXY_READ_PORT,
  PROXY_WRITE_PORT,
  POSTGRES_BIN,
  ROLES_FOLDER,
  RUNTIME_DIRECTORY,
  STATE_DIRECTORY,
  SUPERUSER_FOLDER,
  TLS_FOLDER,
} from './pod-places.ts';
import type { RenderInput } from './render-input.ts';
import { storeConfig } from './store-config.ts';
import { nextConfig } from './next-config.ts';
import { renderDnsConfigMaps } from './dns-sidecar.ts';

const TLS_FILES = {
  certFile: `${TLS_FOLDER}/tls.crt`,
  keyFile: `${TLS_FOLDER}/tls.key`,
  caFile: `${TLS_FOLDER}/ca.crt`,
} as const;

/** The trust bundle, without keys, for applications and for trust-manager (requirement B10). */
export function renderTrustBundle(input: RenderInput): ConfigMap {
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: ownedMetadata(input, caConfigMap(input.groupPlan.name)),
    data: { 'ca.crt': input.facts.trustBundle },
  };
}

export function renderConfigMaps(input: RenderInput): ConfigMap[] {
  const { plan, groupPlan, facts } = input;
  const nodes = groupPlan.nodes.map(({ name }) =>
    configMap(input, nodeConfigMap(name), INSTANCE_CONFIG_KEY, (generation) =>
      renderInstanceConfig(plan, name, {
        ...placementOf(input, generation),
        listen: { address: null, postgresPort: POSTGRES_PORT, agentPort: AGENT_PORT, pathPort: PATH_PORT },
        paths: {
          postgresBin: facts.postgresBin ?? POSTGRES_BIN,
          dataDirectory: DATA_DIRECTORY,
          stateDirectory: STATE_DIRECTORY,
          runtimeDirectory: RUNTIME_DIRECTORY,
          postgresLog: null,
        },
        tls: {
          ...TLS_FILES,
          replicationCertFile: `${TLS_FOLDER}/replication.crt`,
          replicationKeyFile: `${TLS_FOLDER}/replication.key`,
        },
        store: storeConfig(input),
        osUser: POD_USER,
        ownerPasswordFile: `${APP_FOLDER}/password`,
        rolePasswordFolder: ROLES_FOLDER,
        superuserPasswordFile: groupPlan.bootstrap.superuserAccess ? `${SUPERUSER_FOLDER}/password` : null,
      }),
    ),
  );
  const [proxy] = groupPlan.proxies;
  const dns = renderDnsConfigMaps(input);
  if (proxy === undefined) return [...nodes, ...dns];
  // The pods of a Deployment are all alike: each is the plan's first proxy.
  const proxies = configMap(input, proxyConfigMap(groupPlan.name), PROXY_CONFIG_KEY, (generation) =>
    renderProxyConfig(plan, proxy.name, {
      ...placementOf(input, generation),
      listen: {
        write: { address: null, port: PROXY_WRITE_PORT },
        read: { address: null, port: PROXY_READ_PORT },
        health: { address: null, port: PROXY_HEALTH_PORT },
      },
      sourceAddress: null,
      tls: TLS_FILES,
    }),
  );
  return [...nodes, proxies, ...dns];
}

/** Names resolve through Services, so no address stands in a file that would have to change with a pod. */
function placementOf({ plan }: RenderInput, generation: number): Placement {
  const everywhere = { address: null, postgresPort: POSTGRES_PORT, agentPort: AGENT_PORT };
  return { generation, nodes: Object.fromEntries(planNodesOf(plan).map(({ name }) => [name, everywhere])) };
}

function configMap(
  input: RenderInput,
  name: string,
  key: string,
  render: (generation: number) => { readonly generation: number },
): ConfigMap {
  const workload = key === PROXY_CONFIG_KEY ? 'proxy' : 'postgres';
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: ownedMetadata(input, name, { workload }),
    data: { [key]: nextConfig(input.facts.storedConfigs[name], render) },
  };
}
