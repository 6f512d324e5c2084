/** Metrics of the operator: what it asks of the API server, and how its work goes. */
import { Counter, Gauge, Registry } from 'prom-client';
import type { RequestCount } from '../platform/kubernetes/kube-client.ts';
import type { Operator } from './operator.ts';

export interface OperatorMetrics {
  readonly registry: Registry;
  readonly onRequest: (count: RequestCount) => void;
}

export function createOperatorMetrics(operator: () => Operator | null): OperatorMetrics {
  const registry = new Registry();
  const registers = [registry];
  const requests = new Counter({
    name: 'pgspan_kube_requests_total',
    help: 'Requests to the Kubernetes API that ended, by verb, kind and HTTP status (0: no answer).',
    labelNames: ['verb', 'kind', 'status'],
    registers,
  });
  const gauge = (name: string, help: string, read: (counts: Operator['counts']) => number): void => {
    const one: Gauge = new Gauge({
      name: `pgspan_operator_${name}`,
      help,
      registers,
      collect() {
        const running = operator();
        one.set(running === null ? 0 : read(running.counts));
      },
    });
  };
  const acting: Gauge = new Gauge({
    name: 'pgspan_operator_is_acting',
    help: '1 if this replica holds the Lease.',
    registers,
    collect: () => acting.set(operator() === null ? 0 : 1),
  });
  gauge('groups', 'Groups that are taken care of.', ({ groups }) => groups);
  gauge('groups_waiting', 'Groups that are due, or will be by themselves.', ({ waiting }) => waiting);
  gauge('looks', 'Looks at a group since the start.', ({ looks }) => looks);
  gauge('failures', 'Looks that failed since the start.', ({ failures }) => failures);
  const memory: Gauge = new Gauge({
    name: 'process_resident_memory_bytes',
    help: 'Resident memory.',
    registers,
    collect: () => memory.set(process.memoryUsage.rss()),
  });
  return {
    registry,
    onRequest: ({ verb, kind, status }) => requests.inc({ verb, kind, status: String(status) }),
  };
}
