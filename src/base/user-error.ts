/**
 * The error that a person reads: what was attempted, what was found, what to do (requirement H7).
 *
 * `message` is one sentence without a final period: `Cannot <action> "<x>": <what was found>`.
 * Every code stands in docs/reference/errors.md; test/meta/errors.test.ts compares both directions.
 */

/**
 * What kind of failure it is; the CLI's exit code follows from it (src/cli/exit-codes.ts).
 * - `failed`: tried, and it did not work.
 * - `usage`: the command line, a manifest or another input is wrong; nothing was done.
 * - `not-found`: no local site, group, node or file of that name.
 * - `unsafe`: refused, because data could be lost or another's work destroyed.
 * - `missing`: a program, right or resource that this machine lacks.
 * - `timeout`: begun, and not finished within its limit; the work may still go on.
 */
export type UserErrorKind = 'failed' | 'usage' | 'not-found' | 'unsafe' | 'missing' | 'timeout';

export interface UserErrorOptions {
  /** UPPER_CASE word for machines and for docs/reference/errors.md. */
  readonly code: string;
  /** What was attempted and what was found: `Cannot <action> "<x>": <what was found>`. */
  readonly message: string;
  /** What the reader can do about it: a sentence or two, imperative, with the command to type where there is one. */
  readonly todo: string;
  /** Default `failed`. */
  readonly kind?: UserErrorKind;
  readonly cause?: unknown;
}

export class UserError extends Error {
  override name = 'UserError';
  readonly code: string;
  readonly todo: string;
  readonly kind: UserErrorKind;

  constructor(options: UserErrorOptions) {
    super(options.message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = options.code;
    this.todo = options.todo;
    this.kind = options.kind ?? 'failed';
  }
}
