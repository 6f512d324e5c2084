/**
 * The program `pgspan`: one of the programs that platforms run (programs.ts), or a command that a person typed (command-line.ts).
 *
 * Each is loaded only when it is meant: an agent must not carry the command line for weeks, and a command must start fast.
 */
import { enableCompileCache } from 'node:module';
import { join } from 'node:path';
import { cacheFolder, isBundled } from '../platform/cache-folder.ts';
import { findProgram, runProgram } from './programs.ts';

const program = findProgram(process.argv.slice(2));
if (program !== null) {
  await runProgram(program.name, program.words);
} else {
  // Types stripped and code compiled once: a start from sources takes half the time.
  if (!isBundled()) enableCompileCache(join(cacheFolder(), 'compile'));
  const { runCommandLine } = await import('./command-line.ts');
  process.exitCode = await runCommandLine(process.argv.slice(2));
}
