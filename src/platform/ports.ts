/**
 * What the verbs of the CLI need to know of a running global cluster, whichever platform runs it.
 * The local platform answers from its site (local/access.ts); Kubernetes will answer from its resources.
 */
import type { PostgresGroup } from '../api/postgres-group.ts';
import type { DialTarget, TlsFiles } from '../base/mutual-tls.ts';
import type { GlobalPlan } from '../core/topology/plan-types.ts';

export interface ClusterAccess {
  readonly platform: 'local' | 'kubernetes';
  readonly groups: readonly PostgresGroup[];
  /** Made from `groups` as they run: names, SANs, quorums. */
  readonly plan: GlobalPlan;
  readonly nodes: readonly NodeAccess[];
  readonly proxies: readonly ProxyAccess[];
  /** The record's own server, or null: an etcd keeps it. */
  readonly record: DialTarget | null;
  /** Certificate of the person at the terminal, whom the agents obey. Absolute paths. */
  readonly credentials: TlsFiles;
  /** Absolute path of the trust bundle for clients; everybody may read it. */
  readonly trustBundle: string;
  /** The application's database and its owner. */
  readonly application: { readonly database: string; readonly owner: string };
  /** Reads the application's password. */
  applicationPassword(): Promise<string>;
  /** Absolute paths of files that hold the application's password alone, and in libpq's form; null: there are none. */
  readonly applicationPasswordFile: string | null;
  readonly passfile: string | null;
  /** Version that runs. */
  readonly postgresMajor: number;
  /** PostgreSQL's own programs, for psql; null: those of PATH. */
  readonly postgresBin: string | null;
  /** Files that a target (`leo-1`, `leo-1/postgres`, `leo-proxy-1`, `record`, a group) writes its log to. Throws UserError TARGET_UNKNOWN. */
  logFiles(target: string): readonly { readonly part: string; readonly path: string }[];
}

export interface NodeAccess {
  readonly name: string;
  readonly group: string;
  readonly agent: DialTarget;
  readonly postgres: DialTarget;
  /** True if its programs are known to run; null: the platform does not tell. */
  readonly isRunning: boolean | null;
  /** Faults that the platform knows of, for people: `cut off`, `frozen`, `disk full`, `disk slow`. */
  readonly faults: readonly string[];
}

export interface ProxyAccess {
  readonly name: string;
  readonly group: string;
  readonly write: DialTarget;
  /** null: read routing is off. */
  readonly read: DialTarget | null;
  readonly health: DialTarget;
  readonly isRunning: boolean | null;
  readonly faults: readonly string[];
}
