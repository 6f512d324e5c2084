/**
 * What the parts of one instance agent share: configuration, the voter and its mutex, the view of the record, PostgreSQL's
 * process and socket, the links to the other nodes. It holds state and the smallest operations on it; it decides nothing.
 */
import type { Logger } from 'pino';
import type { InstanceConfig } from '../../api/agent-config.ts';
import type { ClusterRecord, Member } from '../../api/record.ts';
import { Mutex } from '../../base/mutex.ts';
import { Pulse } from '../../base/pulse.ts';
import type { ReloadableTls } from '../../base/mutual-tls.ts';
import type { RecordStore, StoredRecord } from '../../coordination/store.ts';
import type { NodeActivity } from '../../api/peer-stream.ts';
import type { RecordView } from '../../core/leadership/step.ts';
import { decideRecordSeen, type Reason, type VoterState } from '../../core/leadership/voter.ts';
import type { ConfigurationFiles } from './configuration.ts';
import type { LocalSql } from './local-sql.ts';
import type { PathForwarder } from './path-forwarder.ts';
import type { PeerLink } from './peer-links.ts';
import type { Postmaster } from './postmaster.ts';
import { RememberedRecord } from './remembered-record.ts';
import type { StoredVoter, VoterFile } from './voter-file.ts';

/** How long one request to the coordination service may take; the fence leaves room for two. */
export const STORE_TIMEOUT_MS = 1000;

export interface NodeParts {
  readonly config: InstanceConfig;
  readonly log: Logger;
  readonly store: RecordStore;
  readonly credentials: ReloadableTls;
  readonly voterFile: VoterFile;
  readonly stored: StoredVoter;
  readonly postmaster: Postmaster;
  readonly sql: LocalSql;
  readonly path: PathForwarder;
  readonly files: ConfigurationFiles;
  /** Why no server can be run with the programs that are there; null: it can. */
  readonly programsProblem: Reason | null;
}

export class NodeContext {
  readonly log: Logger;
  readonly store: RecordStore;
  readonly credentials: ReloadableTls;
  readonly postmaster: Postmaster;
  readonly sql: LocalSql;
  readonly path: PathForwarder;
  readonly files: ConfigurationFiles;
  readonly programsProblem: Reason | null;
  /** The newest record that this node has seen. */
  readonly remembered: RememberedRecord;
  readonly links = new Map<string, PeerLink>();
  /** All that this agent does again and again, so that it wakes up seldom. */
  readonly pulse = new Pulse();
  /** Serialises promise, follow and everything else that writes the voter file. */
  readonly voterMutex = new Mutex();
  config: InstanceConfig;

  record: RecordView = { kind: 'unread' };
  /** Of the newest record known, for compare-and-swap. */
  storeVersion = '';
  /** When the newest request that confirmed the record was sent. */
  recordConfirmedSentAtMs = Number.NEGATIVE_INFINITY;
  activity: NodeActivity = 'starting';
  reason: Reason = { code: 'Starting', message: 'The agent starts' };

  readonly #voterFile: VoterFile;
  #stored: StoredVoter;
  #wake: () => void = () => {};
  #changed: () => void = () => {};

  constructor(parts: NodeParts) {
    this.config = parts.config;
    this.log = parts.log;
    this.store = parts.store;
    this.credentials = parts.credentials;
    this.postmaster = parts.postmaster;
    this.sql = parts.sql;
    this.path = parts.path;
    this.files = parts.files;
    this.programsProblem = parts.programsProblem;
    this.remembered = new RememberedRecord(parts.config.paths.stateDirectory);
    this.#voterFile = parts.voterFile;
    this.#stored = parts.stored;
  }

  /** `wake`: decide again soon. `changed`: the published state may differ. */
  connect(handlers: { wake(): void; changed(): void }): void {
    this.#wake = handlers.wake;
    this.#changed = handlers.changed;
  }

  wake(): void {
    this.#wake();
  }

  changed(): void {
    this.#changed();
  }

  get self(): Member {
    return { node: this.config.node, incarnation: this.voter.incarnation };
  }

  get voter(): VoterState {
    return this.#stored.voter;
  }

  get systemIdentifier(): string | null {
    return this.#stored.systemIdentifier;
  }

  /** The record that was last accepted, if there is one. */
  get acceptedRecord(): ClusterRecord | null {
    return this.record.kind === 'present' ? this.record.record : null;
  }

  get isLeaderByRecord(): boolean {
    return this.acceptedRecord?.leader === this.config.node;
  }

  setActivity(activity: NodeActivity, reason: Reason): void {
    if (this.activity === activity && this.reason.code === reason.code && this.reason.message === reason.message)
      return;
    const isNews = this.activity !== activity || this.reason.code !== reason.code;
    this.activity = activity;
    this.reason = reason;
    if (isNews) this.log.info({ activity, reason: reason.code, detail: reason.message }, 'activity');
    this.#changed();
  }

  /** Writes the voter durably. Call only while holding the mutex. */
  async saveVoter(voter: VoterState, systemIdentifier: string | null = this.#stored.systemIdentifier): Promise<void> {
    const stored = { voter, systemIdentifier };
    await this.#voterFile.save(stored);
    this.#stored = stored;
  }

  async changeVoter(change: (voter: VoterState) => VoterState): Promise<void> {
    await this.voterMutex.run(async () => {
      const next = change(this.voter);
      if (next !== this.voter) await this.saveVoter(next);
    });
  }

  /** Linearizable read of the record; throws what the store throws. */
  async readRecord(timeoutMs: number = STORE_TIMEOUT_MS): Promise<StoredRecord> {
    const sentAtMs = performance.now();
    const stored = await this.store.read({ timeoutMs });
    await this.acceptRecord(stored, { isLinearizable: true });
    this.recordConfirmedSentAtMs = Math.max(this.recordConfirmedSentAtMs, sentAtMs);
    return stored;
  }

  /**
   * Takes what a store or a swap gave. A watch may tell old news, which is dropped; an old answer to a linearizable read is a
   * restored backup, and refused.
   */
  async acceptRecord(stored: StoredRecord, options: { readonly isLinearizable: boolean }): Promise<void> {
    await this.voterMutex.run(async () => {
      const check = decideRecordSeen(this.voter, stored.record);
      if (check.kind === 'older') {
        if (!options.isLinearizable) return;
        this.record = { kind: 'refused', reason: check.reason };
      } else {
        // What is newer counts even when it cannot be remembered (disk full): a deposed leader must learn that it is one.
        if (check.next !== this.voter)
          await this.saveVoter(check.next).catch((error: Error) =>
            this.log.error({ error: error.message }, 'cannot remember the record that was seen'),
          );
        const known = this.acceptedRecord;
        if (known !== null && stored.record !== null && stored.record.version < known.version) return;
        this.storeVersion = stored.storeVersion;
        this.record = stored.record === null ? { kind: 'absent' } : { kind: 'present', record: stored.record };
        // Beside, since an election and a promotion must not wait for a slow disk once more.
        if (stored.record !== null)
          this.remembered
            .save(stored.record)
            .catch((error: Error) => this.log.warn({ error: error.message }, 'cannot remember the record'));
      }
      this.#wake();
      this.#changed();
    });
  }
}
