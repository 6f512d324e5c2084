/**
 * Which processes belong to a local site, found from /proc alone.
 *
 * Nothing is looked up by a remembered pid: a pid may be reused, and a crash between spawn and note-taking would
 * leave a process that nobody remembers. Instead
 * - every program that the site starts carries MARKER_VARIABLE in its environment, `<site id>/<part>`, and its
 *   children inherit it;
 * - PostgreSQL gets no environment but what it needs, and its children leave their parent's session, but their working
 *   directory stays PGDATA; its tools name PGDATA in their arguments; the watchdog stays in the node's runtime folder.
 * So the list is right after a crash of anything, this program included.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename, sep } from 'node:path';

/** Environment variable that says whose a process is: `<site id>/<part>`, such as `6f3a9c01/leo-1/agent`. */
export const MARKER_VARIABLE = 'PGSPAN_PART';

/** One process, as /proc told at one moment. */
export interface ProcessView {
  readonly pid: number;
  readonly parentPid: number;
  /** Clock ticks between boot and the process' start: with the pid, its identity. */
  readonly startTicks: number;
  /** One letter of proc(5): R, S, D, T (stopped), Z (dead, not yet waited for), … */
  readonly state: string;
  readonly argv: readonly string[];
  /** Value of MARKER_VARIABLE, or null: none, or not ours to read. */
  readonly marker: string | null;
  /** Working directory, or null: not ours to read. */
  readonly workingDirectory: string | null;
  /** File name of the executable, or null: not ours to read. */
  readonly executable: string | null;
}

/** How to tell one site's processes from all others. */
export interface SiteMarks {
  readonly siteId: string;
  readonly nodes: readonly {
    readonly name: string;
    readonly dataDirectory: string;
    readonly runtimeDirectory: string;
  }[];
}

/** A process of the site, and which part of it: `leo-1/postgres`, `leo-1/agent`, `leo-1/watchdog`, `leo-proxy-1`, `record`, `leo-etcd`, `keeper`. */
export interface SiteProcess extends ProcessView {
  readonly part: string;
}

/** The site's living processes. Zombies are left out: they hold nothing and answer to no signal. */
export function findSiteProcesses(marks: SiteMarks): SiteProcess[] {
  const views = listProcesses().filter((view) => view.state !== 'Z' && view.pid !== process.pid);
  const partByPid = new Map<number, string>();
  for (const view of views) {
    const part = ownPartOf(view, marks);
    if (part !== null) partByPid.set(view.pid, part);
  }
  const viewByPid = new Map(views.map((view) => [view.pid, view]));
  // What carries no mark of its own is its parent's: the watchdog's `sleep`, a WAL receiver of pg_basebackup.
  const inherited = (view: ProcessView | undefined): string | null =>
    view === undefined ? null : (partByPid.get(view.pid) ?? inherited(viewByPid.get(view.parentPid)));
  return views.flatMap((view) => {
    const part = inherited(view);
    return part === null ? [] : [{ ...view, part: partOfProgram(view, part) }];
  });
}

/** True if the process with this pid is still the one that was seen, and not dead. */
export function isSameProcess(process: Pick<ProcessView, 'pid' | 'startTicks'>): boolean {
  const stat = readStat(process.pid);
  return stat !== null && stat.startTicks === process.startTicks && stat.state !== 'Z';
}

/**
 * Sends a signal to a process that was seen before, unless its pid belongs to another one by now.
 * @returns false if it is gone. Throws what the kernel refuses (EPERM).
 */
export function signalProcess(target: Pick<ProcessView, 'pid' | 'startTicks'>, signal: NodeJS.Signals): boolean {
  if (!isSameProcess(target)) return false;
  try {
    process.kill(target.pid, signal);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

/** Now, on the clock of `startTicks`. The kernel shows user space 100 ticks a second on every architecture that Node runs on. */
export function ticksSinceBoot(): number {
  return Math.floor(Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]) * 100);
}

/** Every process that /proc shows. Those that end while it is read are left out. */
export function listProcesses(): ProcessView[] {
  const views: ProcessView[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^[0-9]+$/.test(name)) continue;
    const view = readProcess(Number(name));
    if (view !== null) views.push(view);
  }
  return views;
}

/** One process, or null if there is none (any more). */
export function readProcess(pid: number): ProcessView | null {
  const stat = readStat(pid);
  if (stat === null) return null;
  const argv = readText(`/proc/${pid}/cmdline`)?.split('\0').filter(Boolean) ?? [];
  const executable = readLink(`/proc/${pid}/exe`);
  return {
    pid,
    ...stat,
    argv,
    marker: readMarker(pid),
    workingDirectory: readLink(`/proc/${pid}/cwd`),
    executable: executable === null ? null : basename(executable),
  };
}

/** The part whose mark a process carries itself, or null. */
function ownPartOf(view: ProcessView, marks: SiteMarks): string | null {
  const prefix = `${marks.siteId}/`;
  if (view.marker?.startsWith(prefix)) return view.marker.slice(prefix.length);
  // A person's shell may stand in these folders as well: only PostgreSQL's programs and the watchdog count.
  for (const { name, dataDirectory, runtimeDirectory } of marks.nodes) {
    if (isPostgresProgram(view) && (isInside(view.workingDirectory, dataDirectory) || isNamedIn(view, dataDirectory))) {
      return `${name}/postgres`;
    }
    if (isWatchdog(view) && isInside(view.workingDirectory, runtimeDirectory)) return `${name}/watchdog`;
  }
  return null;
}

/** An agent's children inherit its mark: the server and initdb, pg_rewind and their like, and the watchdog. */
function partOfProgram(view: ProcessView, part: string): string {
  const [node, program] = part.split('/');
  if (program !== 'agent') return part;
  if (isPostgresProgram(view)) return `${node}/postgres`;
  return isWatchdog(view) ? `${node}/watchdog` : part;
}

function isPostgresProgram({ executable }: ProcessView): boolean {
  return executable !== null && /^(postgres|initdb|pg_[a-z]+)$/.test(executable);
}

/** agents/instance/watchdog.ts gives its shell this name. */
function isWatchdog({ argv }: ProcessView): boolean {
  return argv.includes('pgspan-watchdog');
}

function isNamedIn({ argv }: ProcessView, directory: string): boolean {
  return argv.some((word) => word === directory || word.endsWith(`=${directory}`));
}

function isInside(path: string | null, directory: string): boolean {
  return path !== null && (path === directory || path.startsWith(directory + sep));
}

/** Fields of /proc/PID/stat; the second, the name, stands in parentheses and may hold anything, so it is cut off from the right. */
function readStat(pid: number): { parentPid: number; startTicks: number; state: string } | null {
  const text = readText(`/proc/${pid}/stat`);
  if (text === null) return null;
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return { state: fields[0] ?? '?', parentPid: Number(fields[1]), startTicks: Number(fields[19]) };
}

function readMarker(pid: number): string | null {
  const line = readText(`/proc/${pid}/environ`)
    ?.split('\0')
    .find((entry) => entry.startsWith(`${MARKER_VARIABLE}=`));
  return line?.slice(MARKER_VARIABLE.length + 1) ?? null;
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null; // ended meanwhile, or another user's
  }
}

function readLink(path: string): string | null {
  try {
    return readlinkSync(path).replace(/ \(deleted\)$/, '');
  } catch {
    return null;
  }
}
