/** Three etcd members at their defaults, each on an address of its own: the record's store for ours and for Patroni alike. */
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { inForky } from './forky.ts';
import { run, start, stop, waitUntilNothingMissing } from './processes.ts';

const CLIENT_PORT = 2379;
const PEER_PORT = 2380;

export interface EtcdMember {
  readonly address: string;
  /** Prefix that puts the process on its host; empty on this one. */
  readonly on: readonly string[];
}

export interface Etcd {
  /** `address:port` of each member. */
  readonly endpoints: readonly string[];
  stop(): Promise<void>;
}

/** Starts the members with empty data below `folder` and waits until each says it is healthy. */
export async function startEtcd(folder: string, members: readonly EtcdMember[]): Promise<Etcd> {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const cluster = members.map(({ address }, index) => `e${index}=http://${address}:${PEER_PORT}`).join(',');
  const children: ChildProcess[] = members.map(({ address, on }, index) => {
    const client = `http://${address}:${CLIENT_PORT}`;
    const peer = `http://${address}:${PEER_PORT}`;
    const options = {
      name: `e${index}`,
      'data-dir': join(folder, `e${index}`),
      'listen-client-urls': client,
      'advertise-client-urls': client,
      'listen-peer-urls': peer,
      'initial-advertise-peer-urls': peer,
      'initial-cluster': cluster,
      'log-level': 'warn',
    };
    const flags = Object.entries(options).map(([name, value]) => `--${name}=${value}`);
    return start([...on, ...inForky(folder), 'etcd', ...flags], join(folder, `e${index}.log`));
  });
  const endpoints = members.map(({ address }) => `${address}:${CLIENT_PORT}`);
  const health = [...(members[0]?.on ?? []), ...inForky(folder), 'etcdctl', `--endpoints=${endpoints.join(',')}`];
  await waitUntilNothingMissing('etcd', async () => {
    await run([...health, 'endpoint', 'health'], { timeoutMs: 10_000 });
    return null;
  });
  return { endpoints, stop: async () => void (await Promise.all(children.map((child) => stop(child)))) };
}
