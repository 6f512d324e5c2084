/**
 * The programs that platforms run: `pgspan <program> --config FILE`. They are no verbs for people.
 * What each one does is in its own folder; here is how it is started and what its failure to start looks like.
 */
import { dirname } from 'node:path';
import { collectWhenIdle } from '../base/idle-collection.ts';
import { UserError } from '../base/user-error.ts';
import { reportError } from './report-error.ts';

/** By name. Each takes the path of its configuration file, some more words, and returns when it serves, or when it ends. */
const PROGRAMS = {
  instance: async (config: string) => await (await import('../agents/instance/main.ts')).runInstance(config),
  proxy: async (config: string) => await (await import('../agents/proxy/main.ts')).runProxy(config),
  'dns serve': async (config: string) => await (await import('../agents/dns/main.ts')).runDns(config),
  'psql-in-pod': async (config: string, words: readonly string[]) =>
    await (await import('./psql-in-pod.ts')).runPsqlInPod(config, words),
  vantage: async (config: string) => await (await import('./vantage.ts')).runVantage(config),
  /** `--kubeconfig FILE` after it: from outside of a pod. */
  operator: async (config: string, words: readonly string[]) =>
    await (await import('../operator/main.ts')).runOperator({
      configFile: config,
      kubeconfig: words[0] === '--kubeconfig' ? (words[1] ?? null) : null,
    }),
  /** Renews what is due in the local site whose site.json this is, and prints the seconds until it should be run again. */
  'keep-site': async (config: string) => {
    const { keepSite } = await import('../platform/local/keeper.ts');
    process.stdout.write(`${await keepSite(dirname(config))}\n`);
  },
  'record-server': async (config: string) => await (await import('./record-server.ts')).runRecordServer(config),
} as const;

/** Those that take words after their configuration. */
const WITH_WORDS: readonly string[] = ['operator', 'psql-in-pod'];

export type ProgramName = keyof typeof PROGRAMS;

/** The program that a command line names with its first word, or its first two, and the words after it. */
export function findProgram(argv: readonly string[]): { name: ProgramName; words: readonly string[] } | null {
  for (const length of [1, 2]) {
    const name = argv.slice(0, length).join(' ');
    if (Object.hasOwn(PROGRAMS, name)) return { name: name as ProgramName, words: argv.slice(length) };
  }
  return null;
}

/** Runs one. If it cannot start, the reason goes to stderr and the exit code is set. @param words after its name */
export async function runProgram(name: ProgramName, words: readonly string[]): Promise<void> {
  collectWhenIdle();
  try {
    await PROGRAMS[name](configFile(name, words), words.slice(2));
  } catch (error) {
    process.exitCode = reportError(error);
  }
}

function configFile(name: ProgramName, words: readonly string[]): string {
  const [option, file] = words;
  const isComplete = option === '--config' && file !== undefined;
  if (isComplete && (words.length === 2 || WITH_WORDS.includes(name))) return file;
  throw new UserError({
    code: 'PROGRAM_USAGE',
    kind: 'usage',
    message: `Cannot start the program "${name}" with "${words.join(' ')}": it takes --config FILE and nothing else`,
    todo: 'Leave starting it to the platform ("pgspan local up"), or give it the configuration file that the platform wrote',
  });
}
