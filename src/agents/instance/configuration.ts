/**
 * PostgreSQL's configuration files, written outside the data directory: the plan's settings, and the few that change with the
 * leader. Rendering is pure; `ConfigurationFiles` writes what differs and says so.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { InstanceConfig } from '../../api/agent-config.ts';
import { readFileIfPresent, writeFileAtomically, writeFileDurably } from '../../base/durable-file.ts';
import { Mutex } from '../../base/mutex.ts';
import { raisedForStandby } from '../../core/postgresql/standby-floors.ts';

/**
 * Without a leader there is nothing to fetch: how long PostgreSQL waits before it looks again. Not for one that is to be promoted: its
 * startup process misses the signal at times while it loads its settings, and then sees it when this wait ends.
 */
const LEADERLESS_RETRY_INTERVAL = '5s';

/** What the agent sets beside the plan. */
export interface DynamicSettings {
  readonly synchronousStandbyNames: string;
  /** '' while there is no leader to stream from. */
  readonly primaryConninfo: string;
  readonly primarySlotName: string;
  /** It is a primary, or is about to be promoted. */
  readonly isPrimary: boolean;
}

export function renderPostgresqlConf(config: InstanceConfig, dynamic: DynamicSettings, folder: string): string {
  const settings: Record<string, string> = {
    ...config.postgresql.parameters,
    listen_addresses: config.listen.address ?? '*',
    port: String(config.listen.postgresPort),
    unix_socket_directories: config.paths.runtimeDirectory,
    hba_file: join(folder, 'pg_hba.conf'),
    ident_file: join(folder, 'pg_ident.conf'),
    ssl: 'on',
    ssl_cert_file: config.tls.certFile,
    ssl_key_file: config.tls.keyFile,
    ssl_ca_file: config.tls.caFile,
    synchronous_standby_names: dynamic.synchronousStandbyNames,
    primary_conninfo: dynamic.primaryConninfo,
    primary_slot_name: dynamic.primarySlotName,
    // Without a leader to ask, each try is a line in the log; a reload that names one ends the pause at once.
    ...(dynamic.primaryConninfo === '' && !dynamic.isPrimary
      ? { wal_retrieve_retry_interval: LEADERLESS_RETRY_INTERVAL }
      : {}),
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name} = ${quoteSetting(value)}`);
  return `# Written by pgspan for node ${config.node}; changes here are lost. Set spec.postgresql.parameters instead.\n${lines.join('\n')}\n`;
}

const ESCAPES: Readonly<Record<string, string>> = {
  '\\': '\\\\',
  "'": "''",
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\b': '\\b',
  '\f': '\\f',
};
const UNESCAPES = Object.fromEntries(Object.entries(ESCAPES).map(([plain, escaped]) => [escaped, plain]));

/**
 * As GUC_scanstr of PostgreSQL's guc-file.l reads it, which knows C's escapes beside the doubled quote of
 * https://www.postgresql.org/docs/current/config-setting.html#CONFIG-SETTING-CONFIGURATION-FILE; a line break would end the value.
 */
function quoteSetting(value: string): string {
  return `'${value.replaceAll(/[\\'\n\r\t\b\f]/g, (character) => ESCAPES[character] as string)}'`;
}

/** A value that quoteSetting wrote, or '' if the text has none of this name. */
function readSetting(text: string, name: string): string {
  const line = text.split('\n').find((one) => one.startsWith(`${name} = '`)) ?? '';
  const quoted = line.slice(name.length + " = '".length, -1);
  return quoted.replaceAll(/\\[\\nrtbf]|''/g, (escape) => UNESCAPES[escape] as string);
}

/** Quotes a value of a conninfo string: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-KEYWORD-VALUE. */
export function formatConninfo(values: Readonly<Record<string, string>>): string {
  return Object.entries(values)
    .map(([name, value]) => `${name}='${value.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`)
    .join(' ');
}

/** What the running server makes of synchronous_standby_names in the file. */
export interface RequiredSetting {
  /** The postmaster hands it to new processes. */
  readonly isLoaded: boolean;
  /** Commits wait, if there is anything to wait for: a reload from '' is not enough, the checkpointer must have come by. */
  readonly isArmed: boolean;
}

/**
 * Written anew at each start of the server, so a power loss cannot leave a stale file behind that matters; but what a leader
 * requires of its standbys is read back at its next start (`restore`), and is on the disk before anybody relies on it.
 */
export class ConfigurationFiles {
  readonly #folder: string;
  /** The loop, a change of members and a reload may write at one time. */
  readonly #mutex = new Mutex();
  #floors: Readonly<Record<string, number>> = {};
  #dynamic: DynamicSettings = {
    synchronousStandbyNames: '',
    primaryConninfo: '',
    primarySlotName: '',
    isPrimary: false,
  };
  #required: RequiredSetting = { isLoaded: false, isArmed: false };

  constructor(stateDirectory: string) {
    this.#folder = join(stateDirectory, 'postgresql');
  }

  /** What the file says: as it was written last, or restored. */
  get dynamic(): DynamicSettings {
    return this.#dynamic;
  }

  /** How far the running server is with `dynamic.synchronousStandbyNames`. */
  get required(): RequiredSetting {
    return this.#required;
  }

  /** @param setting the value of which this is so: another may have been written meanwhile */
  setRequired(setting: string, state: Partial<RequiredSetting>): void {
    if (setting === this.#dynamic.synchronousStandbyNames) this.#required = { ...this.#required, ...state };
  }

  /** From the next `write` on: a standby runs with no less than what its leader had (core/postgresql/standby-floors.ts). */
  keepAtLeast(floors: Readonly<Record<string, number>>): void {
    this.#floors = floors;
  }

  #raised(config: InstanceConfig): InstanceConfig {
    const { parameters } = config.postgresql;
    const raised = raisedForStandby(parameters, this.#floors);
    return { ...config, postgresql: { ...config.postgresql, parameters: { ...parameters, ...raised } } };
  }

  /** A server that starts reads the file, and its checkpointer begins with what it says. */
  serverStarts(): void {
    this.#required = { isLoaded: true, isArmed: true };
  }

  get configFile(): string {
    return join(this.#folder, 'postgresql.conf');
  }

  /** Takes up what an earlier process wrote, so that a change of the plan does not relax it: a server may run by it. */
  async restore(): Promise<void> {
    const text = (await readFileIfPresent(this.configFile)) ?? '';
    const primaryConninfo = readSetting(text, 'primary_conninfo');
    const isLeaderless = readSetting(text, 'wal_retrieve_retry_interval') === LEADERLESS_RETRY_INTERVAL;
    this.#dynamic = {
      synchronousStandbyNames: readSetting(text, 'synchronous_standby_names'),
      primaryConninfo,
      primarySlotName: readSetting(text, 'primary_slot_name'),
      isPrimary: text !== '' && primaryConninfo === '' && !isLeaderless,
    };
    this.#required = { isLoaded: false, isArmed: false };
  }

  /**
   * True if something changed, so that a running server must reload. When it throws (disk full), `dynamic` stays what it was.
   * @param change what is to differ from `dynamic` as it is at the moment of writing
   */
  async write(config: InstanceConfig, change: Partial<DynamicSettings>): Promise<boolean> {
    return await this.#mutex.run(async () => {
      await mkdir(this.#folder, { recursive: true, mode: 0o700 });
      const dynamic = { ...this.#dynamic, ...change };
      const isRequiredAnew = dynamic.synchronousStandbyNames !== this.#dynamic.synchronousStandbyNames;
      const files = {
        'postgresql.conf': renderPostgresqlConf(this.#raised(config), dynamic, this.#folder),
        'pg_hba.conf': `${config.postgresql.hba.join('\n')}\n`,
        'pg_ident.conf': `${config.postgresql.ident.join('\n')}\n`,
      };
      let hasChanged = false;
      for (const [name, content] of Object.entries(files)) {
        const path = join(this.#folder, name);
        if ((await readFileIfPresent(path)) === content) continue;
        await (isRequiredAnew ? writeFileDurably(path, content) : writeFileAtomically(path, content));
        hasChanged = true;
      }
      // From one list to another the wait stays armed; from '' to a list it is not yet.
      if (isRequiredAnew)
        this.#required = {
          isLoaded: false,
          isArmed: this.#required.isArmed && this.#dynamic.synchronousStandbyNames !== '',
        };
      this.#dynamic = dynamic;
      return hasChanged;
    });
  }
}
