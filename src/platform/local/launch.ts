/**
 * Starts one program of the site so that it outlives the command: in a session of its own, as the site's user, its
 * output in a file, and with the mark by which it is found again (processes.ts).
 *
 * Nobody restarts what dies. On Kubernetes the kubelet would; here a killed node stays dead until `pgspan local up`,
 * so that a person, or a test, sees what they caused. docs/decisions/local-platform.md.
 */
import { spawn } from 'node:child_process';
import { closeSync, openSync, renameSync, statSync } from 'node:fs';
import type { Program } from '../program.ts';
import { MARKER_VARIABLE } from './processes.ts';
import type { RunAs } from './users.ts';

export interface LaunchOptions {
  readonly siteId: string;
  /** `leo-1/agent`, `leo-proxy-1`, `record`, `leo-etcd`. */
  readonly part: string;
  readonly program: Program;
  /** The verb and its options. */
  readonly args: readonly string[];
  readonly logFile: string;
  readonly user: RunAs | null;
}

/** A log larger than this is put aside (one generation) at the next start: a site that runs for weeks must not fill the host's disk with its past. */
const LOG_BYTES_KEPT_MAX = 16 * 1024 * 1024;
/** A fixed PATH: nothing of the caller's environment decides what an agent finds. */
export const LAUNCH_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Starts the process. @returns its pid. Throws what spawn threw, such as ENOENT. */
export async function launchProgram(options: LaunchOptions): Promise<number> {
  putAsideLongLog(options.logFile);
  const log = openSync(options.logFile, 'a', 0o640);
  try {
    const child = spawn(options.program.node, [...options.program.args, ...options.args], {
      detached: true,
      stdio: ['ignore', log, log],
      cwd: '/',
      env: {
        PATH: LAUNCH_PATH,
        LC_ALL: 'C.UTF-8',
        ...options.program.env,
        [MARKER_VARIABLE]: `${options.siteId}/${options.part}`,
      },
      ...(options.user === null ? {} : { uid: options.user.uid, gid: options.user.gid }),
    });
    await new Promise<void>((resolve, reject) => child.once('spawn', resolve).once('error', reject));
    child.unref();
    return child.pid as number;
  } finally {
    closeSync(log);
  }
}

function putAsideLongLog(path: string): void {
  const bytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (bytes > LOG_BYTES_KEPT_MAX) renameSync(path, `${path}.1`);
}
