/** `pgspan record show|restore`: what the nodes remember of the record, and putting it back where the coordination service has lost it. */
import { Command } from 'commander';
import { UserError } from '../base/user-error.ts';
import { decideRestore, type NodeMemory, type RestoreDecision } from '../core/leadership/restore-record.ts';
import type { NodeObservation } from '../core/status/cluster-status.ts';
import { observeNodes } from '../platform/observe-cluster.ts';
import type { ClusterAccess } from '../platform/ports.ts';
import { type AccessFlags, addContextsOptions, outputOption, printValue, withCluster } from './cluster-access.ts';
import { order } from './orders.ts';

/** A linearizable read and a swap. */
const TIMEOUT_MS = 10_000;

const EXAMPLES = `
Examples:
  pgspan record show                the newest record that each node has seen
  pgspan record restore             puts it back, where that is proven to lose nothing
  pgspan record restore --accept-loss`;

const RESTORE_HELP = `
For the loss of what etcd (or the Lease) held, and after an older snapshot of it was restored: nodes refuse to go on without the
record, or with an older one. Each node keeps the newest that it has seen, so no snapshot is needed. Nothing is changed while the
coordination service holds a record that is not older.`;

interface RecordFlags extends AccessFlags {
  readonly acceptLoss?: boolean;
  readonly output?: 'json' | 'yaml';
}

export function recordCommand(): Command {
  const show = new Command('show')
    .description('Show the newest record that each node has seen, and what putting it back would risk.')
    .addOption(outputOption(['json', 'yaml'], 'everything, in this form'))
    .action((flags: RecordFlags) => withCluster(flags, (access) => showRecord(access, flags)));
  const restore = new Command('restore')
    .description('Put the newest record that the nodes have seen back into the coordination service.')
    .option('--accept-loss', 'also where a newer one may be lost with it')
    .addOption(outputOption(['json', 'yaml'], 'result in this form'))
    .addHelpText('after', RESTORE_HELP)
    .action((flags: RecordFlags) => withCluster(flags, (access) => restoreRecord(access, flags)));
  return new Command('record')
    .description('Show what the nodes remember of the record of who leads, or put it back.')
    .addHelpText('after', EXAMPLES)
    .addCommand(addContextsOptions(show))
    .addCommand(addContextsOptions(restore));
}

interface Memories {
  readonly nodes: readonly NodeObservation[];
  readonly decision: RestoreDecision;
}

async function askMemories(access: ClusterAccess): Promise<Memories> {
  const nodes = await observeNodes(access);
  const decision = decideRestore({
    answers: nodes.flatMap((one) => memoryOf(one) ?? []),
    silent: nodes.flatMap((one) => (memoryOf(one) === null ? [one.name] : [])),
    scope: access.plan.replication.scope,
  });
  return { nodes, decision };
}

/** Null: it does not answer, or is of a version that does not tell. */
function memoryOf({ name, answer }: NodeObservation): NodeMemory | null {
  if (answer.kind === 'silent') return null;
  const { incarnation, promisedTerm, seen, rememberedRecord } = answer.status;
  if (incarnation === undefined || seen === undefined) return null;
  return { node: name, incarnation, promisedTerm, seen, record: rememberedRecord ?? null };
}

async function showRecord(access: ClusterAccess, { output }: RecordFlags): Promise<void> {
  const { nodes, decision } = await askMemories(access);
  const lines = nodes.map((one) => {
    const memory = memoryOf(one);
    if (memory !== null) return memory;
    return {
      node: one.name,
      silent: one.answer.kind === 'silent' ? one.answer.why : 'it is of a version that does not tell',
    };
  });
  if (output !== undefined) return printValue({ nodes: lines, decision }, output);
  for (const line of lines) {
    if ('silent' in line) process.stdout.write(`${line.node}: ${line.silent}\n`);
    else
      process.stdout.write(
        `${line.node}: has seen version ${line.seen.version} of term ${line.seen.term}, has promised term ${line.promisedTerm}\n`,
      );
  }
  if (decision.kind === 'refuse') {
    process.stdout.write(`${decision.reason.message}.\n`);
    return;
  }
  const { record, risk } = decision;
  process.stdout.write(
    `newest: version ${record.version} of term ${record.term}, leader ${record.leader}, members ${record.members.map(({ node }) => node).join(', ')}, write quorum ${record.writeQuorum}\n` +
      `${risk === null ? 'Nothing newer can have been acted on: it may be put back' : `Putting it back may lose a newer one: ${risk.message}`}.\n`,
  );
}

async function restoreRecord(access: ClusterAccess, flags: RecordFlags): Promise<void> {
  const { decision } = await askMemories(access);
  if (decision.kind === 'refuse')
    throw new UserError({
      code: 'RECORD_UNKNOWN',
      kind: 'not-found',
      message: `Cannot put the record back: ${decision.reason.message}`,
      todo: 'Bring more nodes back (`pgspan record show` says which are missing), or restore a snapshot of the coordination service that is not older.',
    });
  const { record, risk, by } = decision;
  if (risk !== null && flags.acceptLoss !== true)
    throw new UserError({
      code: 'LOSS_NOT_ACCEPTED',
      kind: 'unsafe',
      message: `Cannot put version ${record.version} of term ${record.term} back without your word: ${risk.message}`,
      todo: 'Bring those nodes back if you can. Else say --accept-loss: writes that another leader acknowledged meanwhile are then gone.',
    });
  const result = await order(access, by, {
    action: 'put the record back',
    path: '/v1/record/restore',
    body: { term: record.term, version: record.version },
    timeoutMs: TIMEOUT_MS,
  });
  if (flags.output !== undefined) return printValue({ by, ...(result as object), risk }, flags.output);
  process.stdout.write(
    `The record is back: version ${record.version} of term ${record.term}, leader ${record.leader}, as ${by} has seen it.\n`,
  );
}
