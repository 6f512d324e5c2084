/**
 * Rule 5: from a won swap to the end of recovery on the timeline whose id is the term.
 */
import { delay } from '../../base/wait-until.ts';
import { configurationOf, synchronousStandbyNames } from '../../core/leadership/quorum.ts';
import type { Election, ElectionTimes } from './election.ts';
import type { NodeContext } from './node-context.ts';
import { dropRelaySlots } from './relay-slots.ts';
import { untilArmed } from './required-setting.ts';
import { readLineage, reserveTimelines } from './timelines.ts';

/** A promotion first replays what is left; when nothing of that moves for so long, the disk or the postmaster stands still. */
const PROMOTE_STILL_LIMIT_MS = 6000;
const PROMOTE_LOOK_MS = 4;

/** What the last failover or switchover that this node won took; moments of performance.now(). */
export interface FailoverTimes extends ElectionTimes {
  readonly term: number;
  readonly promotedAtMs: number;
}

export class Promotion {
  readonly #node: NodeContext;
  readonly #election: Election;
  #isPromoting = false;
  failover: FailoverTimes | null = null;

  constructor(node: NodeContext, election: Election) {
    this.#node = node;
    this.#election = election;
  }

  /** PostgreSQL may become a primary at any moment, whatever was last observed. */
  get isPromoting(): boolean {
    return this.#isPromoting;
  }

  /** True once PostgreSQL is the primary of timeline `term`; false if a later promise came first. Leading is the caller's. */
  async promote(term: number): Promise<boolean> {
    const node = this.#node;
    const { dataDirectory } = node.config.paths;
    const before = node.voter.lineage;
    const record = node.acceptedRecord;
    if (before === null || record === null) return false;
    node.path.close();
    const hasChanged = await node.files.write(node.config, {
      synchronousStandbyNames: synchronousStandbyNames(configurationOf(record), node.config.node),
      primaryConninfo: '',
      primarySlotName: '',
      isPrimary: true,
    });
    if (hasChanged) node.postmaster.reload();
    // Else its first commits, the probe that opens it to clients among them, might return without a quorum.
    await untilArmed(node);
    await reserveTimelines(dataDirectory, before.timeline, term);
    // Under the mutex: a promise that comes later finds the flag and stops PostgreSQL before it is given.
    await node.voterMutex.run(async () => {
      await dropRelaySlots(node);
      this.#isPromoting = node.voter.promisedTerm <= term;
    });
    if (!this.#isPromoting) return false;
    try {
      await this.#endRecovery(before.timeline, term);
    } finally {
      this.#isPromoting = false;
    }
    return true;
  }

  async #untilPromoted(term: number): Promise<void> {
    let replayed = '';
    let movedAtMs = performance.now();
    for (;;) {
      const [row] = await this.#node.sql.query<{ recovering: boolean; replayed: string }>(
        `select r.recovering, case when r.recovering then pg_last_wal_replay_lsn()::text end as replayed
         from (select pg_is_in_recovery() as recovering) r`,
        [],
        { timeoutMs: 5000 },
      );
      if (row?.recovering === false) return;
      const nowMs = performance.now();
      if (row?.replayed !== replayed) movedAtMs = nowMs;
      replayed = row?.replayed ?? '';
      if (nowMs - movedAtMs > PROMOTE_STILL_LIMIT_MS)
        throw new Error(`Cannot lead term ${term}: PostgreSQL was told to promote, and nothing moves any more`);
      await delay(PROMOTE_LOOK_MS);
    }
  }

  async #endRecovery(from: number, term: number): Promise<void> {
    const node = this.#node;
    const { dataDirectory } = node.config.paths;
    await node.sql.query('select pg_promote(false)', [], { timeoutMs: 5000 });
    await this.#untilPromoted(term);
    const promotedAtMs = performance.now();
    const lineage = await readLineage(dataDirectory, term);
    if (lineage === null || lineage.history.at(-1)?.timeline !== from) {
      await node.postmaster.stop('immediate');
      throw new Error(
        `Cannot lead term ${term}: PostgreSQL was promoted to another timeline, or from another than ${from}`,
      );
    }
    await node.changeVoter((voter) => ({ ...voter, lineage, followedTerm: term }));
    const { times } = this.#election;
    if (times !== null) this.failover = { ...times, term, promotedAtMs };
    node.log.info({ term, timeline: lineage.timeline }, 'promoted');
  }
}
