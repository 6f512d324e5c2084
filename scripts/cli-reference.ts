/**
 * Writes docs/reference/cli.md, the help of every verb as one page: node scripts/cli-reference.ts
 * test/meta/documents.test.ts fails when it is not current.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { EXIT_CODE, EXIT_CODE_MEANING } from '../src/cli/exit-codes.ts';
import { VERBS } from '../src/cli/verbs.ts';

export const CLI_PAGE = 'docs/reference/cli.md';

/** Columns of the help on the page, whatever terminal it is made in. */
const WIDTH = 100;

export async function cliReferencePage(): Promise<string> {
  // A default that this machine's environment sets is not everybody's.
  for (const name of Object.keys(process.env)) if (name.startsWith('PGSPAN_')) delete process.env[name];
  const verbs = VERBS.filter(({ hidden }) => hidden !== true);
  const sections: string[] = [];
  for (const verb of verbs) sections.push(...helpOf(await verb.load(), `pgspan ${verb.name}`));
  return `# Commands

Made from \`pgspan VERB --help\` by \`npm run docs\`; do not edit.

| verb | |
|---|---|
${verbs.map(({ name, summary }) => `| [\`${name}\`](#pgspan-${name}) | ${summary} |`).join('\n')}

## Exit codes

| code | meaning |
|---|---|
${Object.entries(EXIT_CODE)
  .map(([name, code]) => `| ${code} | ${EXIT_CODE_MEANING[name as keyof typeof EXIT_CODE]} |`)
  .join('\n')}

${sections.join('\n')}`;
}

/** The section of a command, and those of its subcommands. */
function helpOf(command: Command, name: string): string[] {
  let help = '';
  command.configureHelp({ helpWidth: WIDTH });
  command.configureOutput({
    writeOut: (text) => {
      help += text;
    },
  });
  command.outputHelp();
  // A verb that is not yet part of the program calls itself by its own name alone.
  const text = help.trim().replace(/^Usage: \S+/, `Usage: ${name}`);
  return [
    `## ${name}\n\n\`\`\`\n${text}\n\`\`\`\n`,
    ...command.commands.flatMap((nested) => helpOf(nested, `${name} ${nested.name()}`)),
  ];
}

if (import.meta.main) writeFileSync(join(import.meta.dirname, '..', CLI_PAGE), await cliReferencePage());
