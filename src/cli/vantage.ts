/**
 * `pgspan vantage --config INSTANCE_JSON`: answers questions on stdin with a node's own certificate (platform/vantage-lines.ts).
 * A person's `pgspan status` starts it in a pod, by exec: so no key ever leaves the pod.
 */
import { readFile } from 'node:fs/promises';
import { instanceConfigSchema } from '../api/agent-config.ts';
import { vantageHere } from '../platform/vantage.ts';
import { serveVantage } from '../platform/vantage-lines.ts';

/** Until stdin ends. @param configFile the one that the node's agent runs with. */
export async function runVantage(configFile: string): Promise<void> {
  const { node, tls, bootstrap } = instanceConfigSchema.parse(JSON.parse(await readFile(configFile, 'utf8')));
  const vantage = vantageHere({
    name: node,
    credentials: { certFile: tls.certFile, keyFile: tls.keyFile, caFile: tls.caFile },
    trustBundle: tls.caFile,
    database: bootstrap.database,
    user: bootstrap.owner,
    password: async () => (await readFile(bootstrap.ownerPasswordFile, 'utf8')).trimEnd(),
  });
  // Nobody reads any more: the session is over.
  process.stdout.on('error', () => process.exit(0));
  await serveVantage(vantage, process.stdin as AsyncIterable<Buffer>, (line) => void process.stdout.write(line));
  process.exit(0);
}
