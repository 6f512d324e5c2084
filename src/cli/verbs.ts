/**
 * The table of verbs. A new verb is one file, `src/cli/<verb>.ts`, that exports `<verb>Command(): Command`,
 * and one line here. Only the file of the verb that was typed is loaded, so that every command starts fast:
 * keep heavy imports out of this file and out of command-line.ts.
 * What platforms run is in programs.ts.
 */
import type { Command } from 'commander';

export interface Verb {
  readonly name: string;
  /** One line, as `pgspan --help` and the completion show it. */
  readonly summary: string;
  /** True for what is no command for people. */
  readonly hidden?: boolean;
  readonly load: () => Promise<Command>;
}

export const VERBS: readonly Verb[] = [
  // People's verbs, in the order in which a newcomer meets them.
  {
    name: 'demo',
    summary: 'three groups on this machine, and a failover before your eyes',
    load: async () => (await import('./demo.ts')).demoCommand(),
  },
  {
    name: 'local',
    summary: 'run a global cluster on this machine, and break it on purpose',
    load: async () => (await import('./local.ts')).localCommand(),
  },
  {
    name: 'init',
    summary: 'write the manifests of a topology',
    load: async () => (await import('./init.ts')).initCommand(),
  },
  {
    name: 'plan',
    summary: 'show what manifests lead to, before anything starts',
    load: async () => (await import('./plan.ts')).planCommand(),
  },
  {
    name: 'status',
    summary: 'show who leads, who follows, and what may be lost',
    load: async () => (await import('./status.ts')).statusCommand(),
  },
  {
    name: 'connection',
    summary: 'print how to connect',
    load: async () => (await import('./connection.ts')).connectionCommand(),
  },
  {
    name: 'psql',
    summary: 'open psql on the leader, a read node or a node',
    load: async () => (await import('./psql.ts')).psqlCommand(),
  },
  {
    name: 'logs',
    summary: 'print what programs have said',
    load: async () => (await import('./logs.ts')).logsCommand(),
  },
  {
    name: 'switchover',
    summary: 'hand the lead over, without a lost write',
    load: async () => (await import('./switchover.ts')).switchoverCommand(),
  },
  {
    name: 'failover',
    summary: 'make a node the leader although writes may be lost',
    load: async () => (await import('./failover.ts')).failoverCommand(),
  },
  {
    name: 'record',
    summary: 'put the record of who leads back, after the loss of what the coordination service held',
    load: async () => (await import('./record.ts')).recordCommand(),
  },
  {
    name: 'doctor',
    summary: 'examine every edge: name, reachability, handshake, certificate, login',
    load: async () => (await import('./doctor.ts')).doctorCommand(),
  },
  {
    name: 'dns',
    summary: 'print rules for CoreDNS, and records for the zone outside',
    load: async () => (await import('./dns.ts')).dnsCommand(),
  },
  {
    name: 'invite',
    summary: 'print a token with which a group of another cluster may join; list and withdraw those',
    load: async () => (await import('./invite.ts')).inviteCommand(),
  },
  {
    name: 'join',
    summary: 'let a group join the global cluster that a token invites it to',
    load: async () => (await import('./join.ts')).joinCommand(),
  },
  {
    name: 'install',
    summary: 'print what a Kubernetes cluster needs before the first group',
    load: async () => (await import('./install.ts')).installCommand(),
  },
  {
    name: 'completion',
    summary: 'print the completion script for bash or zsh',
    load: async () => (await import('./completion.ts')).completionCommand(),
  },
  {
    name: 'candidates',
    summary: 'say what could complete a command line; for the completion scripts',
    hidden: true,
    load: async () => (await import('./completion.ts')).candidatesCommand(),
  },
];
