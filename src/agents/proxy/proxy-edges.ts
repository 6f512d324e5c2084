/** What a proxy tries its edges with (edge-examination.ts). */
import type { ProxyConfig } from '../../api/agent-config.ts';
import type { ReloadableTls } from '../../base/mutual-tls.ts';
import { edgesOfProxy } from '../../core/connectivity/agent-edges.ts';
import { EdgeExamination } from '../edge-examination.ts';

export function proxyEdges(config: () => ProxyConfig, tls: ReloadableTls): EdgeExamination {
  const { name, group } = config();
  return new EdgeExamination({
    name,
    group,
    edges: () => edgesOfProxy(config()),
    means: async ({ purpose }) => {
      const { cert, key, ca } = tls.serverOptions();
      const common = { sourceAddress: config().sourceAddress, ca: String(ca) };
      // PostgreSQL is only passed on to: the login is the client's.
      if (purpose === 'relay') return { ...common, startsAsPostgres: true, authenticate: null };
      const { askAsPeer } = await import('../../platform/edge-logins.ts');
      return {
        ...common,
        identity: { cert: String(cert), key: String(key) },
        startsAsPostgres: false,
        authenticate: (question) => askAsPeer(question, { credentials: tls, path: '/v1/status' }),
      };
    },
  });
}
