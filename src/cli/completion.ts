/**
 * `pgspan completion bash|zsh`: prints a script that asks pgspan itself (`pgspan candidates`), so that it never goes stale.
 */
import { Argument, Command, type Option } from 'commander';
import { VERBS } from './verbs.ts';

const SCRIPTS = {
  bash: `_pgspan() {
  local IFS=$'\\n'
  COMPREPLY=($("\${COMP_WORDS[0]}" candidates -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f 1))
}
complete -o default -F _pgspan pgspan
`,
  zsh: `#compdef pgspan
_pgspan() {
  local -a found
  found=("\${(@f)$("\${words[1]}" candidates -- "\${(@)words[2,CURRENT]}" 2>/dev/null | sed 's/:/\\\\:/g; s/\\t/:/')}")
  if [[ -n "\${found[1]}" ]]; then _describe pgspan found; else _files; fi
}
if [ "\${funcstack[1]}" = _pgspan ]; then _pgspan "$@"; else compdef _pgspan pgspan; fi
`,
} as const;

export function completionCommand(): Command {
  return new Command('completion')
    .description('Print a completion script: verbs, options and their values.')
    .addArgument(new Argument('<shell>', 'whose script to print').choices(Object.keys(SCRIPTS)))
    .addHelpText(
      'after',
      `
Examples:
  source <(pgspan completion bash)                    in this shell
  pgspan completion bash >~/.local/share/bash-completion/completions/pgspan
  pgspan completion zsh >"\${fpath[1]}/_pgspan"`,
    )
    .action((shell: keyof typeof SCRIPTS) => void process.stdout.write(SCRIPTS[shell]));
}

/** `pgspan candidates -- WORD...`: what could stand for the last of the words, one a line: the word, a tab, its meaning. Hidden. */
export function candidatesCommand(): Command {
  return new Command('candidates').argument('[words...]').action(async (words: string[]) => {
    const found = await candidates(words);
    process.stdout.write(found.map(({ word, meaning }) => `${word}\t${meaning}\n`).join(''));
  });
}

export interface Candidate {
  readonly word: string;
  readonly meaning: string;
}

/** @param words after `pgspan`; the last one, which may be empty, is being typed. None found: a file may be meant. */
export async function candidates(words: readonly string[]): Promise<Candidate[]> {
  const typed = words.at(-1) ?? '';
  const before = words.slice(0, -1);
  const name = before.find((word) => !word.startsWith('-'));
  const all = name === undefined ? verbs() : await withinVerb(name, before.slice(before.indexOf(name) + 1), typed);
  return all.filter(({ word }) => word.startsWith(typed));
}

function verbs(): Candidate[] {
  return VERBS.filter(({ hidden }) => hidden !== true).map(({ name, summary }) => ({ word: name, meaning: summary }));
}

async function withinVerb(name: string, before: readonly string[], typed: string): Promise<Candidate[]> {
  let command = await VERBS.find((verb) => verb.name === name)?.load();
  if (command === undefined) return [];
  for (const word of before) {
    const nested: Command | undefined = command.commands.find((each) => each.name() === word);
    if (nested !== undefined) command = nested;
  }
  const awaited = awaitedOption(command, before.at(-1));
  if (awaited !== undefined) return (awaited.argChoices ?? []).map((word) => ({ word, meaning: awaited.description }));
  if (typed.startsWith('-')) return optionsOf(command);
  if (command.commands.length > 0)
    return command.commands.map((each) => ({ word: each.name(), meaning: each.description() }));
  const [argument] = command.registeredArguments;
  return (argument?.argChoices ?? []).map((word) => ({ word, meaning: argument?.description ?? '' }));
}

/** The option whose value is being typed, if the word before it is one that takes a value. */
function awaitedOption(command: Command, word: string | undefined): Option | undefined {
  if (word === undefined) return undefined;
  return command.options.find(
    ({ short, long, required, optional }) => (short === word || long === word) && (required || optional),
  );
}

function optionsOf(command: Command): Candidate[] {
  const own = command.options.filter(({ hidden }) => !hidden);
  return [
    ...own.map(({ long, short, description }) => ({ word: long ?? short ?? '', meaning: description })),
    { word: '--help', meaning: 'show the options, with examples' },
  ];
}
