/** Puts the record back that this node remembers, because a person says so: `pgspan record restore`. */
import { decidePutBack } from '../../core/leadership/restore-record.ts';
import { type NodeContext, STORE_TIMEOUT_MS } from './node-context.ts';

/** `code` is RECORD_RESTORE_REFUSED. */
export class RecordRestoreError extends Error {
  override name = 'RecordRestoreError';
  readonly code = 'RECORD_RESTORE_REFUSED';
}

/**
 * @param wanted version and term that were shown to the person, who knows what the other nodes hold (core/leadership/restore-record.ts)
 * @returns what the coordination service holds now
 * Throws RecordRestoreError while it holds a record that is not older, and when the outcome is unknown.
 */
export async function restoreRecord(
  node: NodeContext,
  wanted: { readonly term: number; readonly version: number },
): Promise<{ readonly term: number; readonly version: number; readonly leader: string }> {
  const refuse = (message: string): RecordRestoreError =>
    new RecordRestoreError(`Cannot put the record back by "${node.config.node}": ${message}`);
  const stored = await node.store.read({ timeoutMs: STORE_TIMEOUT_MS }).catch((error: Error) => {
    throw refuse(error.message);
  });
  const decision = decidePutBack({
    wanted,
    remembered: await node.remembered.newest(),
    seen: node.voter.seen,
    stored: stored.record,
  });
  if (decision.kind === 'refuse') throw refuse(decision.reason.message);
  const { record } = decision;
  const result = await node.store.compareAndSwap(stored.storeVersion, record, { timeoutMs: STORE_TIMEOUT_MS });
  if (result.kind === 'unknown')
    throw refuse(`${result.error.message}; it may have been put back all the same, ask for the status`);
  if (result.kind === 'lost') throw refuse('somebody else has changed it meanwhile; ask for the status');
  node.log.warn(
    { term: record.term, version: record.version },
    'the record was put back from what this node remembers',
  );
  await node.acceptRecord(result.stored, { isLinearizable: true });
  return { term: record.term, version: record.version, leader: record.leader };
}
