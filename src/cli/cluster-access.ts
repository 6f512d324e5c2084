/** Which running global cluster a verb means. Today: the local site of `--state`; Kubernetes contexts come with the operator. */
import { Option } from 'commander';
import { UserError } from '../base/user-error.ts';
import { stateFolder } from '../platform/local/state-folder.ts';
import type { ClusterAccess } from '../platform/ports.ts';

export interface AccessFlags {
  readonly state?: string;
}

/** `--state DIR`, for every verb that means a local site. */
export function stateOption(): Option {
  return new Option('--state <dir>', "folder of the local site (default: $PGSPAN_STATE, else this user's)");
}

/** Throws UserError NO_SITE. */
export async function openClusterAccess(flags: AccessFlags): Promise<ClusterAccess> {
  const { openLocalAccess } = await import('../platform/local/access.ts');
  return openLocalAccess(stateFolder(flags.state ?? null));
}

/** `-o json|yaml`, and whatever else the verb prints. */
export function outputOption(choices: readonly string[], description: string): Option {
  return new Option('-o, --output <form>', description).choices(choices);
}

/** Prints a value as JSON or YAML. */
export async function printValue(value: unknown, output: 'json' | 'yaml'): Promise<void> {
  if (output === 'json') {
    process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
    return;
  }
  const { stringify } = await import('yaml');
  process.stdout.write(stringify(value, { lineWidth: 0, aliasDuplicateObjects: false }));
}

/** A whole number of an option. Throws UserError OPTION_INVALID. */
export function readNumber(name: string, text: string, range: { readonly min: number; readonly max?: number }): number {
  const value = Number(text);
  const { min, max = Number.MAX_SAFE_INTEGER } = range;
  if (Number.isFinite(value) && value >= min && value <= max && text.trim() !== '') return value;
  throw new UserError({
    code: 'OPTION_INVALID',
    kind: 'usage',
    message: `Cannot read ${name} "${text}": it is no number from ${min}${range.max === undefined ? ' upwards' : ` to ${max}`}`,
    todo: 'Give a number.',
  });
}
