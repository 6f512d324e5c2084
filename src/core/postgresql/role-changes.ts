/**
 * From the roles that are asked for and those that are there to the statements between them (requirement A10). A role that is
 * no longer asked for stays: it may own data.
 */
import { isPasswordOf, scramVerifier } from './scram.ts';

export interface WantedRole {
  readonly name: string;
  /** As in CREATE ROLE, such as `CREATEDB` and `NOINHERIT`; what is not named is as PostgreSQL has it for a new role. null: left alone. */
  readonly attributes: readonly string[] | null;
  /** `none`: no login by password; `keep`: not known now, left alone. */
  readonly password:
    | { readonly kind: 'is'; readonly text: string }
    | { readonly kind: 'none' }
    | { readonly kind: 'keep' };
}

/** A row of pg_authid. */
export interface FoundRole {
  readonly name: string;
  /** Those that it has, such as `LOGIN` and `INHERIT`. */
  readonly attributes: readonly string[];
  /** Its verifier; null: none. */
  readonly password: string | null;
}

export interface RoleChange {
  readonly role: string;
  /** For the log: never a password. */
  readonly summary: string;
  /** Holds at most a verifier. */
  readonly sql: string;
}

/** Columns of pg_authid, in the order of the manual. */
export const ROLE_ATTRIBUTES = {
  SUPERUSER: 'rolsuper',
  CREATEDB: 'rolcreatedb',
  CREATEROLE: 'rolcreaterole',
  INHERIT: 'rolinherit',
  LOGIN: 'rolcanlogin',
  REPLICATION: 'rolreplication',
  BYPASSRLS: 'rolbypassrls',
} as const;
type Attribute = keyof typeof ROLE_ATTRIBUTES;
const NAMES = Object.keys(ROLE_ATTRIBUTES) as Attribute[];
/** What CREATE ROLE gives without a word. */
const BY_DEFAULT: readonly string[] = ['INHERIT'];

/** @param newSalt a fresh one for each call */
export function decideRoleChanges(
  wanted: readonly WantedRole[],
  found: readonly FoundRole[],
  newSalt: () => Buffer,
): RoleChange[] {
  return wanted.flatMap((role) => {
    const present = found.find(({ name }) => name === role.name);
    const words = [...attributeWords(role, present), ...passwordWords(role, present, newSalt)];
    if (present !== undefined && words.length === 0) return [];
    const verb = present === undefined ? 'CREATE' : 'ALTER';
    const shown = words.map((word) => (word.startsWith('PASSWORD') ? 'PASSWORD' : word)).join(' ');
    return [
      {
        role: role.name,
        summary: `${verb} ROLE ${role.name} ${shown}`.trimEnd(),
        sql: `${verb} ROLE "${role.name.replaceAll('"', '""')}"${words.length === 0 ? '' : ` WITH ${words.join(' ')}`}`,
      },
    ];
  });
}

function attributeWords({ attributes }: WantedRole, present: FoundRole | undefined): string[] {
  if (attributes === null) return [];
  const before = present?.attributes ?? BY_DEFAULT;
  return NAMES.flatMap((name) => {
    const isWanted = attributes.includes(name) || (BY_DEFAULT.includes(name) && !attributes.includes(`NO${name}`));
    if (isWanted === before.includes(name)) return [];
    return [isWanted ? name : `NO${name}`];
  });
}

function passwordWords({ password }: WantedRole, present: FoundRole | undefined, newSalt: () => Buffer): string[] {
  const stored = present?.password ?? null;
  switch (password.kind) {
    case 'keep':
      return [];
    case 'none':
      return stored === null ? [] : ['PASSWORD NULL'];
    case 'is':
      if (stored !== null && isPasswordOf(stored, password.text)) return [];
      return [`PASSWORD '${scramVerifier(password.text, newSalt())}'`];
  }
}
