/**
 * Refuses what cannot work before anything starts: every contradiction inside of and between the manifests of one global
 * cluster, all at once. The fields for themselves are checked by the schema (src/api/parse-manifest.ts).
 */
import { ManifestError, type ManifestProblem } from '../../api/manifest-error.ts';
import type { PostgresGroup } from '../../api/postgres-group.ts';
import { hbaProblems, identProblems } from '../postgresql/hba-problems.ts';
import { settingProblems } from '../postgresql/setting-problems.ts';
import { groupProblems } from './group-problems.ts';
import { nameProblems } from './name-problems.ts';
import { globalSettingsInput, settingsInput } from './settings-input.ts';
import { sharedProblems } from './shared-problems.ts';

export interface ValidateOptions {
  /** For the message: a file name. */
  readonly source?: string;
  /** What the platform runs; default: what the images say. */
  readonly postgresMajor?: number;
}

/** @throws ManifestError MANIFEST_INVALID. */
export function validateGroups(groups: readonly PostgresGroup[], options: ValidateOptions = {}): void {
  const problems = findProblems(groups, options.postgresMajor);
  if (problems.length === 0) return;
  const names = groups.map((group) => group.metadata.name).join('", "');
  throw new ManifestError(
    `accept ${options.source === undefined ? `group${groups.length > 1 ? 's' : ''} "${names}"` : `"${options.source}"`}`,
    problems,
  );
}

/** @param groups at least one. */
export function findProblems(groups: readonly PostgresGroup[], postgresMajor?: number): ManifestProblem[] {
  // With doubtful names, what follows would speak of the wrong groups.
  const ofNames = nameProblems(groups);
  if (ofNames.length > 0) return ofNames;
  const global = globalSettingsInput(groups, postgresMajor);
  return [
    ...sharedProblems(groups),
    ...groups.flatMap(groupProblems),
    ...groups.flatMap((group): ManifestProblem[] => {
      const name = group.metadata.name;
      const { pg_hba, pg_ident } = group.spec.postgresql;
      return [
        ...settingProblems(settingsInput(group), global).map((problem) => ({
          group: name,
          path: `spec.postgresql.parameters.${problem.name}`,
          found: problem.found,
          accepted: problem.accepted,
        })),
        ...hbaProblems(pg_hba).map(({ index, ...problem }) => ({
          group: name,
          path: `spec.postgresql.pg_hba[${index}]`,
          ...problem,
        })),
        ...identProblems(pg_ident).map(({ index, ...problem }) => ({
          group: name,
          path: `spec.postgresql.pg_ident[${index}]`,
          ...problem,
        })),
      ];
    }),
  ];
}
