/**
 * Which rule of the protocol is held by what: each has a mutation, a variant of the system without it, that the explorer
 * (test/model/) or the simulation (test/simulation/) must catch; what PostgreSQL itself does, and what files and processes do, is
 * held by tests of the real thing. docs/reference/protocol-rules.md is made from this.
 */

export type Holder =
  /** A mutation of test/model/mutations.ts. */
  | { readonly explorer: string }
  /** A mutation of test/simulation/mutations.ts. */
  | { readonly simulation: string }
  /** A test in `file` whose title begins with `title`. */
  | { readonly test: string; readonly title: string };

export interface Rule {
  /** One sentence, as a fact. */
  readonly rule: string;
  readonly heldBy: readonly Holder[];
}

export interface RuleSection {
  readonly title: string;
  readonly rules: readonly Rule[];
}

const explorer = (name: string): Holder => ({ explorer: name });
const simulation = (name: string): Holder => ({ simulation: name });
const fact = (file: string, title: string): Holder => ({ test: `test/facts/${file}.test.ts`, title });
const core = (file: string, title: string): Holder => ({ test: `src/core/leadership/${file}.test.ts`, title });
const agent = (file: string, title: string): Holder => ({ test: `src/agents/instance/${file}.test.ts`, title });

export const ruleTable: readonly RuleSection[] = [
  {
    title: 'State',
    rules: [
      {
        rule: 'An acknowledged commit is on w members, a new leader has heard from v, and w + v = |M| + 1.',
        heldBy: [explorer('one vote fewer is enough'), core('quorum', 'and the vote quorum always meet')],
      },
      {
        rule: 'The record changes by compare-and-swap on its version only.',
        heldBy: [explorer('the record is written without comparing')],
      },
      {
        rule: 'A record that is missing, or older than one that was seen, is refused.',
        heldBy: [
          simulation('an old record is believed'),
          core('voter', 'that is missing is refused by who has seen one'),
        ],
      },
      {
        rule: 'A promise is on the disk before it is told.',
        heldBy: [explorer('a promise is not kept')],
      },
      {
        rule: 'A node that lost its promise file or its data is another incarnation.',
        heldBy: [explorer('a lost disk does not make another incarnation')],
      },
      {
        rule: 'Positions are compared by timeline, then by LSN.',
        heldBy: [explorer('positions are not compared'), core('position', 'compare by timeline first')],
      },
      {
        rule: 'The id of a timeline is the term of the promotion that began it.',
        heldBy: [
          explorer('the next timeline id is taken, not the term'),
          fact('timelines', 'a promotion takes the id after the reserved ones'),
          fact('timelines', 'two promotions that never saw each other share an id, unless it is reserved'),
        ],
      },
      {
        rule: 'Placeholder histories name no parent, and are gone before a start or a follow without the real history.',
        heldBy: [
          fact('timelines', 'placeholders that name a parent are believed'),
          fact('timelines', 'a server does not come up on reserved ids without their history'),
        ],
      },
      {
        rule: 'An agent that finds a promotion which it had not written down writes it before anything else.',
        heldBy: [explorer('an agent that starts trusts the lineage in its file')],
      },
    ],
  },
  {
    title: '1. Suspect',
    rules: [
      { rule: 'Silence for the detection time is a suspicion.', heldBy: [simulation('silence is no suspicion')] },
      {
        rule: 'A refused connection is a suspicion at once.',
        heldBy: [simulation('a refused connection is waited out like silence')],
      },
      {
        rule: 'A leader whose PostgreSQL has died says so, and is believed.',
        heldBy: [simulation('a leader whose PostgreSQL died is not believed')],
      },
      {
        rule: 'If nobody can take over from it, it restarts in place.',
        heldBy: [simulation('a leader whose PostgreSQL died waits for others that are not there')],
      },
      {
        rule: 'A PostgreSQL that hangs under a living agent is no leader.',
        heldBy: [simulation('heartbeats alone make a leader')],
      },
    ],
  },
  {
    title: '2. Ask first, promise nothing',
    rules: [
      { rule: 'Nobody stands before v members suspect.', heldBy: [simulation('one suspicion is enough')] },
      {
        rule: 'Where one vote elects, a leader that any path reaches and that has the record confirmed vetoes.',
        heldBy: [simulation('the veto is not asked for')],
      },
      {
        rule: 'Only the best stands: position, least to replay, priority, the group of the leader, name.',
        heldBy: [core('candidacy', 'comes first by name if all else is equal, so that exactly one stands')],
      },
      {
        rule: 'A best node that may not or cannot lead does not block.',
        heldBy: [
          simulation('a best node that may not lead is waited for'),
          simulation('what a promised member holds more is not taken from it'),
        ],
      },
      {
        rule: 'Attempts that failed back off at random.',
        heldBy: [simulation('the pause after a failed attempt is always the same')],
      },
    ],
  },
  {
    title: '3. Promise',
    rules: [
      {
        rule: 'The term is above every term that anybody has promised or seen.',
        heldBy: [simulation("the next term is the record's and one, whatever was promised")],
      },
      {
        rule: 'A promise is refused to a term that is not above the last one.',
        heldBy: [core('voter', 'is refused to a term that was promised'), core('voter', 'never sinks')],
      },
      {
        rule: 'The path is closed before a promise is answered.',
        heldBy: [
          explorer('a promise leaves the path open'),
          fact('receiver', 'may start with the old primary_conninfo after an empty one was loaded'),
        ],
      },
      {
        rule: 'The position is read after the path is closed and the receiver has ended.',
        heldBy: [explorer('the position is read before the path is closed')],
      },
      {
        rule: 'The path is closed with a reset, so that no acknowledgement arrives late.',
        heldBy: [
          explorer('the path is closed in an orderly way'),
          agent('path-forwarder', 'that is closed takes back an acknowledgement'),
        ],
      },
      {
        rule: 'A leader that promises stops its PostgreSQL before it answers.',
        heldBy: [explorer('a leader promises and goes on')],
      },
      { rule: 'Who is behind a fork has no vote.', heldBy: [explorer('a node behind a fork votes')] },
      {
        rule: 'Who rewinds has no vote, and is not started on half of a rewind.',
        heldBy: [explorer('a node that rewinds is started and votes')],
      },
      {
        rule: 'Who has not replayed its own WAL since its start has no vote.',
        heldBy: [
          explorer('a node votes before it has replayed its WAL'),
          fact('receiver', 'after a restart the functions show less than the node holds'),
        ],
      },
    ],
  },
  {
    title: '4. Swap',
    rules: [
      {
        rule: 'A promise without a known position is no vote.',
        heldBy: [explorer('a promise without a position is a vote')],
      },
      {
        rule: 'The elected takes office only while it has promised no higher term.',
        heldBy: [explorer('the elected takes office although it promised a higher term')],
      },
    ],
  },
  {
    title: '5. Promote',
    rules: [
      {
        rule: 'A candidate opens only once its server waits for the others.',
        heldBy: [explorer('a candidate opens before its server waits for others')],
      },
      {
        rule: 'A leader is published when its first commit is on w members.',
        heldBy: [explorer('the leader lets clients in before its first commit has a quorum')],
      },
      {
        rule: 'Peers rewind only after the checkpoint of the leader.',
        heldBy: [
          explorer('peers rewind before the first checkpoint'),
          fact('timelines', 'before the checkpoint of a new leader pg_rewind may say that no rewind is required'),
        ],
      },
      {
        rule: 'A leader that nobody lets publish makes that checkpoint all the same: the only other member may wait for it.',
        heldBy: [simulation('a leader makes its checkpoint only once it is published')],
      },
    ],
  },
  {
    title: '6. Follow',
    rules: [
      {
        rule: 'No leader below the promise is followed.',
        heldBy: [explorer('a follower follows a leader below its promise')],
      },
      {
        rule: 'A follower writes whom it follows, and the fork, before it connects.',
        heldBy: [explorer('a follower connects before it writes whom it follows')],
      },
      {
        rule: 'A connection carries nothing before the agent beside the server that was reached has confirmed what that is.',
        heldBy: [
          explorer('the path leads to a node, whatever it has become'),
          agent('path-forwarder', 'carries nothing before the server that was reached is confirmed'),
        ],
      },
      {
        rule: 'One active sender a node.',
        heldBy: [
          explorer('two connections of one node count twice'),
          fact('synchronous-commit', 'two connections of one application_name count twice'),
        ],
      },
      {
        rule: 'Who is a member streams from the leader; who is none may stream from a relay, which it leaves before it becomes one.',
        heldBy: [
          core('relay', 'streams from the leader as long as it is a member, in this life'),
          core('relay', 'is the relay alone, beside all of the groups without one'),
        ],
      },
      {
        rule: 'A timeline is reached by the stream of its leader alone, and a relay ends its cascade before it takes up another one.',
        heldBy: [
          core('relay', 'reaches a timeline by the stream of the leader alone'),
          fact('relays', 'passes another timeline on over connections that stood before'),
          fact('relays', 'passes nothing on once the slots of its timeline are dropped'),
        ],
      },
    ],
  },
  {
    title: '7. A false alarm, 8. Switchover',
    rules: [
      {
        rule: 'A leader that still leads and hears w members goes to a term above every promise.',
        heldBy: [
          simulation('a leader never calls a false alarm'),
          simulation('who has promised a higher term is not heard when a false alarm is judged'),
        ],
      },
      {
        rule: 'It does not when it has promised a higher term itself.',
        heldBy: [core('tenure', 'it does not when it no longer leads, hears too few, or has promised away itself')],
      },
      {
        rule: 'A former leader that has promised stands as a candidate like any other.',
        heldBy: [simulation("the record's leader never stands again")],
      },
      {
        rule: 'The promise of a switchover is on the disk before the shutdown.',
        heldBy: [simulation("a switchover's promise is told and not written")],
      },
    ],
  },
  {
    title: 'Changing M and w',
    rules: [
      {
        rule: '(a) PostgreSQL requires the old and the new members.',
        heldBy: [
          explorer('members change without the setting that requires both'),
          core('quorum', 'lets no commit through that does not satisfy both'),
        ],
      },
      {
        rule: '(b) What was acknowledged before is on a write quorum of the new members.',
        heldBy: [explorer('members change before the new ones hold what was acknowledged')],
      },
      {
        rule: "From '' to a list, the moment comes with a checkpoint after the reload.",
        heldBy: [
          explorer('a reload is taken for the moment from which commits wait'),
          fact('synchronous-commit', "from '' to a list, commits return unprotected while the checkpointer is busy"),
        ],
      },
      {
        rule: 'Senders older than the reload are ended.',
        heldBy: [explorer('senders that count by the old list go on')],
      },
      {
        rule: 'While an older swap may still land, the joint list stays.',
        heldBy: [
          explorer('an agent that starts relies on the record while an older swap may land'),
          explorer('a server restarted in place takes the setting of the record at once'),
        ],
      },
      {
        rule: 'A change of unknown outcome is sent again until it is known.',
        heldBy: [core('membership', '(c) a swap of unknown outcome is sent again, whoever streams by now')],
      },
      {
        rule: 'A change whose new members are gone is given up, as long as no swap was sent.',
        heldBy: [simulation('a change whose new members are gone is waited for')],
      },
      {
        rule: 'A member that is lost for memberTimeout is taken out, so that writes go on,',
        heldBy: [
          simulation('a lost member is never taken out'),
          simulation('members change only under a published leader'),
        ],
      },
      {
        rule: '… as far as minCopies allows.',
        heldBy: [simulation('members are taken out below the copies that were asked for')],
      },
      {
        rule: 'Where those that are left are fewer than the w of the policy, w is as many as they are.',
        heldBy: [
          core('membership', 'goes on with those that stream when a whole site is lost'),
          core('quorum', 'lets no commit through that does not satisfy both'),
          { test: 'test/e2e/site-lost.test.ts', title: 'the two that are left elect' },
        ],
      },
      {
        rule: 'An application_name is short enough to count, and is another one for another incarnation.',
        heldBy: [
          fact('synchronous-commit', 'an application_name is cut to 63 bytes'),
          core('quorum', 'is never longer than PostgreSQL keeps, and keeps the life'),
        ],
      },
    ],
  },
  {
    title: 'Stale reads, and the fence',
    rules: [
      {
        rule: 'A leader that neither w members echo nor the record confirms fences.',
        heldBy: [simulation('a leader never fences')],
      },
      {
        rule: 'The record alone may be away.',
        heldBy: [
          simulation('the fence falls when the record alone is missing'),
          simulation('an agent that is replaced while the record is away does not go on leading'),
        ],
      },
      {
        rule: 'The write quorum alone may be away.',
        heldBy: [simulation('the fence falls when the write quorum alone is missing')],
      },
      {
        rule: 'An echo counts from when its nonce was sent.',
        heldBy: [simulation('the fence counts an echo from when it came')],
      },
      {
        rule: 'An echo of a member that has promised a higher term counts for nothing,',
        heldBy: [simulation('the fence counts members that have promised a higher term')],
      },
      {
        rule: '… nor does one of another incarnation.',
        heldBy: [simulation('the fence counts a node that has lost its disk')],
      },
      {
        rule: 'A primary that an agent finds, and does not come to lead, is stopped.',
        heldBy: [simulation('an agent does not guard a primary that it finds')],
      },
      {
        rule: 'A frozen or dead agent of a leader is fenced by the watchdog.',
        heldBy: [agent('watchdog', 'lets a leader run that is fed, and stops it within the fence')],
      },
      {
        rule: 'A cancelled wait for a standby is reported as success, so no agent cancels one.',
        heldBy: [fact('synchronous-commit', 'a cancelled wait for a standby reports success')],
      },
    ],
  },
];
