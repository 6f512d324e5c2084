/**
 * A command that a person typed: finds the verb (src/cli/verbs.ts), loads its file only, runs it, prints its error, and sets the exit code.
 * What a verb does and prints is in the verb's own file.
 */
import { Command, CommanderError } from 'commander';
import packageJson from '../../package.json' with { type: 'json' };
import { EXIT_CODE, EXIT_CODE_MEANING } from './exit-codes.ts';
import { reportError } from './report-error.ts';
import { VERBS, type Verb } from './verbs.ts';

const EXAMPLES = `
Examples:
  pgspan demo                                three groups on this machine, and a failover before your eyes
  pgspan local up -f examples/three-clusters the same three groups, to keep
  pgspan status --watch                      who leads, who follows, how far behind
  pgspan connection -o uri                   a connection string that survives the loss of a cluster
  pgspan switchover --to ait-1               hand the lead over, without a lost write

"pgspan VERB --help" shows the options of a verb, with examples.`;

/** Runs one command line. @param argv words after `pgspan`. @returns the exit code. */
export async function runCommandLine(argv: readonly string[]): Promise<number> {
  // `pgspan status | head -1` is no error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit();
    throw error;
  });
  const program = newProgram();
  const chosen = chosenVerb(argv);
  for (const verb of VERBS) {
    const command = verb === chosen ? await verb.load() : new Command(verb.name);
    command.summary(verb.summary);
    if (command.description() === '') command.description(sentence(verb.summary));
    program.addCommand(settle(command), { hidden: verb.hidden ?? false });
  }
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return typeof process.exitCode === 'number' ? process.exitCode : EXIT_CODE.ok;
  } catch (error) {
    // commander has already printed its message; its exit codes know only 0 and 1.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_CODE.ok : EXIT_CODE.usage;
    return reportError(error);
  }
}

function newProgram(): Command {
  return settle(new Command('pgspan'))
    .description(`${packageJson.description}.`)
    .version(packageJson.version)
    .helpCommand('help [verb]', 'show the help of a verb')
    .addHelpText('after', () => `${EXAMPLES}\n\nExit codes:\n${exitCodeLines()}`);
}

/** One behaviour for every command, nested ones included: throw instead of exit, suggest, list subcommands by their summary. */
function settle(command: Command): Command {
  command.exitOverride().showSuggestionAfterError(true);
  command.showHelpAfterError('  What to do: add --help for the options and examples');
  command.configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'pgspan: ')) });
  command.configureHelp({ helpWidth: Math.min(process.stdout.columns ?? 100, 120) });
  for (const nested of command.commands) settle(nested);
  return command;
}

/** The verb that a command line names: its first word that is no option, or the one after `help`. */
function chosenVerb(argv: readonly string[]): Verb | undefined {
  const words = argv.filter((word) => !word.startsWith('-'));
  const name = words[0] === 'help' ? words[1] : words[0];
  return VERBS.find((verb) => verb.name === name);
}

function exitCodeLines(): string {
  return Object.entries(EXIT_CODE)
    .map(([name, code]) => `  ${String(code).padEnd(4)} ${EXIT_CODE_MEANING[name as keyof typeof EXIT_CODE]}`)
    .join('\n');
}

function sentence(summary: string): string {
  return `${summary.charAt(0).toUpperCase()}${summary.slice(1)}.`;
}
