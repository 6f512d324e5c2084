/** `pgspan doctor`: every edge, from where it begins, and what is wrong in words: names, ports, certificates, logins, clocks. */
import { Command } from 'commander';
import type { DoctorFacts } from '../core/connectivity/doctor-facts.ts';
import { type AccessFlags, addContextsOptions, outputOption, printValue, withCluster } from './cluster-access.ts';
import { doctorReport, formatDoctor } from './doctor-text.ts';
import { EXIT_CODE } from './exit-codes.ts';

const EXAMPLES = `
Every node and every proxy tries its own edges, with its own resolver and certificates; clients' edges are tried from here, and on
Kubernetes from a pod as well. What a finding means: docs/doctor.md.

Examples:
  pgspan doctor                 what is wrong, and how many edges were tried
  pgspan doctor --all           every edge: name, address, round-trip time, what was reached
  pgspan doctor -o json         all facts: resolver, certificate and every step of each edge

The exit code is 1 if something is wrong that is more than a warning.`;

export function doctorCommand(): Command {
  const command = new Command('doctor')
    .description('Examine every edge: names, reachability, handshake, certificate, authentication; say what to change.')
    .option('-a, --all', 'show every edge')
    .addOption(outputOption(['json', 'yaml'], 'every edge and step in this form'))
    .addHelpText('after', EXAMPLES)
    .action(async (flags: AccessFlags & { all?: boolean; output?: 'json' | 'yaml' }) => {
      const { examineEdges } = await import('../platform/examine-edges.ts');
      const facts: DoctorFacts = await withCluster(flags, examineEdges);
      const report = doctorReport(facts);
      if (!report.ok) process.exitCode = EXIT_CODE.failed;
      if (flags.output !== undefined) return printValue(report, flags.output);
      process.stdout.write(`${formatDoctor(report, { all: flags.all ?? false })}\n`);
    });
  return addContextsOptions(command);
}
