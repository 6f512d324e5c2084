/** The CoreDNS of the cluster under test: where kubeadm, kind and most others have it. */
import { kubectl } from './environment.ts';

const PLACE = ['-n', 'kube-system', 'configmap', 'coredns'] as const;
const SERVER_BLOCK = /^\.:53 \{\n/m;

/** Pastes rules into the server block `.:53` while `work` runs, and puts back what was there. */
export async function withCoreDnsRules<T>(rules: string, work: () => Promise<T>): Promise<T> {
  const [, namespace, kind, name] = PLACE;
  const corefile = await kubectl(['-n', namespace, 'get', kind, name, '-o', 'jsonpath={.data.Corefile}']);
  if (!SERVER_BLOCK.test(corefile)) throw new Error(`Cannot find the server block ".:53" in the Corefile: ${corefile}`);
  const write = (text: string) =>
    kubectl(['-n', namespace, 'patch', kind, name, '--type=merge', '-p', JSON.stringify({ data: { Corefile: text } })]);
  await write(corefile.replace(SERVER_BLOCK, (line) => `${line}${rules}`));
  try {
    return await work();
  } finally {
    await write(corefile);
  }
}
