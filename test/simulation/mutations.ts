/**
 * Variants of the rules that the simulation must catch, above all those about time and about getting on, which the explorer has
 * not: each by a directed history, which says when it goes wrong. test/model/rule-table.ts says which rule each belongs to.
 */
import type { AskAnswer } from '../../src/core/leadership/candidacy.ts';
import { realRules, type SimulationOptions, type SimulationRules } from './rules.ts';

export interface SimulationMutation {
  readonly name: string;
  readonly rules?: Partial<SimulationRules>;
  readonly options?: Partial<SimulationOptions>;
  /** The name of the directed history that catches it. */
  readonly directed: string;
}

const {
  decideCandidacy,
  decideChange,
  decideChangeStep,
  decideFence,
  decideNodeStep,
  decideRecordSeen,
  decideSuspicion,
} = realRules;

function answering(change: (answer: AskAnswer) => Partial<AskAnswer>): Partial<SimulationRules> {
  return {
    decideCandidacy: (question) =>
      decideCandidacy({ ...question, answers: question.answers.map((one) => ({ ...one, ...change(one) })) }),
  };
}

export const simulationMutations: readonly SimulationMutation[] = [
  // Suspect
  {
    name: 'silence is no suspicion',
    rules: { decideSuspicion: (signs) => decideSuspicion({ ...signs, lastBeatAtMs: signs.nowMs }) },
    directed: 'a silent leader is replaced after the detection time, and not before',
  },
  {
    name: 'a refused connection is waited out like silence',
    rules: { decideSuspicion: (signs) => decideSuspicion({ ...signs, isRefused: false }) },
    directed: 'a node whose PostgreSQL dies is replaced at once, and so is one that is killed',
  },
  {
    name: 'a leader whose PostgreSQL died is not believed',
    rules: { decideSuspicion: (signs) => decideSuspicion({ ...signs, handsOver: false }) },
    directed: 'a node whose PostgreSQL dies is replaced at once, and so is one that is killed',
  },
  {
    name: 'heartbeats alone make a leader',
    rules: { decideSuspicion: (signs) => decideSuspicion({ ...signs, probeAgeMs: 0 }) },
    directed: 'a PostgreSQL that answers nothing under a living agent is replaced',
  },
  {
    name: 'a leader whose PostgreSQL died waits for others that are not there',
    rules: { decideNodeStep: (snapshot) => decideNodeStep({ ...snapshot, handOverMs: 1e9 }) },
    directed: 'a leader that is alone restarts in place when its PostgreSQL dies',
  },
  // Ask first
  {
    name: 'one suspicion is enough',
    rules: answering(() => ({ suspects: true })),
    directed: 'a member that alone has lost the leader deposes nobody',
  },
  {
    name: 'the veto is not asked for',
    rules: answering(() => ({ vetoes: false })),
    directed: 'where one vote elects, a leader that any path reaches keeps the lead',
  },
  {
    name: 'a best node that may not lead is waited for',
    rules: answering(() => ({ priority: 100 })),
    directed: 'a best node that may not lead does not block, and what only it holds is taken from it',
  },
  {
    name: 'what a promised member holds more is not taken from it',
    options: { fetches: false },
    directed: 'a best node that may not lead does not block, and what only it holds is taken from it',
  },
  {
    name: 'the pause after a failed attempt is always the same',
    options: { backsOffAtRandom: false },
    directed: 'two candidates that stand in the way of each other part',
  },
  // Promise
  {
    name: "the next term is the record's and one, whatever was promised",
    rules: { chooseTerm: (recordTerm) => recordTerm + 1 },
    directed: 'a former leader that has promised, and holds the most, is elected when the candidate dies',
  },
  // Publish, checkpoint, members
  {
    name: 'a leader makes its checkpoint only once it is published',
    options: { checkpointsUnpublished: false },
    directed: 'a leader whose only other member must rewind makes its checkpoint before it is published',
  },
  {
    name: 'members change only under a published leader',
    options: { changesUnpublished: false },
    directed: 'a leader that is not published takes out the lost member that keeps it from that',
  },
  {
    name: 'a lost member is never taken out',
    rules: { decideChange: (input) => decideChange({ ...input, memberTimeoutMs: 1e9 }) },
    directed: 'of two nodes the leader goes on alone when it has taken out a lost standby',
  },
  {
    name: 'members are taken out below the copies that were asked for',
    rules: { decideChange: (input) => decideChange({ ...input, policy: { ...input.policy, minCopies: 1 } }) },
    directed: 'members are taken out only as far as the copies that were asked for allow',
  },
  {
    name: 'a change whose new members are gone is waited for',
    rules: {
      decideChangeStep: (progress, record, self, views) =>
        decideChangeStep(
          progress,
          record,
          self,
          progress.armedLsn === null ? views : views.map((view) => ({ ...view, lostForMs: 0 })),
        ),
    },
    directed: 'a change whose new member is gone is given up, so that the next one can be made',
  },
  // False alarm, switchover
  {
    name: 'a leader never calls a false alarm',
    rules: { decideReaffirm: () => ({ kind: 'none' }) },
    directed: 'a term that was promised and not won is a false alarm: the leader goes on in a term above it',
  },
  {
    name: 'who has promised a higher term is not heard when a false alarm is judged',
    options: { reaffirmsByAllHeard: false },
    directed: 'a term that was promised and not won is a false alarm: the leader goes on in a term above it',
  },
  {
    name: "the record's leader never stands again",
    options: { promisedLeaderStands: false },
    directed: 'a former leader that has promised, and holds the most, is elected when the candidate dies',
  },
  {
    name: "a switchover's promise is told and not written",
    options: { writesSwitchoverPromise: false },
    directed: 'a promise of a switchover holds although the former leader dies before the new one is elected',
  },
  // Fence
  {
    name: 'a leader never fences',
    rules: { decideFence: (hearing, configuration) => decideFence(hearing, configuration, 1e9) },
    directed: 'a leader that reaches neither members nor record fences',
  },
  {
    name: 'the fence falls when the record alone is missing',
    rules: {
      decideFence: (hearing, configuration, fenceMs) =>
        decideFence({ ...hearing, echoedSentAtMs: new Map() }, configuration, fenceMs),
    },
    directed: 'without the record the leader goes on while a write quorum hears it',
  },
  {
    name: 'an agent that is replaced while the record is away does not go on leading',
    options: { remembersRecord: false },
    directed: 'a leader whose agent is replaced while the record is away goes on',
  },
  {
    name: 'the fence falls when the write quorum alone is missing',
    rules: {
      decideFence: (hearing, configuration, fenceMs) =>
        decideFence({ ...hearing, recordConfirmedSentAtMs: Number.NEGATIVE_INFINITY }, configuration, fenceMs),
    },
    directed: 'without a write quorum the leader goes on serving reads while it confirms the record',
  },
  {
    name: 'the fence counts an echo from when it came',
    options: { countsEchoFromSending: false },
    directed: 'a leader that thaws behind a cut fences at once: what was echoed before proves nothing',
  },
  {
    name: 'the fence counts members that have promised a higher term',
    options: { countsPromisedAway: true },
    directed: 'a superseded leader that reaches only members of its successor fences',
  },
  {
    name: 'the fence counts a node that has lost its disk',
    options: { countsOtherLives: true },
    directed: 'a superseded leader that reaches only a node that has lost its disk fences',
  },
  {
    name: 'an agent does not guard a primary that it finds',
    options: { fencesUnguarded: false },
    directed: 'an agent that finds a primary and does not come to lead it stops it',
  },
  // Record
  {
    name: 'an old record is believed',
    rules: {
      decideRecordSeen: (voter, record) =>
        decideRecordSeen({ ...voter, seen: { term: 0, version: 0 } }, record).kind === 'current' && record !== null
          ? { kind: 'current', next: { ...voter, seen: { term: record.term, version: record.version } } }
          : { kind: 'current', next: voter },
    },
    directed: 'a record older than one that was seen elects nobody',
  },
];
