/**
 * Where PostgreSQL's programs are when the configuration says "auto": in a container the image decides, and it is the user's.
 * An image that cannot do is a reason to be blocked, not to end: the agent then says so to everybody who asks.
 */
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { InstanceConfig } from '../../api/agent-config.ts';
import type { Reason } from '../../core/leadership/voter.ts';
import { findPostgres, findPostgresInstallations } from '../../platform/postgres-installation.ts';

export interface ServerPrograms {
  /** Absolute path of the folder; '' with a problem. */
  readonly bin: string;
  /** Why no server can be run with what is there; null: it can. */
  readonly problem: Reason | null;
}

/** The path of an ELF program's loader stands near its beginning. */
const HEAD_BYTES = 4096;
const MUSL_LOADER = '/ld-musl-';

/** As configured, or, for "auto", that of the data's major version if there is one, else the highest. Touches nothing. */
export async function findServerPrograms({ paths }: InstanceConfig): Promise<ServerPrograms> {
  if (paths.postgresBin !== 'auto') return { bin: paths.postgresBin, problem: null };
  try {
    const major = await majorOfData(paths.dataDirectory);
    const fitting = findPostgresInstallations().find((one) => one.major === major);
    const { bin } = fitting ?? findPostgres();
    if (!(await usesMusl(join(bin, 'postgres')))) return { bin, problem: null };
    return unusable(
      `PostgreSQL in "${bin}" is built for musl, whose collations sort otherwise than glibc's: indexes of other nodes would be wrong here`,
    );
  } catch (error) {
    return unusable((error as Error).message);
  }
}

function unusable(found: string): ServerPrograms {
  return {
    bin: '',
    problem: {
      code: 'ImageUnusable',
      message: `Cannot run PostgreSQL from this image: ${found}; nothing was touched; set spec.imageName to an image with glibc and the server's programs, such as postgres:18`,
    },
  };
}

async function majorOfData(dataDirectory: string): Promise<number | null> {
  try {
    return Number.parseInt(await readFile(join(dataDirectory, 'PG_VERSION'), 'utf8'), 10);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

async function usesMusl(program: string): Promise<boolean> {
  const file = await open(program, 'r');
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
    return buffer.subarray(0, bytesRead).includes(MUSL_LOADER);
  } finally {
    await file.close();
  }
}
