/** `pgspan record-server`: the process that keeps the record of a local site (coordination/record-server.ts). */
import { readFile } from 'node:fs/promises';
import pino from 'pino';
import { recordServerConfigSchema } from '../api/record-server-config.ts';
import { startRecordServer } from '../coordination/record-server.ts';

/** Refused clients are logged at most this often: whoever can connect could fill the disk otherwise. */
const REFUSAL_LOG_INTERVAL_MS = 1000;

/** Serves the record over mutual TLS until SIGTERM; SIGHUP takes renewed certificates. @param configFile JSON of the form recordServerConfigSchema */
export async function runRecordServer(configFile: string): Promise<void> {
  const config = recordServerConfigSchema.parse(JSON.parse(await readFile(configFile, 'utf8')));
  const log = pino({ base: { program: 'record-server' } }, pino.destination({ dest: 2, sync: true }));
  let refusedCount = 0;
  let loggedAtMs = -REFUSAL_LOG_INTERVAL_MS;
  const server = await startRecordServer(config, {
    onRefused(refusal) {
      refusedCount += 1;
      if (performance.now() - loggedAtMs < REFUSAL_LOG_INTERVAL_MS) return;
      loggedAtMs = performance.now();
      log.warn({ ...refusal, refusedCount }, 'refused a client');
    },
  });
  log.info({ globalCluster: config.globalCluster, port: server.port }, 'serving the record');
  process.on('SIGHUP', () => {
    server.reload().then(
      () => log.info('reloaded certificates'),
      (error: Error) => log.error({ error: error.message }, 'cannot reload certificates'),
    );
  });
  await new Promise<void>((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => resolve());
  });
  await server.close();
}
