/**
 * Two resolvers with the same work: rules for nine nodes, a cache, everything else to one upstream. And that upstream: CoreDNS
 * that answers every name at once, so that what is measured is the resolver before it.
 */
import type { ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { agentProgram } from '../../src/platform/program.ts';
import { formatCorednsRules } from '../../src/core/dns/coredns-rules.ts';
import { run, start, stop, waitUntilNothingMissing } from '../kit/processes.ts';

export const NAMES = ['pgspan', 'coredns'] as const;
export type Name = (typeof NAMES)[number];
/** `one`: on one processor, the load on the others. `all`: wherever the kernel puts it. */
export const PROCESSORS = ['one', 'all'] as const;
export type Processors = (typeof PROCESSORS)[number];

export interface Contender {
  readonly name: Name;
  readonly processors: Processors;
  readonly address: string;
  readonly port: number;
  readonly pid: number;
}

export interface Field {
  readonly contenders: readonly Contender[];
  stop(): Promise<void>;
}

const UPSTREAM = { address: '127.62.53.1', port: 5301 } as const;
const NODES = 9;

export const nodeNames: readonly string[] = Array.from({ length: NODES }, (_, n) => `leo-${n + 1}.db.example.com`);
const podOf = (name: string): string => `${name.split('.', 1)[0]}-0.leo-pods.shop.svc.cluster.local`;

/** Prefix of commands that leave the first processor to the one that is measured. */
export const AWAY = ['taskset', '-c', cpus().length > 1 ? `1-${cpus().length - 1}` : '0'];

export async function startField(folder: string, coredns: string): Promise<Field> {
  const children: ChildProcess[] = [];
  const launch = (command: readonly string[], log: string, env?: Record<string, string>): number => {
    const child = start(command, join(folder, log), env);
    children.push(child);
    if (child.pid === undefined) throw new Error(`Cannot start "${command[0]}"`);
    return child.pid;
  };
  const upstream = join(folder, 'upstream.corefile');
  writeFileSync(upstream, UPSTREAM_FILE);
  launch([...AWAY, coredns, '-conf', upstream], 'upstream.log');
  const node = await agentProgram('dns');
  const contenders: Contender[] = [];
  for (const [index, processors] of PROCESSORS.entries()) {
    const pinned = processors === 'one' ? ['taskset', '-c', '0'] : [];
    for (const name of NAMES) {
      const where = { address: `127.62.53.${name === 'pgspan' ? 10 + index : 20 + index}`, port: 5353 };
      const file = join(folder, `${name}-${processors}`);
      writeFileSync(file, name === 'pgspan' ? ourFile(where) : corefile(where));
      const command =
        name === 'pgspan'
          ? [node.node, ...node.args, 'dns', 'serve', '--config', file]
          : [coredns, '-conf', file, '-quiet'];
      const env = name === 'pgspan' ? { ...node.env } : {};
      contenders.push({ name, processors, ...where, pid: launch([...pinned, ...command], `${name}.log`, env) });
    }
  }
  for (const contender of contenders)
    await waitUntilNothingMissing(`${contender.name} answers`, async () => {
      await run(['dnsperf', ...serverOf(contender), '-d', await questionFile(folder), '-n', '1']);
      return null;
    });
  return {
    contenders,
    async stop() {
      for (const child of children) await stop(child);
    },
  };
}

export function serverOf({ address, port }: Pick<Contender, 'address' | 'port'>): string[] {
  return ['-s', address, '-p', String(port)];
}

async function questionFile(folder: string): Promise<string> {
  const path = join(folder, 'one.txt');
  writeFileSync(path, `${nodeNames[0]} A\n`);
  return path;
}

/** Every name has an address, in no time. */
const UPSTREAM_FILE = `.:${UPSTREAM.port} {
    bind ${UPSTREAM.address}
    template IN A {
        answer "{{ .Name }} 3600 IN A 192.0.2.1"
    }
}
`;

function ourFile({ address, port }: { readonly address: string; readonly port: number }): string {
  return JSON.stringify({
    listen: { dns: { address, port }, health: { address, port: 5482 } },
    upstreams: [UPSTREAM],
    rules: nodeNames.map((host) => ({ host, result: podOf(host) })),
  });
}

/** The rules as \`pgspan dns coredns\` prints them; the cache for as long as ours. */
function corefile({ address, port }: { readonly address: string; readonly port: number }): string {
  const rules = formatCorednsRules(nodeNames.map((name) => ({ name, target: podOf(name) })));
  return `.:${port} {
    bind ${address}
    prometheus ${address}:9153
${rules.replaceAll(/^/gm, '    ').trimEnd()}
    cache 30
    forward . ${UPSTREAM.address}:${UPSTREAM.port}
}
`;
}
