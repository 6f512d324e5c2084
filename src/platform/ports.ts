/**
 * What the verbs of the CLI need to know of a running global cluster, whichever platform runs it.
 * The local platform answers from its site (local/access.ts), Kubernetes from its resources (kubernetes/access.ts).
 */
import type { EdgeFacts, EdgeQuestion } from '../api/edge-facts.ts';
import type { PostgresGroup } from '../api/postgres-group.ts';
import type { DialTarget } from '../base/mutual-tls.ts';
import type { ConnectionPlaces } from '../core/connection/select.ts';
import type { BalancerFacts } from '../core/connectivity/doctor-facts.ts';
import type { PublishedHosts } from '../core/dns/zone-records.ts';
import type { StoredStatus } from '../core/status/stored-status.ts';
import type { GlobalPlan } from '../core/topology/plan-types.ts';
import type { Vantage } from './vantage.ts';

/** Which cluster is meant, opened as often as it is looked at: `--watch` keeps one for as long as it goes on. */
export interface ClusterSource {
  /** The cluster as it is now. Throws UserError. */
  open(): Promise<ClusterAccess>;
  /** Ends sessions that `open` began. */
  close(): Promise<void>;
}

export interface ClusterAccess {
  readonly platform: 'local' | 'kubernetes';
  readonly groups: readonly PostgresGroup[];
  /** Made from `groups` as they run: names, SANs, quorums. */
  readonly plan: GlobalPlan;
  readonly nodes: readonly NodeAccess[];
  readonly proxies: readonly ProxyAccess[];
  /** From where agents are asked, and edges examined. */
  readonly vantage: Vantage;
  /** `plan` with the names that clients at the vantage dial. */
  readonly vantagePlan: GlobalPlan;
  /** Where clients of this machine enter, examined from here by `doctor`; none where the vantage is this machine. */
  readonly entries: readonly EdgeQuestion[];
  /** Services that are to have a load balancer, with what they got. */
  readonly balancers: readonly Omit<BalancerFacts, 'addresses'>[];
  /** Addresses and host names where clients outside reach a Service of a group. */
  readonly published: PublishedHosts;
  /** `entries` from this machine, as an application. */
  examineEntries(): Promise<EdgeFacts[]>;
  /** Clusters that were asked for and did not answer. */
  readonly unanswered: readonly UnansweredPlace[];
  /** What operators wrote of their groups, for where nobody can be asked. */
  readonly stored: readonly StoredStatus[];
  /** What to do about programs that do not run, for messages: `\`pgspan local up\` starts it`. */
  readonly startHint: string;
  /** The application's database and its owner. */
  readonly application: { readonly database: string; readonly owner: string };
  /** Reads the application's password. Throws UserError where that is a right of its own. */
  applicationPassword(): Promise<string>;
  /** Ways in which clients connect, the best from here first; at least one. */
  readonly ways: readonly ConnectionWay[];
  /** Version that runs. */
  readonly postgresMajor: number;
  /** PostgreSQL's own programs, for psql; null: those of PATH. */
  readonly postgresBin: string | null;
  /** What the programs of a target (`leo-1`, `leo-1/postgres`, `leo-proxy-1`, `record`, a group) say. Throws UserError TARGET_UNKNOWN. */
  logs(target: string): Promise<readonly LogSource[]>;
}

export interface UnansweredPlace {
  /** `context "pit"`. */
  readonly place: string;
  readonly why: string;
}

/** Where a client stands, and what it needs there. */
export interface ConnectionWay {
  /** `here`: this machine. `inside`: a pod of the Kubernetes cluster. `outside`: through its load balancers. */
  readonly from: 'here' | 'inside' | 'outside';
  readonly places: ConnectionPlaces;
  /** Path of the trust bundle for clients, there. */
  readonly sslRootCert: string;
  /** File there that holds the password in libpq's form; null: there is none. */
  readonly passfile: string | null;
}

/** One program's log. */
export interface LogSource {
  /** `leo-1/agent`, `leo-proxy-1`. */
  readonly part: string;
  /** The last `lines` lines, and with `follow` all that come until `signal`. */
  read(options: {
    readonly lines: number;
    readonly follow: boolean;
    readonly signal: AbortSignal;
  }): AsyncIterable<string>;
}

interface ProgramAccess {
  readonly name: string;
  readonly group: string;
  /** Why it is known not to run, as a sentence part; null: it runs, or the platform does not tell. */
  readonly absence: string | null;
  /** Faults that the platform knows of, for people: `cut off`, `frozen`, `disk full`, `disk slow`. */
  readonly faults: readonly string[];
}

export interface NodeAccess extends ProgramAccess {
  readonly agent: DialTarget;
  readonly postgres: DialTarget;
}

export interface ProxyAccess extends ProgramAccess {
  readonly write: DialTarget;
  /** null: read routing is off. */
  readonly read: DialTarget | null;
  readonly health: DialTarget;
}
