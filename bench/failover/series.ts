/**
 * One system through its faults: bring it up, keep it under load, and for each run: whole, fault, writes again, heal,
 * whole again; and each time ask the leader for every acknowledged key.
 *
 *   mark            fault                     writes again 2 s     heal        whole
 *    |----------------|~~~~~~~ outage ~~~~~~~|-------------------|-----------|------> next run
 *    '-- window of the outage: its longest gap between two acknowledgements --'
 *                                                                '-- window of the heal --'
 */
import { join } from 'node:path';
import { delay } from '../../src/base/wait-until.ts';
import type { WriteSummary } from '../../src/platform/local/write-ledger.ts';
import { fillTables, type Load, startLoad } from '../kit/load.ts';
import { waitUntilNothingMissing } from '../kit/processes.ts';
import { findMissing, startWriter, type Writer } from '../kit/write-client-process.ts';
import type { Fault, Sizes, System } from './system.ts';

/** One fault, as it stands in the file of raw results. */
export interface FaultResult {
  readonly type: 'fault';
  readonly system: string;
  readonly fault: Fault;
  /** 1 and up. */
  readonly run: number;
  /** When the fault came, in UTC. */
  readonly at: string;
  readonly leaderBefore: string;
  readonly leaderAfter: string;
  /** Longest gap between two acknowledgements at the client, from before the fault until it writes again. */
  readonly outageMs: number;
  /** At the same client in the same time. */
  readonly errors: number;
  readonly errorsByCode: Readonly<Record<string, number>>;
  /** The system's own account of the change, and what the client was told, for whoever looks into a slow one. */
  readonly details: object | null;
  readonly firstErrors: readonly string[];
  /** Longest gap while what was lost came back. */
  readonly healGapMs: number;
  /** From heal until every node serves, follows and could take over. */
  readonly wholeMs: number;
  /** What did not come back by itself, in words; null if all did. */
  readonly repaired: string | null;
  /** Acknowledged keys since the system came up, and how many of them the leader does not have now. */
  readonly acknowledged: number;
  readonly lost: number;
  /** For a switchover: the same seen by a client that makes a new connection for each row. */
  readonly connections: { readonly outageMs: number; readonly errors: number } | null;
}

export interface SystemResult {
  readonly type: 'system';
  readonly system: string;
  readonly description: string;
  readonly facts: Readonly<Record<string, string>>;
  readonly sizes: Sizes;
}

export interface SeriesOptions {
  readonly sizes: Sizes;
  /** What is still to be done, in this order. */
  readonly todo: readonly { readonly fault: Fault; readonly run: number }[];
  readonly workFolder: string;
  onResult(result: FaultResult | SystemResult): void;
  progress(text: string): void;
}

/** 50 rows a second. */
const WRITE_INTERVAL_MS = 20;
/** The client that measures the outage gives up this soon, so that it is not what lengthens it. */
const TIMEOUT_MS = 500;
/** As an application's pool waits. What this client counts as an error, it was told, or it waited too long. */
const PATIENT_TIMEOUT_MS = 10_000;
const ERRORS_KEPT = 5;
const ASK_AGAIN_MAX = 20;
const ASK_AGAIN_PAUSE_MS = 3_000;
const STEADY_MS = 2_000;
const OUTAGE_MS_MAX = 180_000;
const WHOLE_MS_MAX = 180_000;
/** Keys of the client that makes a connection for each row begin here, so that they cannot meet the others. */
const CONNECTIONS_FIRST_KEY = 1_000_000_000;

export async function runSeries(system: System, options: SeriesOptions): Promise<void> {
  const { sizes, todo, progress, onResult } = options;
  if (todo.length === 0) return;
  let writers: Writers | null = null;
  let load: Load | null = null;
  try {
    progress(`${system.name}: coming up`);
    await system.up();
    onResult({
      type: 'system',
      system: system.name,
      description: system.description,
      facts: await system.facts(),
      sizes,
    });
    progress(`${system.name}: filling pgbench's tables, scale ${sizes.scale}`);
    await fillTables(system.target(), sizes);
    load = startLoad(system.target(), sizes, join(options.workFolder, `${system.name}-pgbench.log`));
    writers = {
      session: await startWriter(system.target(), {
        mode: 'session',
        intervalMs: WRITE_INTERVAL_MS,
        timeoutMs: TIMEOUT_MS,
      }),
      connections: await startWriter(system.target(), {
        mode: 'connect',
        intervalMs: WRITE_INTERVAL_MS * 5,
        timeoutMs: PATIENT_TIMEOUT_MS,
        firstKey: CONNECTIONS_FIRST_KEY,
      }),
    };
    for (const { fault, run } of todo) {
      await waitUntilWhole(system, load, sizes);
      const result = await measureFault(system, writers, fault, run, progress);
      onResult(result);
      progress(describeResult(result));
    }
  } finally {
    await writers?.session.stop().catch(() => {});
    await writers?.connections.stop().catch(() => {});
    await load?.stop();
    await system.down();
  }
}

interface Writers {
  readonly session: Writer;
  readonly connections: Writer;
}

async function measureFault(
  system: System,
  { session, connections }: Writers,
  fault: Fault,
  run: number,
  progress: (text: string) => void,
): Promise<FaultResult> {
  const leaderBefore = await system.leader();
  await session.mark();
  await connections.mark();
  const at = new Date().toISOString();
  await system.fault(fault, leaderBefore);
  // The fault may need a moment to be felt; a client that still writes steadily after that was not interrupted.
  if (!(await session.writesSteadily(STEADY_MS, OUTAGE_MS_MAX)))
    throw new Error(`${system.name}: no writes after ${fault}`);
  const outage = await session.summary();
  const firstErrors = session.errors().slice(0, ERRORS_KEPT);
  const outageOfConnections = await connections.summary();

  await session.mark();
  const healedMs = performance.now();
  await system.heal(fault, leaderBefore);
  const repaired = await wholeOrRepaired(system, progress);
  const wholeMs = Math.round(performance.now() - healedMs);
  await session.writesSteadily(STEADY_MS / 2, OUTAGE_MS_MAX);
  const healing = await session.summary();
  const { checked, missing } = await countLost(system, [healing, await connections.summary()]);
  return {
    type: 'fault',
    system: system.name,
    fault,
    run,
    at,
    leaderBefore,
    leaderAfter: await system.leader(),
    outageMs: Math.round(outage.longestGapMs),
    errors: outage.errors,
    errorsByCode: outage.errorsByCode,
    details: await system.details(),
    firstErrors: firstErrors.map(({ code, message }) => `${code}: ${message}`),
    healGapMs: Math.round(healing.longestGapMs),
    wholeMs,
    repaired,
    acknowledged: checked,
    lost: missing,
    connections:
      fault === 'switchover'
        ? { outageMs: Math.round(outageOfConnections.longestGapMs), errors: outageOfConnections.errors }
        : null,
  };
}

async function countLost(
  system: System,
  summaries: readonly WriteSummary[],
): Promise<{ checked: number; missing: number }> {
  const ranges = summaries.flatMap(({ acknowledgedRanges }) => acknowledgedRanges);
  // A peer's leader may change once more meanwhile, and end the connection that asks.
  for (let again = ASK_AGAIN_MAX; ; again--) {
    try {
      return await findMissing(system.target(), ranges);
    } catch (error) {
      if (again === 0) throw error;
      await delay(ASK_AGAIN_PAUSE_MS);
    }
  }
}

async function wholeOrRepaired(system: System, progress: (text: string) => void): Promise<string | null> {
  try {
    await waitUntilNothingMissing('all nodes', () => system.missing(), { timeoutMs: WHOLE_MS_MAX });
    return null;
  } catch (error) {
    const reason = (error as Error).message;
    progress(`${system.name}: repairing: ${reason}`);
    await system.repair().catch((cause: unknown) => {
      throw new Error(reason, { cause });
    });
    await waitUntilNothingMissing('all nodes', () => system.missing(), { timeoutMs: WHOLE_MS_MAX });
    return reason;
  }
}

/** Whole, and the load runs at no less than half of its rate: else the next fault would meet an idle server. */
async function waitUntilWhole(system: System, load: Load, { rate }: Sizes): Promise<void> {
  await waitUntilNothingMissing('all nodes', () => system.missing(), { timeoutMs: WHOLE_MS_MAX });
  let before = { atMs: performance.now(), transactions: await load.transactions() };
  await waitUntilNothingMissing(
    'the load',
    async () => {
      const now = { atMs: performance.now(), transactions: await load.transactions() };
      const perSecond = ((now.transactions - before.transactions) * 1000) / (now.atMs - before.atMs);
      before = now;
      return perSecond >= rate / 2 ? null : `${perSecond.toFixed(0)} transactions a second`;
    },
    { pauseMs: 2_000 },
  );
}

function describeResult({
  system,
  fault,
  run,
  outageMs,
  errors,
  lost,
  wholeMs,
  leaderBefore,
  leaderAfter,
}: FaultResult): string {
  const change = leaderBefore === leaderAfter ? `${leaderBefore} stayed` : `${leaderBefore} → ${leaderAfter}`;
  return `${system} ${fault} #${run}: outage ${outageMs} ms, ${errors} errors, ${lost} lost, ${change}, whole after ${wholeMs} ms`;
}
