import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { createReloadableTls } from '../../src/base/mutual-tls.ts';
import { openRecordStore } from '../../src/coordination/open-store.ts';
import { startRecordServer } from '../../src/coordination/record-server.ts';
import { createTestPki } from '../kit/certificates.ts';
import { needs } from '../kit/requirement.ts';
import { describeStore } from './store.ts';

describeStore('the local record server', needs('loopback'), async () => {
  const pki = await createTestPki();
  const tls = await pki.issue('leo-record');
  const nodeTls = await createReloadableTls(await pki.issue('leo-1'));
  const servers = new Map<string, ReturnType<typeof startRecordServer>>();
  const serverOf = (name: string) => {
    const server =
      servers.get(name) ??
      startRecordServer({
        globalCluster: 'orders',
        listen: { address: '127.61.1.1', port: 0 },
        tls,
        dataFile: join(pki.folder, `${randomUUID()}.json`),
      });
    servers.set(name, server);
    return server;
  };
  return {
    async open(name) {
      const { port } = await serverOf(name);
      return openRecordStore(
        { kind: 'local', endpoint: { host: 'leo-record', address: '127.61.1.1', port } },
        nodeTls,
        { sourceAddress: '127.61.1.2' },
      );
    },
    async stop() {
      for (const server of servers.values()) await (await server).close();
      await pki[Symbol.asyncDispose]();
    },
  };
});
