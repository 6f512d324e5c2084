/** What the operator writes beside the settings of its member, and how they follow from it. */
import * as z from 'zod';
import type { EtcdMemory } from '../../core/etcd-members/etcd-snapshot.ts';
import type { EtcdMemberPlan } from '../../core/topology/plan-types.ts';
import type { EtcdStart } from '../objects/render-input.ts';

const id = z.string().regex(/^[0-9]{1,20}$/);
const folder = z.string().regex(/^[a-z0-9][-a-z0-9]{0,62}$/);

const memorySchema = z.discriminatedUnion('phase', [
  z.strictObject({ phase: z.literal('none'), clusterId: id.nullable() }),
  z.strictObject({ phase: z.literal('founding'), folder }),
  z.strictObject({
    phase: z.literal('joining'),
    clusterId: id,
    memberId: id,
    folder,
    initialCluster: z.string().min(1).max(16_384),
  }),
  z.strictObject({
    phase: z.literal('member'),
    clusterId: id,
    memberId: id,
    folder,
    volume: z.string().max(253).nullable(),
  }),
]);

/** Codes: ETCD_MEMORY_UNREADABLE. */
export class EtcdMemoryError extends Error {
  override name = 'EtcdMemoryError';
  readonly code = 'ETCD_MEMORY_UNREADABLE';
}

/** @throws EtcdMemoryError: what is there is no beginning, and must not be taken for one. */
export function parseEtcdMemory(text: string): EtcdMemory {
  try {
    return memorySchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new EtcdMemoryError(
      `Cannot read what is remembered of the member of etcd: found "${text.slice(0, 200)}"; restore the annotation of its ConfigMap`,
      { cause },
    );
  }
}

export const NOTHING_REMEMBERED: EtcdMemory = { phase: 'none', clusterId: null };

/** How the member is started, as of what is remembered. An empty folder: not at all. */
export function etcdStart(memory: EtcdMemory, { name, peerUrl }: EtcdMemberPlan): EtcdStart {
  const memoryText = JSON.stringify(memory);
  const alone = `${name}=${peerUrl}`;
  switch (memory.phase) {
    case 'none':
      return { memoryText, folder: '', initialCluster: alone, initialClusterState: 'existing' };
    case 'founding':
      return { memoryText, folder: memory.folder, initialCluster: alone, initialClusterState: 'new' };
    case 'joining':
      return {
        memoryText,
        folder: memory.folder,
        initialCluster: memory.initialCluster,
        initialClusterState: 'existing',
      };
    case 'member':
      // With nobody else in the list an empty folder cannot become a member: etcd ends, and says so.
      return { memoryText, folder: memory.folder, initialCluster: alone, initialClusterState: 'existing' };
  }
}
