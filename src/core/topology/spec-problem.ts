/** How a rule about one manifest reads: from the spec to the problems found, paths below `.spec`. */
import type { ManifestProblem } from '../../api/manifest-error.ts';
import type { GroupSpec, PostgresGroup } from '../../api/postgres-group.ts';

/** A problem below `.spec` of the group at hand. */
export type SpecProblem = Omit<ManifestProblem, 'group'>;
export type SpecRule = (spec: GroupSpec, group: PostgresGroup) => SpecProblem[];

/** Nothing is wrong. */
export const none: SpecProblem[] = [];

export function refuseIf(isWrong: boolean, path: string, found: string, accepted: string): SpecProblem[] {
  return isWrong ? [{ path, found, accepted }] : none;
}
