/**
 * Keeps the roles of the manifest as they are asked for, and the passwords of the owner and the superuser as their files say.
 * On the leader only, when clients are let in and when configuration or a file changes; the others get it by replication.
 */
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import type { InstanceConfig } from '../../api/agent-config.ts';
import {
  decideRoleChanges,
  type FoundRole,
  ROLE_ATTRIBUTES,
  type WantedRole,
} from '../../core/postgresql/role-changes.ts';
import { SCRAM_SALT_BYTES } from '../../core/postgresql/scram.ts';
import { SUPERUSER } from '../../core/topology/names.ts';
import type { NodeContext } from './node-context.ts';

/** After a failure, such as a full disk or a password that PostgreSQL refuses. */
const RETRY_MS = 10_000;
const STATEMENT_TIMEOUT_MS = 10_000;
const PASSWORD_BYTES_MAX = 4096;

type KeeperNode = Pick<NodeContext, 'config' | 'sql' | 'log'>;

export class RoleKeeper {
  readonly #node: KeeperNode;
  readonly #isLeading: () => boolean;
  #isRunning = false;
  #isAskedAgain = false;
  #retry: NodeJS.Timeout | null = null;
  #lastProblem = '';

  /** @param isLeading this node leads and is open for clients */
  constructor(node: KeeperNode, isLeading: () => boolean) {
    this.#node = node;
    this.#isLeading = isLeading;
  }

  /** Soon, and once for several calls. Never throws. */
  keep(): void {
    this.#isAskedAgain = true;
    if (!this.#isRunning) void this.#run();
  }

  stop(): void {
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#retry = null;
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    try {
      while (this.#isAskedAgain && this.#isLeading()) {
        this.#isAskedAgain = false;
        await this.#keepOnce();
        this.#lastProblem = '';
      }
    } catch (error) {
      const { message } = error as Error;
      if (message !== this.#lastProblem) this.#node.log.warn({ error: message }, 'roles not kept, tried again');
      this.#lastProblem = message;
      this.stop();
      this.#retry = setTimeout(() => this.keep(), RETRY_MS);
    } finally {
      this.#isAskedAgain = false;
      this.#isRunning = false;
    }
  }

  async #keepOnce(): Promise<void> {
    const { config, sql, log } = this.#node;
    const wanted = await wantedRoles(config);
    const found = await sql.query<{ name: string; password: string | null } & Record<string, unknown>>(
      `select rolname as name, rolpassword as password, ${Object.values(ROLE_ATTRIBUTES).join(', ')}
       from pg_catalog.pg_authid where rolname = any($1)`,
      [wanted.map(({ name }) => name)],
    );
    const changes = decideRoleChanges(wanted, found.map(foundRole), () => randomBytes(SCRAM_SALT_BYTES));
    for (const { summary, sql: statement } of changes) {
      await sql.run(statement, { timeoutMs: STATEMENT_TIMEOUT_MS });
      log.info({ change: summary }, 'role changed');
    }
  }
}

function foundRole(row: { name: string; password: string | null } & Record<string, unknown>): FoundRole {
  const attributes = Object.entries(ROLE_ATTRIBUTES).flatMap(([name, column]) => (row[column] === true ? [name] : []));
  return { name: row.name, password: row.password, attributes };
}

async function wantedRoles({ bootstrap, roles }: InstanceConfig): Promise<WantedRole[]> {
  const { owner, ownerPasswordFile, superuserPasswordFile } = bootstrap;
  const superuser: WantedRole['password'] =
    superuserPasswordFile === null ? { kind: 'none' } : await passwordIn(superuserPasswordFile);
  const declared = await Promise.all(
    roles.map(async ({ name, attributes, passwordFile }): Promise<WantedRole> => {
      const password: WantedRole['password'] =
        passwordFile === null ? { kind: 'none' } : await passwordIn(passwordFile);
      return { name, attributes, password };
    }),
  );
  return [
    { name: owner, attributes: null, password: await passwordIn(ownerPasswordFile) },
    { name: SUPERUSER, attributes: null, password: superuser },
    ...declared,
  ];
}

/** A Secret may not be there yet: then the role has what it had. */
async function passwordIn(path: string): Promise<WantedRole['password']> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  const password = text?.replace(/\r?\n$/, '') ?? '';
  if (password === '') return { kind: 'keep' };
  if (Buffer.byteLength(password) > PASSWORD_BYTES_MAX || /[\r\n\0]/.test(password))
    throw new Error(`Cannot use the password in "${path}": it is too long or has more than one line`);
  return { kind: 'is', text: password };
}
