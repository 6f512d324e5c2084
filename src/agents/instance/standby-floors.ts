/** Asks pg_controldata for what the leader of this data had; control-file.ts reads only the part whose place never changes. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { InstanceConfig } from '../../api/agent-config.ts';
import { parseStandbyFloors } from '../../core/postgresql/standby-floors.ts';
import { serverEnvironment } from './postmaster.ts';

const TIMEOUT_MS = 5000;

/** Empty when it cannot be told: PostgreSQL itself then says what is wrong with the data. */
export async function readStandbyFloors({
  postgresBin,
  dataDirectory,
}: InstanceConfig['paths']): Promise<Record<string, number>> {
  try {
    const { stdout } = await promisify(execFile)(join(postgresBin, 'pg_controldata'), ['-D', dataDirectory], {
      env: { ...serverEnvironment(), LC_ALL: 'C' },
      timeout: TIMEOUT_MS,
      killSignal: 'SIGKILL',
    });
    return parseStandbyFloors(stdout);
  } catch {
    return {};
  }
}
