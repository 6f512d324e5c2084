/**
 * The record by which this node last led, for the next agent of this node: if it finds PostgreSQL running as a primary while the
 * coordination service is away, it goes on leading by it (core/leadership/voter.ts, mayLeadByRemembered). The database must not stop
 * because an agent is replaced in that time. A lost or an older file only means that it waits for the service.
 */
import { join } from 'node:path';
import { type ClusterRecord, clusterRecordSchema } from '../../api/record.ts';
import { readFileIfPresent, writeFileAtomically } from '../../base/durable-file.ts';
import { Mutex } from '../../base/mutex.ts';

export class RememberedRecord {
  readonly #path: string;
  readonly #mutex = new Mutex();
  #written = '';

  constructor(stateDirectory: string) {
    this.#path = join(stateDirectory, 'record.json');
  }

  /** One after the other, in the order of the calls. Throws what the file system does (disk full). */
  async save(record: ClusterRecord): Promise<void> {
    const text = `${JSON.stringify(record)}\n`;
    await this.#mutex.run(async () => {
      if (text === this.#written) return;
      await writeFileAtomically(this.#path, text);
      this.#written = text;
    });
  }

  /** Null if there is none, or none that can be read. */
  async load(): Promise<ClusterRecord | null> {
    try {
      const text = await readFileIfPresent(this.#path);
      return text === null ? null : clusterRecordSchema.parse(JSON.parse(text));
    } catch {
      return null;
    }
  }
}
