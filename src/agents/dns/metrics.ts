/** The resolver's Prometheus metrics. Names are a contract with dashboards and alert rules. */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Resolver, ResolverEvents } from './resolver.ts';

const RCODE_WORDS = ['noerror', 'formerr', 'servfail', 'nxdomain', 'notimp', 'refused'];

export function createDnsMetrics(resolver: () => Resolver | null, generation: () => number) {
  const registry = new Registry();
  const registers = [registry];
  const gauge = (name: string, help: string, read: () => number): void => {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  };
  gauge('pgspan_dns_cache_entries', 'Answers that are kept now', () => resolver()?.cache.size ?? 0);
  gauge('pgspan_dns_cache_bytes', 'Memory of the answers that are kept, estimated', () => resolver()?.cache.bytes ?? 0);
  gauge('pgspan_dns_upstream_queries', 'Questions to upstreams under way', () => resolver()?.forwarder.underWay ?? 0);
  gauge('pgspan_dns_config_generation', 'Generation of the configuration that runs', generation);
  gauge('process_resident_memory_bytes', 'Resident memory size in bytes.', () => process.memoryUsage.rss());
  new Gauge({
    name: 'pgspan_dns_upstream_up',
    help: '1: answers; 0: failed twice in a row a moment ago, and is asked last',
    labelNames: ['upstream'],
    registers,
    collect() {
      this.reset();
      for (const { name, isDown } of resolver()?.forwarder.upstreams ?? [])
        this.set({ upstream: name }, isDown ? 0 : 1);
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
  const counter = <Label extends string>(name: string, help: string, labelNames: Label[]) =>
    new Counter({ name, help, labelNames, registers });
  const queries = counter('pgspan_dns_queries_total', 'Queries that came', ['protocol']);
  const answers = counter('pgspan_dns_answers_total', 'Answers, by where they came from and their rcode', [
    'source',
    'rcode',
  ]);
  const dropped = counter('pgspan_dns_dropped_total', 'Queries without a useful answer, by reason', ['reason']);
  const brokenRules = counter('pgspan_dns_broken_rules_total', 'Queries whose rule cannot be carried out', []);
  const attempts = counter('pgspan_dns_upstream_attempts_total', 'Questions to upstreams, by what came of them', [
    'upstream',
    'result',
  ]);
  const seconds = new Histogram({
    name: 'pgspan_dns_upstream_seconds',
    help: "Time until an upstream's answer",
    labelNames: ['upstream'],
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5],
    registers,
  });
  const failures = ['silent', 'unreachable'];
  const events: Pick<ResolverEvents, 'onAnswer' | 'onDrop' | 'onAttempt'> = {
    onAnswer: (source, rcode) => answers.inc({ source, rcode: RCODE_WORDS[rcode] ?? String(rcode) }),
    onDrop: (reason) => dropped.inc({ reason }),
    onAttempt: (upstream, result, tookMs) => {
      attempts.inc({ upstream, result });
      if (!failures.includes(result)) seconds.observe({ upstream }, tookMs / 1000);
    },
  };
  return { registry, events, brokenRules, onQuery: (protocol: 'udp' | 'tcp') => queries.inc({ protocol }) };
}
export type DnsMetrics = ReturnType<typeof createDnsMetrics>;
