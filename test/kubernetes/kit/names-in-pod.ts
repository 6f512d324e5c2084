/** What names lead to inside of a pod, as its programs see it: by the C library, search domains and all. */
import { kubectl } from './environment.ts';

export interface PodPlace {
  readonly namespace: string;
  readonly pod: string;
  readonly container: string;
}

/** By name: the addresses, sorted; none where it does not resolve. */
export async function resolveInPod(
  { namespace, pod, container }: PodPlace,
  names: readonly string[],
): Promise<Record<string, string[]>> {
  const script = 'for name in "$@"; do echo "= $name"; getent ahosts "$name" | cut -d" " -f1 | sort -u; done; true';
  const output = await kubectl([
    '-n',
    namespace,
    'exec',
    pod,
    '-c',
    container,
    '--',
    'sh',
    '-c',
    script,
    'sh',
    ...names,
  ]);
  const found: Record<string, string[]> = {};
  let addresses: string[] = [];
  for (const line of output.split('\n').filter((one) => one !== '')) {
    if (line.startsWith('= ')) found[line.slice(2)] = addresses = [];
    else addresses.push(line);
  }
  return found;
}
