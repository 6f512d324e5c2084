/** The record in memory: for simulations, and the shortest reading of what a store must do. */
import { RecordCell } from './record-cell.ts';
import type { RecordStore, StoredRecord } from './store.ts';

/** Every store opened on the same cell sees the same record. */
export function openMemoryStore(cell: RecordCell = new RecordCell()): RecordStore {
  const ends = new Set<() => void>();
  return {
    read: () => cell.read(),
    compareAndSwap: (expected, next) => cell.swap(expected, structuredClone(next)),
    watch(onChange) {
      // Never inside the call that causes it, as with every other store.
      const tell = (stored: StoredRecord): void => queueMicrotask(() => ends.has(end) && onChange(stored));
      const unsubscribe = cell.subscribe(tell);
      const end = (): void => {
        unsubscribe();
        ends.delete(end);
      };
      ends.add(end);
      tell(cell.stored);
      return { close: end };
    },
    leases: {
      async renew(lease, expected) {
        const sentAtMs = performance.now();
        const outcome = await cell.renew(lease, expected);
        return outcome.kind === 'held' ? { kind: 'held', sentAtMs } : outcome;
      },
      swapUnlessLeased: (expected, next) => cell.swapUnlessLeased(expected, structuredClone(next)),
    },
    async close() {
      for (const end of ends) end();
    },
  };
}
