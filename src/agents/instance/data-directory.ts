/**
 * This node's data directory: what is in it, and how it is made, copied and rewound. Knows the promise file as far as these
 * change it; starts no server.
 */
import { rm } from 'node:fs/promises';
import type { KnownLeader } from '../../core/leadership/step.ts';
import type { Reason } from '../../core/leadership/voter.ts';
import { serverCheck } from './connection-check.ts';
import { replicationConninfo } from './conninfo.ts';
import { readControlData } from './control-file.ts';
import {
  bootstrapDatabase,
  cloneDatabase,
  findVersionMismatch,
  hasDatabase,
  rewindDatabase,
} from './database-files.ts';
import type { NodeContext } from './node-context.ts';
import { PathForwarder } from './path-forwarder.ts';
import { dropRelaySlots } from './relay-slots.ts';
import { freshVoter } from './voter-file.ts';

/** pg_rewind is tried this often before the node is copied anew. */
const REWIND_TRIES_MAX = 3;
/** A directory that cannot be used is looked at again this often. */
const PROBLEM_INTERVAL_MS = 5000;
/** A fast shutdown before a rewind; a dead standby of ours is not waited for longer. */
const FAST_STOP_LIMIT_MS = 10_000;

export class DataDirectory {
  readonly #node: NodeContext;
  #hasData = false;
  #problem: Reason | null = null;
  #systemIdentifier: string | null = null;
  #progress: number | null = null;
  #rewindTries = 0;
  #inspectedAtMs = 0;

  constructor(node: NodeContext) {
    this.#node = node;
  }

  get hasData(): boolean {
    return this.#hasData;
  }

  /** Why it cannot be used; null: it can. */
  get problem(): Reason | null {
    return this.#problem;
  }

  /** Of the control file; null without data. */
  get systemIdentifier(): string | null {
    return this.#hasData ? this.#systemIdentifier : null;
  }

  /** Percent of a clone or rewind that runs. */
  get progress(): number | null {
    return this.#progress;
  }

  /** What is in the data directory decides, not what the promise file remembers: somebody may have put another volume there. */
  async inspect(): Promise<void> {
    const { config } = this.#node;
    this.#inspectedAtMs = performance.now();
    this.#problem = null;
    this.#hasData = await hasDatabase(config.paths.dataDirectory);
    if (this.#node.programsProblem !== null) {
      this.#problem = this.#node.programsProblem;
      return;
    }
    if (!this.#hasData) return;
    try {
      this.#problem = await findVersionMismatch(config);
      if (this.#problem !== null) return;
      this.#systemIdentifier = (await readControlData(config.paths.dataDirectory)).systemIdentifier;
    } catch (error) {
      this.#problem = { code: 'DataUnreadable', message: (error as Error).message };
    }
  }

  /** While no server runs on it, or none can: somebody may have removed it, or put right what was wrong with it. */
  async look(): Promise<void> {
    const isDue = this.#problem !== null && performance.now() - this.#inspectedAtMs >= PROBLEM_INTERVAL_MS;
    const hasChanged = (await hasDatabase(this.#node.config.paths.dataDirectory)) !== this.#hasData;
    if (isDue || hasChanged) await this.inspect();
  }

  /** Makes the first database and the record that names this node as its leader. Goes on where an earlier try ended. */
  async bootstrap(): Promise<void> {
    const node = this.#node;
    const { config } = node;
    if (!this.#hasData) await bootstrapDatabase(config, this.#job());
    this.#progress = null;
    const control = await readControlData(config.paths.dataDirectory);
    this.#systemIdentifier = control.systemIdentifier;
    await node.voterMutex.run(() =>
      node.saveVoter(
        { ...node.voter, lineage: { timeline: 1, history: [] }, followedTerm: 1 },
        control.systemIdentifier,
      ),
    );
    this.#hasData = true;
    const result = await node.store.compareAndSwap(node.storeVersion, {
      format: 1,
      globalCluster: config.globalCluster,
      systemIdentifier: control.systemIdentifier,
      version: 1,
      term: 1,
      leader: config.node,
      timeline: 1,
      members: [node.self],
      writeQuorum: 1,
      switchover: null,
      paused: false,
    });
    if (result.kind === 'unknown') {
      await node.readRecord();
    } else await node.acceptRecord(result.stored, { isLinearizable: true });
    if (!node.isLeaderByRecord) throw new Error('Cannot make the first database: the record could not be made');
  }

  /** Copies the database of `from`. A node that had data and lost it becomes another incarnation. */
  async clone(from: KnownLeader): Promise<void> {
    const node = this.#node;
    const { config } = node;
    // A node that had data and lost it is another incarnation: its old acknowledgements are gone with the disk.
    if (node.voter.lineage !== null)
      await node.changeVoter((voter) => ({
        ...voter,
        incarnation: freshVoter().incarnation,
        lineage: null,
        rewinding: false,
      }));
    await this.#withTransferPath(from, (conninfo) => cloneDatabase(config, { conninfo }, this.#job()));
    const control = await readControlData(config.paths.dataDirectory);
    await node.voterMutex.run(() =>
      node.saveVoter(
        { ...node.voter, lineage: from.lineage, followedTerm: from.term, rewinding: false, rewound: false },
        control.systemIdentifier,
      ),
    );
    this.#hasData = true;
    this.#systemIdentifier = control.systemIdentifier;
    node.log.info({ from: from.node }, 'copied the database');
  }

  /** Stops the server and takes back what this node has beyond the fork; copies anew when that fails again and again. */
  async rewind(leader: KnownLeader): Promise<void> {
    const node = this.#node;
    await node.changeVoter((voter) => ({
      ...voter,
      rewinding: true,
      followedTerm: Math.max(voter.followedTerm, leader.term),
    }));
    node.path.close();
    if (node.postmaster.pid !== null) await node.postmaster.stop('fast', FAST_STOP_LIMIT_MS);
    // pg_rewind leaves them where it finds nothing to rewind.
    await dropRelaySlots(node);
    try {
      await this.#withTransferPath(leader, (conninfo) =>
        rewindDatabase(node.config, { conninfo: `${conninfo} dbname=postgres` }, this.#job()),
      );
    } catch (error) {
      this.#rewindTries++;
      node.log.warn({ error: (error as Error).message, tries: this.#rewindTries }, 'rewind failed');
      if (this.#rewindTries < REWIND_TRIES_MAX) throw error;
      node.log.warn('copying the database anew instead');
      await rm(node.config.paths.dataDirectory, { recursive: true, force: true });
      this.#hasData = false;
      this.#rewindTries = 0;
      return;
    }
    this.#rewindTries = 0;
    await node.changeVoter((voter) => ({ ...voter, lineage: leader.lineage, rewinding: false, rewound: true }));
    node.log.info({ leader: leader.node }, 'rewound');
  }

  /** A forwarder of its own for base backup and rewind: the path stays closed meanwhile. */
  async #withTransferPath(source: KnownLeader, work: (conninfo: string) => Promise<void>): Promise<void> {
    const node = this.#node;
    const peer = node.config.peers.find((one) => one.node === source.node);
    if (peer === undefined) throw new Error(`Cannot copy from "${source.node}": it is not among the peers`);
    const { timeline } = source.lineage;
    const address = node.config.listen.address ?? '127.0.0.1';
    const forwarder = await PathForwarder.listen({ address, port: 0, sourceAddress: node.config.listen.address });
    try {
      forwarder.open({
        node: source.node,
        term: source.term,
        endpoint: peer.postgres,
        verify: serverCheck(node, source.node, { as: 'leader', timeline, term: source.term }),
      });
      await work(
        replicationConninfo(node.config, {
          peer,
          port: forwarder.port,
          applicationName: `pgspan_copy_${node.config.node}`,
        }),
      );
    } finally {
      await forwarder.stop();
      this.#progress = null;
    }
  }

  #job(): { signal: AbortSignal; onProgress: (percent: number) => void } {
    return {
      signal: new AbortController().signal,
      onProgress: (percent) => {
        if (this.#progress === percent) return;
        this.#progress = percent;
        this.#node.changed();
      },
    };
  }
}
