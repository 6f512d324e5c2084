/**
 * The launcher's own form of src/base/user-error.ts, which Node 18 cannot load: attempted and found, what to do, code.
 */

export class LauncherError extends Error {
  /** @param {{ code: string, message: string, todo: string }} options */
  constructor({ code, message, todo }) {
    super(message);
    this.name = 'LauncherError';
    this.code = code;
    this.todo = todo;
  }
}

/**
 * Prints the error as the CLI does (src/cli/report-error.ts).
 * @param {unknown} error
 */
export function printError(error) {
  if (error instanceof LauncherError) {
    process.stderr.write(
      `pgspan: ${error.message}\n  What to do: ${error.todo}\n  (${error.code}, see docs/reference/errors.md)\n`,
    );
  } else {
    console.error('pgspan:', error);
  }
}
