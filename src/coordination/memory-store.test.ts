import { describeStore } from '../../test/conformance/store.ts';
import { openMemoryStore } from './memory-store.ts';
import { RecordCell } from './record-cell.ts';

describeStore('memory', {}, async () => {
  const cells = new Map<string, RecordCell>();
  return {
    async open(name) {
      const cell = cells.get(name) ?? new RecordCell();
      cells.set(name, cell);
      return openMemoryStore(cell);
    },
    async stop() {},
  };
});
