/**
 * `pgspan psql-in-pod --config INSTANCE_JSON HOST PORT DATABASE TARGET_SESSION_ATTRS TERM [ARG...]`: becomes psql, in a pod
 * of PostgreSQL, as the application's user. A person's `pgspan psql` starts it by exec: the password and the CA are
 * files of the pod, and neither leaves it.
 */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { instanceConfigSchema } from '../api/agent-config.ts';
import { UserError } from '../base/user-error.ts';
import { connectionVariables } from '../core/connection/formats.ts';
import type { TargetSessionAttrs } from '../core/connection/formats.ts';

const SESSION_ATTRS: readonly TargetSessionAttrs[] = ['any', 'read-write', 'prefer-standby'];

export async function runPsqlInPod(configFile: string, words: readonly string[]): Promise<void> {
  const [host = '', port = '', database = '', attrs = '', term = '', ...args] = words;
  const { bootstrap, tls, paths } = instanceConfigSchema.parse(JSON.parse(await readFile(configFile, 'utf8')));
  const variables = connectionVariables({
    hosts: [{ host, address: null, port: Number(port) }],
    database,
    user: bootstrap.owner,
    password: (await readFile(bootstrap.ownerPasswordFile, 'utf8')).trimEnd(),
    passfile: null,
    sslRootCert: tls.caFile,
    targetSessionAttrs: SESSION_ATTRS.find((one) => one === attrs) ?? 'any',
    directTls: false,
  });
  const program = findPsql(paths.postgresBin);
  // In place of this process: its terminal, its signals and its exit code are psql's own. libc of the image is the image's.
  const { LD_LIBRARY_PATH: _, ...env } = process.env;
  process.execve?.(program, ['psql', ...args], { ...definedOf(env), ...variables, TERM: term || 'dumb', HOME: '/tmp' });
}

function findPsql(postgresBin: string): string {
  const folders = [postgresBin, ...(process.env.PATH ?? '').split(delimiter)];
  const found = folders.map((folder) => join(folder, 'psql')).find((path) => existsSync(path));
  if (found !== undefined) return found;
  throw new UserError({
    code: 'PSQL_MISSING',
    kind: 'missing',
    message: `Cannot start psql in the pod: the image has none in ${folders.join(', ')}`,
    todo: 'Install psql on your own machine: then `pgspan psql` uses that, through a port-forward.',
  });
}

function definedOf(env: NodeJS.ProcessEnv): Record<string, string> {
  return Object.fromEntries(Object.entries(env).filter((one): one is [string, string] => one[1] !== undefined));
}
