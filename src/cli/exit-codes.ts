/**
 * What an exit status of `pgspan` means. Scripts rely on it; `pgspan --help` and docs/reference/cli.md print this table.
 */
import type { UserErrorKind } from '../base/user-error.ts';

export const EXIT_CODE = {
  ok: 0,
  failed: 1,
  usage: 2,
  'not-found': 3,
  unsafe: 4,
  missing: 5,
  timeout: 6,
  interrupted: 130,
} as const satisfies Record<UserErrorKind | 'ok' | 'interrupted', number>;

export const EXIT_CODE_MEANING: Readonly<Record<keyof typeof EXIT_CODE, string>> = {
  ok: 'done',
  failed: 'tried, and it did not work',
  usage: 'wrong command line, manifest or other input; nothing was done',
  'not-found': 'no site, group, node or file of that name',
  unsafe: 'refused, because data could be lost',
  missing: 'this machine lacks a program, right or resource',
  timeout: 'not finished within its limit',
  interrupted: 'interrupted (Ctrl-C)',
};
