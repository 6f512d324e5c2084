/**
 * `.spec.postgresql.configMapRef`: what the ConfigMap says is taken as if it stood in the manifest; what the manifest says
 * itself wins (requirement E1). Everything is then judged like any other setting and rule.
 */
import { ManifestError, type ManifestProblem } from '../../api/manifest-error.ts';
import type { PostgresGroup } from '../../api/postgres-group.ts';
import { parseConfigurationText, parseRuleLines } from '../postgresql/configuration-text.ts';

export const CONFIG_MAP_KEYS = ['postgresql.conf', 'pg_hba.conf', 'pg_ident.conf'] as const;

/**
 * @param data of the ConfigMap that the group names.
 * @throws ManifestError MANIFEST_INVALID with every line that cannot be read and every key that is unknown.
 */
export function withConfigMap(group: PostgresGroup, data: Readonly<Record<string, string>>): PostgresGroup {
  const { postgresql } = group.spec;
  const source = postgresql.configMapRef?.name ?? 'ConfigMap';
  const { parameters, problems } = parseConfigurationText(data['postgresql.conf'] ?? '');
  const wrong = [
    ...problems.map(({ line, found, accepted }) =>
      problem(group, `data["postgresql.conf"] line ${line}`, found, accepted, source),
    ),
    ...Object.keys(data)
      .filter((key) => !CONFIG_MAP_KEYS.some((known) => known === key))
      .map((key) =>
        problem(
          group,
          `data[${JSON.stringify(key)}]`,
          'there is no such file',
          `accepted: ${CONFIG_MAP_KEYS.join(', ')}`,
          source,
        ),
      ),
  ];
  if (wrong.length > 0) throw new ManifestError(`accept ConfigMap "${source}"`, wrong);
  const own = new Set(Object.keys(postgresql.parameters).map((name) => name.toLowerCase()));
  const added = Object.entries(parameters).filter(([name]) => !own.has(name));
  return {
    ...group,
    spec: {
      ...group.spec,
      postgresql: {
        ...postgresql,
        parameters: { ...Object.fromEntries(added), ...postgresql.parameters },
        // The first match counts, so the manifest's own rules come first.
        pg_hba: [...postgresql.pg_hba, ...parseRuleLines(data['pg_hba.conf'] ?? '')],
        pg_ident: [...postgresql.pg_ident, ...parseRuleLines(data['pg_ident.conf'] ?? '')],
      },
    },
  };
}

function problem(
  { metadata }: PostgresGroup,
  place: string,
  found: string,
  accepted: string,
  source: string,
): ManifestProblem {
  return { group: metadata.name, path: `spec.postgresql.configMapRef (${source}) ${place}`, found, accepted };
}
