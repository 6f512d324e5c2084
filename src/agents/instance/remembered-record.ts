/**
 * The newest record that this node has seen, kept beside its promise (`record.json`). Two things need it:
 *
 *   the next agent of this node   finds PostgreSQL running as a primary while the coordination service is away, and goes on leading
 *                                 (core/leadership/voter.ts, mayLeadByRemembered): the database must not stop because an agent is replaced
 *   the loss of the coordination  the record is put back from the nodes (record-restore.ts, `pgspan record restore`)
 *   service's data
 *
 * A lost or an older file means only that this node waits for the service, and is no help in its loss.
 */
import { join } from 'node:path';
import { type ClusterRecord, clusterRecordSchema } from '../../api/record.ts';
import { readFileIfPresent, writeFileAtomically } from '../../base/durable-file.ts';
import { Mutex } from '../../base/mutex.ts';

export class RememberedRecord {
  readonly #path: string;
  readonly #mutex = new Mutex();
  #written = '';
  #newest: ClusterRecord | null = null;

  constructor(stateDirectory: string) {
    this.#path = join(stateDirectory, 'record.json');
  }

  /** One after the other, in the order of the calls. Throws what the file system does (disk full). */
  async save(record: ClusterRecord): Promise<void> {
    this.#newest = record;
    const text = `${JSON.stringify(record)}\n`;
    await this.#mutex.run(async () => {
      if (text === this.#written) return;
      await writeFileAtomically(this.#path, text);
      this.#written = text;
    });
  }

  /** What was saved last, also where the disk did not take it; of an agent before this one if nothing was. */
  async newest(): Promise<ClusterRecord | null> {
    return this.#newest ?? (await this.load());
  }

  /** Of the file. Null if there is none, or none that can be read. */
  async load(): Promise<ClusterRecord | null> {
    try {
      const text = await readFileIfPresent(this.#path);
      return text === null ? null : clusterRecordSchema.parse(JSON.parse(text));
    } catch {
      return null;
    }
  }
}
