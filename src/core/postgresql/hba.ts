/**
 * pg_hba.conf and pg_ident.conf of a group. First match wins, so the order is: ours, the user's, everybody by SCRAM.
 *
 * No rule depends on a name that DNS must answer (requirement E4), and no plaintext connection is let in.
 */
import { REPLICATION_USER, SUPERUSER } from '../topology/names.ts';

/** Map of pg_ident.conf that lets the agent's system user in as superuser, over the local socket only. */
export const LOCAL_MAP = 'pgspan';

export interface HbaInput {
  readonly userLines: readonly string[];
  readonly enableSuperuserAccess: boolean;
}

export function planHba({ userLines, enableSuperuserAccess }: HbaInput): string[] {
  return [
    hbaLine('local', 'all', SUPERUSER, '', `peer map=${LOCAL_MAP}`),
    // `cert` verifies the chain and that the certificate's CN is the user; nobody else may be that user.
    hbaLine('hostssl', 'replication', REPLICATION_USER, 'all', 'cert clientcert=verify-full'),
    // pg_rewind reads the source's files over an ordinary connection.
    hbaLine('hostssl', SUPERUSER, REPLICATION_USER, 'all', 'cert clientcert=verify-full'),
    hbaLine('host', 'all,replication', REPLICATION_USER, 'all', 'reject'),
    ...(enableSuperuserAccess ? [hbaLine('hostssl', 'all', SUPERUSER, 'all', 'scram-sha-256')] : []),
    hbaLine('host', 'all,replication', SUPERUSER, 'all', 'reject'),
    ...userLines,
    hbaLine('local', 'all', 'all', '', 'scram-sha-256'),
    hbaLine('hostssl', 'all', 'all', 'all', 'scram-sha-256'),
  ];
}

/** @param osUser system user as which the agent and PostgreSQL run. */
export function planIdent(userLines: readonly string[], osUser: string): string[] {
  return [`${LOCAL_MAP} ${osUser} ${SUPERUSER}`, ...userLines];
}

function hbaLine(type: string, database: string, user: string, address: string, method: string): string {
  return `${type.padEnd(8)}${database.padEnd(16)}${user.padEnd(18)}${address.padEnd(4)}${method}`;
}
