/** Signals to parts of a node's pod: its agent, PostgreSQL, the watchdog; by a shell in the pod, which runs as the same user. */
import { kubectl } from './environment.ts';

export type PodPart = 'agent' | 'postgres' | 'watchdog' | 'postmaster';

/** A pattern of the command line of each part; of PostgreSQL's processes the postmaster alone has an argument. */
const PATTERNS: Readonly<Record<PodPart, string>> = {
  agent: '*pgspan.mjs*instance*',
  postgres: 'postgres:*|*/postgres\\ *',
  postmaster: '*/postgres\\ *',
  watchdog: '*pgspan-watchdog*',
};

/** Words of a process are joined by blanks; this shell itself is left out. @param signal `KILL`, `STOP`, `CONT`. */
function script(part: PodPart, signal: string): string {
  return `
pids=
for folder in /proc/[0-9]*; do
  pid=\${folder#/proc/}
  [ "$pid" = $$ ] && continue
  line=$(tr '\\0' ' ' <"$folder/cmdline" 2>/dev/null) || continue
  case $line in
    sh\\ -c*|/bin/sh\\ *pgspan-instance*) ;;
    ${PATTERNS[part]}) pids="$pids $pid" ;;
  esac
done
[ -n "$pids" ] || { echo 'no such process' >&2; exit 1; }
kill -${signal} $pids
echo "$pids"`;
}

/** @returns the pids. Rejects when there is no such process. */
export async function signalPart(pod: string, namespace: string, part: PodPart, signal: string): Promise<string> {
  return await kubectl(['-n', namespace, 'exec', pod, '-c', 'postgres', '--', 'sh', '-c', script(part, signal)]);
}
