/** Runs a program of the system, such as `mount`, and waits for it. Folders of system programs are looked through, whatever PATH says. */
import { spawnSync } from 'node:child_process';

export interface ToolResult {
  readonly ok: boolean;
  readonly stdout: string;
  /** What it complained about, one line; the system's words when it could not be started. */
  readonly complaint: string;
  /** There is no such program. */
  readonly isMissing: boolean;
}

const SYSTEM_FOLDERS = '/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin';
/** mkfs on a slow disk is the longest; nothing here waits for anybody. */
const TIMEOUT_MS = 60_000;

export function runTool(program: string, args: readonly string[], input = ''): ToolResult {
  const result = spawnSync(program, args, {
    input,
    encoding: 'utf8',
    timeout: TIMEOUT_MS,
    env: { ...process.env, LC_ALL: 'C', PATH: `${process.env.PATH ?? ''}:${SYSTEM_FOLDERS}` },
  });
  const said = `${result.stderr ?? ''}\n${result.stdout ?? ''}`.split('\n').find((line) => line.trim() !== '');
  return {
    ok: result.status === 0,
    stdout: result.stdout ?? '',
    complaint: result.error?.message ?? said?.trim() ?? `${program} ended with ${result.status ?? result.signal}`,
    isMissing: (result.error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT',
  };
}

export function isInstalled(program: string): boolean {
  return runTool('sh', ['-c', 'command -v "$0"', program]).ok;
}
