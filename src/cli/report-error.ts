/**
 * How the CLI shows an error: attempted and found in the first line, what to do in the second, the code last (requirement H7).
 */
import { UserError } from '../base/user-error.ts';
import { EXIT_CODE } from './exit-codes.ts';

/** Prints `error` to stderr. @returns the exit code for it. */
export function reportError(error: unknown): number {
  if (error instanceof UserError) {
    process.stderr.write(
      `pgspan: ${error.message}\n  What to do: ${error.todo}\n  (${error.code}, see docs/reference/errors.md)\n`,
    );
    return EXIT_CODE[error.kind];
  }
  const { message, code } = asError(error);
  process.stderr.write(`pgspan: ${message}${code === undefined ? '' : `\n  (${code})`}\n`);
  if (process.env.PGSPAN_DEBUG !== undefined) console.error(error);
  else process.stderr.write('  What to do: run it again with PGSPAN_DEBUG=1 set, which shows where this came from\n');
  return EXIT_CODE.failed;
}

function asError(error: unknown): { message: string; code: string | undefined } {
  if (!(error instanceof Error)) return { message: String(error), code: undefined };
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  return { message: error.message, code };
}
