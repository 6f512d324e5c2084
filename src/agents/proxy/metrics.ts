/** The proxy's Prometheus metrics. Names are a contract with dashboards and alert rules. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Router } from './router.ts';
import type { Session } from './session.ts';

export function createProxyMetrics(router: () => Router, streamsOpen: () => number) {
  const registry = new Registry();
  const registers = [registry];
  const bytes = new Counter({
    name: 'pgspan_proxy_bytes_total',
    help: 'Bytes moved between clients and backends, TLS included',
    labelNames: ['route', 'node', 'direction'],
    registers,
    /** Open sessions are counted when somebody asks, and never per chunk. */
    collect: () => {
      for (const session of router().sessions) countBytes(session);
    },
  });
  function countBytes(session: Session): void {
    if (session.node === null || !session.isOpened) return;
    const { fromClient, toClient } = session.takeUncountedBytes();
    bytes.inc({ route: session.route, node: session.node, direction: 'from-client' }, fromClient);
    bytes.inc({ route: session.route, node: session.node, direction: 'to-client' }, toClient);
  }
  new Gauge({
    name: 'pgspan_proxy_sessions',
    help: 'Sessions open now',
    labelNames: ['route', 'node'],
    registers,
    collect() {
      this.reset();
      for (const session of router().sessions) {
        if (session.isRelaying && session.node !== null) this.inc({ route: session.route, node: session.node });
      }
    },
  });
  new Gauge({
    name: 'pgspan_proxy_held_connections',
    help: 'New connections that wait for a backend now',
    registers,
    collect() {
      this.set(router().heldCount);
    },
  });
  new Gauge({
    name: 'pgspan_proxy_leader_term',
    help: 'Highest term this proxy knows of; the label says who leads it and whether clients are let through',
    labelNames: ['leader', 'phase'],
    registers,
    collect() {
      this.reset();
      const { leader, term, phase } = router().view.leader;
      this.set({ leader: leader ?? '', phase }, term);
    },
  });
  new Gauge({
    name: 'pgspan_proxy_peer_streams',
    help: 'Streams to instance agents that are open now',
    registers,
    collect() {
      this.set(streamsOpen());
    },
  });
  new Gauge({
    name: 'process_resident_memory_bytes',
    help: 'Resident memory size in bytes.',
    registers,
    collect() {
      this.set(process.memoryUsage.rss());
    },
  });
  new Counter({
    name: 'process_cpu_seconds_total',
    help: 'Total user and system CPU time spent in seconds.',
    registers,
    collect() {
      const { user, system } = process.cpuUsage();
      this.reset();
      this.inc((user + system) / 1e6);
    },
  });
  return {
    registry,
    countBytes,
    opened: new Counter({
      name: 'pgspan_proxy_connections_total',
      help: 'Connections that got a backend',
      labelNames: ['route', 'node'],
      registers,
    }),
    ended: new Counter({
      name: 'pgspan_proxy_connections_ended_total',
      help: 'Connections that ended, by reason; "superseded" and "fenced" were cut because their node may lead no more',
      labelNames: ['route', 'reason'],
      registers,
    }),
    refused: new Counter({
      name: 'pgspan_proxy_connections_refused_total',
      help: 'Connections that were refused, by reason',
      labelNames: ['route', 'reason'],
      registers,
    }),
    attemptsFailed: new Counter({
      name: 'pgspan_proxy_backend_attempts_failed_total',
      help: 'Attempts to open a connection to a backend that failed',
      labelNames: ['node', 'failure'],
      registers,
    }),
    openSeconds: new Histogram({
      name: 'pgspan_proxy_connection_open_seconds',
      help: "Time from a client's request to its backend's first answer, waiting for a leader included",
      labelNames: ['route'],
      buckets: [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30],
      registers,
    }),
    cancels: new Counter({
      name: 'pgspan_proxy_cancel_requests_total',
      help: 'Cancel requests passed on, by node and result',
      labelNames: ['route', 'node', 'result'],
      registers,
    }),
    dropped: new Counter({
      name: 'pgspan_proxy_connections_dropped_total',
      help: 'Connections that did not become a session',
      labelNames: ['route', 'reason'],
      registers,
    }),
  };
}
export type ProxyMetrics = ReturnType<typeof createProxyMetrics>;
