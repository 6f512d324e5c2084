import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { after, test } from 'node:test';
import { needs } from '../../../test/kit/requirement.ts';
import { waitUntil } from '../../base/wait-until.ts';
import { findSiteProcesses, MARKER_VARIABLE, readProcess, type SiteMarks, signalProcess } from './processes.ts';

const folder = mkdtempSync('/tmp/pgspan-processes-');
const marks: SiteMarks = {
  siteId: 'ab000001',
  nodes: [{ name: 'leo-1', dataDirectory: folder, runtimeDirectory: folder }],
};
const children: ChildProcess[] = [];
after(() => {
  for (const child of children) if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  rmSync(folder, { recursive: true });
});

function start(script: string, options: { marker?: string; cwd?: string }): number {
  const child = spawn('/bin/sh', ['-c', script], {
    detached: true,
    stdio: 'ignore',
    cwd: options.cwd ?? '/',
    env: { PATH: '/usr/bin:/bin', ...(options.marker === undefined ? {} : { [MARKER_VARIABLE]: options.marker }) },
  });
  children.push(child);
  return child.pid as number;
}

const partsOf = (pid: number) =>
  findSiteProcesses(marks)
    .filter((one) => one.pid === pid || one.parentPid === pid)
    .map(({ part }) => part);

test('a marked process is found, and so is a child that has no mark of its own', needs('loopback'), async () => {
  const pid = start(`env -i sleep 60 & wait`, { marker: 'ab000001/leo-proxy-1' });
  const parts = await waitUntil('the child runs', { timeoutMs: 5000 }, () => {
    const found = partsOf(pid);
    return found.length === 2 && found;
  });
  assert.deepEqual(parts, ['leo-proxy-1', 'leo-proxy-1']);
});

test("another site's process and a person's shell in the data directory are not found", needs('loopback'), async () => {
  const other = start('sleep 60; :', { marker: 'ab000002/leo-1/agent' });
  const person = start('sleep 60; :', { cwd: folder });
  await waitUntil('both run', { timeoutMs: 5000 }, () => readProcess(person)?.workingDirectory === folder);
  assert.deepEqual([...partsOf(other), ...partsOf(person)], []);
});

test('a signal for a process that has ended does not reach the next one of its pid', needs('loopback'), () => {
  const pid = start('sleep 60; :', {});
  const now = readProcess(pid);
  assert.ok(now);
  assert.equal(signalProcess({ pid, startTicks: now.startTicks - 1 }, 'SIGKILL'), false);
  assert.equal(signalProcess(now, 'SIGKILL'), true);
});
