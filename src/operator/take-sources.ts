/**
 * What a manifest names instead of saying it: a ConfigMap with settings, Secrets with passwords. Pure: from what was read to
 * the group as it is carried out, or to the reason why it cannot be.
 */
import { ManifestError, problemLine } from '../api/manifest-error.ts';
import type { PostgresGroup } from '../api/postgres-group.ts';
import { withConfigMap } from '../core/topology/config-map.ts';
import { resolveShared } from '../core/topology/shared-settings.ts';
import { findProblems } from '../core/topology/validate.ts';
import type { Login } from './objects/render-input.ts';

export interface SourceRef {
  readonly kind: 'ConfigMap' | 'Secret';
  readonly name: string;
  /** Field of the manifest that names it: `spec.postgresql.configMapRef`. */
  readonly path: string;
}

/** Texts by key; null: it is not there. */
export type SourceTexts = Readonly<Record<string, string>> | null;

export type TakenSources =
  | {
      readonly kind: 'accepted';
      readonly group: PostgresGroup;
      /** null: the operator makes the password. */
      readonly app: Login | null;
      readonly rolePasswords: Readonly<Record<string, string>>;
    }
  | { readonly kind: 'refused'; readonly reason: 'Invalid' | 'SourceMissing'; readonly message: string };

export type AcceptedSources = Extract<TakenSources, { kind: 'accepted' }>;

export function sourceRefs({ spec }: PostgresGroup): SourceRef[] {
  const { postgresql, roles } = spec;
  return [
    ...(postgresql.configMapRef === undefined
      ? []
      : [{ kind: 'ConfigMap', name: postgresql.configMapRef.name, path: 'spec.postgresql.configMapRef' } as const]),
    ...credentialsRefs(spec),
    ...roles.flatMap(({ secretRef }, index) =>
      secretRef === undefined
        ? []
        : [{ kind: 'Secret', name: secretRef.name, path: `spec.roles[${index}].secretRef` } as const],
    ),
  ];
}

/** The application's login: `bootstrap.secretRef` first, which is of this group alone. */
function credentialsRefs({ bootstrap, globalCluster }: PostgresGroup['spec']): SourceRef[] {
  const found: readonly [path: string, ref: { readonly name: string } | undefined][] = [
    ['spec.bootstrap.secretRef', bootstrap.secretRef],
    ['spec.globalCluster.credentialsSecretRef', globalCluster.credentialsSecretRef],
  ];
  return found.flatMap(([path, ref]) => (ref === undefined ? [] : [{ kind: 'Secret', name: ref.name, path }]));
}

export const sourceKey = ({ kind, name }: Pick<SourceRef, 'kind' | 'name'>): string => `${kind}/${name}`;

/** @param texts of all that sourceRefs names, by sourceKey. */
export function takeSources(group: PostgresGroup, texts: ReadonlyMap<string, SourceTexts>): TakenSources {
  const missing = sourceRefs(group).filter((ref) => (texts.get(sourceKey(ref)) ?? null) === null);
  if (missing.length > 0) {
    const list = missing.map(({ kind, name, path }) => `${kind} "${name}" (${path})`).join(', ');
    const { namespace } = group.metadata;
    return refused('SourceMissing', `Not found in namespace "${namespace}": ${list}; make it, or take the field out`);
  }
  const problems: string[] = [];
  const { configMapRef } = group.spec.postgresql;
  let merged = group;
  if (configMapRef !== undefined) {
    try {
      merged = withConfigMap(group, texts.get(sourceKey({ kind: 'ConfigMap', name: configMapRef.name })) ?? {});
      problems.push(...findProblems([merged]).map(problemLine));
    } catch (error) {
      if (!(error instanceof ManifestError)) throw error;
      problems.push(...error.problems.map(problemLine));
    }
  }
  const app = ownerLogin(group, texts, problems);
  const rolePasswords = passwordsOf(group, texts, problems);
  if (problems.length > 0) return refused('Invalid', problems.join('\n'));
  return { kind: 'accepted', group: merged, app, rolePasswords };
}

function ownerLogin(group: PostgresGroup, texts: ReadonlyMap<string, SourceTexts>, problems: string[]): Login | null {
  const [ref] = credentialsRefs(group.spec);
  if (ref === undefined) return null;
  const secret = texts.get(sourceKey(ref)) ?? {};
  const { owner } = resolveShared([group]).bootstrap;
  const username = secret.username ?? owner;
  if (username !== owner)
    problems.push(
      `${group.metadata.name}: ${ref.path} (${ref.name}): found username "${username}"; accepted: "${owner}", or set spec.bootstrap.owner to it`,
    );
  return { username: owner, password: password(group, ref.path, ref.name, secret, problems) };
}

function passwordsOf(
  group: PostgresGroup,
  texts: ReadonlyMap<string, SourceTexts>,
  problems: string[],
): Record<string, string> {
  const entries = group.spec.roles.flatMap(({ name, secretRef }, index): [string, string][] => {
    if (secretRef === undefined) return [];
    const secret = texts.get(sourceKey({ kind: 'Secret', name: secretRef.name })) ?? {};
    return [[name, password(group, `spec.roles[${index}].secretRef`, secretRef.name, secret, problems)]];
  });
  return Object.fromEntries(entries);
}

/** A line break at its end is what `kubectl create secret --from-file` of a text file leaves there. */
function password(
  group: PostgresGroup,
  path: string,
  name: string,
  secret: Readonly<Record<string, string>>,
  problems: string[],
): string {
  const text = (secret.password ?? '').replace(/\r?\n$/, '');
  if (text === '' || /[\r\n\0]/.test(text))
    problems.push(
      `${group.metadata.name}: ${path} (${name}): ${text === '' ? 'it has no password' : 'its password has more than one line'}; accepted: a key "password" with one line`,
    );
  return text;
}

function refused(reason: 'Invalid' | 'SourceMissing', message: string): TakenSources {
  return { kind: 'refused', reason, message };
}
