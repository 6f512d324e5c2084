/** The few questions of `pgspan init`, at a terminal only. An empty answer takes what stands in brackets. */
import { createInterface } from 'node:readline/promises';
import type { Readable, Writable } from 'node:stream';
import type { Topology } from '../core/topology/topology-manifests.ts';
import { type InitFlags, listOf, missing, readTopology } from './init-topology.ts';

export interface Terminal {
  readonly input: Readable & { readonly isTTY?: boolean };
  /** Not stdout: manifests may go there. */
  readonly output: Writable & { readonly isTTY?: boolean };
}

/** Throws UserError INIT_OPTION_MISSING where there is no terminal, and what readTopology throws. */
export async function askForTopology(
  flags: InitFlags,
  { input, output }: Terminal = { input: process.stdin, output: process.stderr },
): Promise<Topology> {
  if (input.isTTY !== true || output.isTTY !== true)
    throw missing('--groups', 'the names of the groups, such as leo,ait,pit');
  const lines = createInterface({ input, output });
  const ask = async (question: string, otherwise: string): Promise<string> => {
    const answer = (await lines.question(`${question} [${otherwise}]: `)).trim();
    return answer === '' ? otherwise : answer;
  };
  const choose = async <T extends string>(question: string, choices: readonly T[], otherwise: T): Promise<T> => {
    for (;;) {
      const answer = await ask(`${question} (${choices.join(', ')})`, otherwise);
      const chosen = choices.find((one) => one.toLowerCase() === answer.toLowerCase());
      if (chosen !== undefined) return chosen;
      output.write(`"${answer}" is none of them.\n`);
    }
  };
  try {
    const name = await ask('Name of the database cluster, which clients will dial', flags.name);
    const groups = await ask('Names of the groups, one for each Kubernetes cluster, separated by commas', 'leo');
    const isOne = listOf(groups).length === 1;
    const domain = await ask(
      isOne ? 'Domain of its names' : 'Domain of all names, or one for each group',
      'db.example.com',
    );
    const nodes = await ask('PostgreSQL nodes in each group', isOne ? '3' : '1');
    const loadBalancers = await choose(
      'Load balancers: for the proxies, or for each node as well',
      ['none', 'group', 'node'],
      isOne ? 'none' : 'node',
    );
    const internode = await choose(
      'How servers dial each other',
      ['ServiceName', 'FQDN', 'SplitDNS'],
      isOne ? 'ServiceName' : 'SplitDNS',
    );
    const store = isOne ? 'lease' : await choose('Where the record of the leader is kept', ['etcd', 'lease'], 'etcd');
    const witness =
      listOf(groups).length === 2 && store === 'etcd'
        ? await ask('A third group without data, or none', 'none')
        : 'none';
    const storage = await ask('Volume of each node', flags.storage);
    return readTopology({
      ...flags,
      name,
      groups,
      domain,
      nodes,
      loadBalancers,
      internode,
      store,
      storage,
      ...(witness === 'none' ? {} : { witness }),
      preset: isOne ? flags.preset : 'wan',
    });
  } finally {
    lines.close();
  }
}
