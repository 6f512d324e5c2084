/**
 * What a user reads when a manifest is refused: every problem at once, each with the path, what was found there and what
 * would be accepted (requirement H7).
 */
import { UserError } from '../base/user-error.ts';

export interface ManifestProblem {
  /** Name of the group, or the place in the file (`document 2`) when it has no name. */
  readonly group: string;
  /** Path in the manifest such as `spec.connectivity.dns.domain`. */
  readonly path: string;
  /** What is there. */
  readonly found: string;
  /** What would be accepted. */
  readonly accepted: string;
}

/** More are counted, not printed. */
const PROBLEMS_SHOWN_MAX = 20;

/** Code MANIFEST_INVALID, kind `usage`. */
export class ManifestError extends UserError {
  override name = 'ManifestError';
  readonly problems: readonly ManifestProblem[];

  /** @param what what was attempted, such as `accept "groups.yaml"`. */
  constructor(what: string, problems: readonly ManifestProblem[]) {
    const lines = problems.slice(0, PROBLEMS_SHOWN_MAX).map(problemLine);
    if (problems.length > lines.length) lines.push(`and ${problems.length - lines.length} more`);
    const count = `${problems.length} problem${problems.length === 1 ? '' : 's'}`;
    const list = lines.length === 1 ? ` ${lines[0]}` : ` ${count}\n${lines.map((line) => `  - ${line}`).join('\n')}`;
    super({
      code: 'MANIFEST_INVALID',
      kind: 'usage',
      message: `Cannot ${what}:${list}`,
      todo: 'Correct the manifest; every field is described in docs/reference/postgresgroup.md',
    });
    this.problems = problems;
  }
}

export function problemLine({ group, path, found, accepted }: ManifestProblem): string {
  return `${group}: ${path}: ${found}; ${accepted}`;
}
