/**
 * Installs what the tests need and this machine lacks, where we may: PostgreSQL as every verb does it, and, as root on a system
 * with apt-get, the small programs that faults and certificates are made with. Elsewhere the tests that need them say so.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, rmSync, writeFileSync } from 'node:fs';
import { ensurePostgres } from '../src/platform/postgres-package.ts';

/** Debian package by the program that it brings. */
const PACKAGES: Readonly<Record<string, string>> = {
  etcd: 'etcd-server',
  nft: 'nftables',
  ip: 'iproute2',
  openssl: 'openssl',
  psql: 'postgresql-client',
  unshare: 'util-linux',
  'mkfs.ext4': 'e2fsprogs',
  git: 'git',
  ps: 'procps',
};

/** Says no to every service that a package wants to start while it is installed (Debian policy 9.3.3). */
const POLICY_FILE = '/usr/sbin/policy-rc.d';

export async function prepareMachine(): Promise<void> {
  const missing = Object.entries(PACKAGES).flatMap(([program, name]) => (isOnPath(program) ? [] : [name]));
  if (missing.length > 0 && process.getuid?.() === 0 && isOnPath('apt-get')) aptInstall(missing);
  try {
    await ensurePostgres({ assumeYes: false, onProgress: (line) => console.error(`pgspan: ${line}`) });
  } catch (error) {
    console.error(`pgspan: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function aptInstall(packages: readonly string[]): void {
  console.error(`pgspan: installing ${packages.join(', ')} for the tests`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const mayStart = existsSync(POLICY_FILE);
  if (!mayStart) {
    writeFileSync(POLICY_FILE, '#!/bin/sh\nexit 101\n');
    chmodSync(POLICY_FILE, 0o755);
  }
  try {
    spawnSync('apt-get', ['update', '-q'], { env, stdio: ['ignore', 'ignore', 'inherit'] });
    // One at a time: a package that this release has not must not keep the others away.
    for (const name of packages) {
      const words = ['install', '-q', '-y', '--no-install-recommends', name];
      spawnSync('apt-get', words, { env, stdio: ['ignore', 'ignore', 'inherit'] });
    }
  } finally {
    if (!mayStart) rmSync(POLICY_FILE, { force: true });
  }
}

function isOnPath(program: string): boolean {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin'];
  return folders.some((folder) => folder !== '' && existsSync(`${folder}/${program}`));
}
