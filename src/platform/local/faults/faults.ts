/**
 * The fault verbs of a local site. Each takes a target (targets.ts), is idempotent, and leaves in the site's state what
 * later commands must know to undo it. Call them under the site's lock.
 */
import { UserError } from '../../../base/user-error.ts';
import { changeSite, type LocalSite, marksOf, processesOf, volumeOf } from '../site.ts';
import type { SiteFaults, SiteNode } from '../site-state.ts';
import { assertOwnFileSystem, fillDisk, freeDisk, hastenDisk, type SlowDiskShape, slowDisk } from './disks.ts';
import { applyCuts, assertCutPossible } from './packets.ts';
import { freezeProcesses, killProcesses, thawProcesses } from './signals.ts';
import { type FaultTarget, isCoveredBy, isPartOfTarget, nodesOf, parseTarget } from './targets.ts';

/** SIGKILL. @returns how many processes. They stay dead until `pgspan local up`. */
export function killTarget(site: LocalSite, target: FaultTarget): Promise<number> {
  return killProcesses(() => processesOfTarget(site, target));
}

/** SIGSTOP. @returns how many processes are stopped now. */
export function freezeTarget(site: LocalSite, target: FaultTarget): Promise<number> {
  return freezeProcesses(() => processesOfTarget(site, target));
}

/** SIGCONT. @returns how many processes were stopped. */
export function thawTarget(site: LocalSite, target: FaultTarget): Promise<number> {
  return thawProcesses(() => processesOfTarget(site, target));
}

/** Drops the packets between the target and everything else. Throws UserError CUT_NOT_POSSIBLE. */
export function cutTarget(site: LocalSite, target: FaultTarget): LocalSite {
  assertCutPossible();
  const cut = [...new Set([...site.state.faults.cut, target.name])];
  const changed = changeFaults(site, { cut });
  applyCuts(changed.state);
  return changed;
}

/** Takes all free space of the nodes' disks. Throws UserError DISK_NOT_ITS_OWN, TARGET_HAS_NO_DISK. */
export function fillDiskOf(site: LocalSite, target: FaultTarget): LocalSite {
  const nodes = nodesWithDisk(site, target, 'fill');
  const changed = changeFaults(site, { fullDisk: union(site.state.faults.fullDisk, nodes) });
  for (const node of nodes) fillDisk(node.name, volumeOf(site, node));
  return changed;
}

/** Stalls the nodes' disks again and again. Throws UserError DISK_NOT_ITS_OWN, TARGET_HAS_NO_DISK. */
export function slowDiskOf(site: LocalSite, target: FaultTarget, shape?: SlowDiskShape): LocalSite {
  const nodes = nodesWithDisk(site, target, 'slow down');
  const changed = changeFaults(site, { slowDisk: union(site.state.faults.slowDisk, nodes) });
  for (const node of nodes) slowDisk(node.name, volumeOf(site, node), marksOf(site), shape);
  return changed;
}

/**
 * Undoes cuts and disk faults of the target and of everything in it; of the whole site without a target.
 * A node whose group is cut off as a whole stays cut off with it; `stillCut` names such cuts.
 */
export function healTarget(site: LocalSite, target: FaultTarget | null): { site: LocalSite; stillCut: string[] } {
  const { cut, fullDisk, slowDisk: slow } = site.state.faults;
  const isMeant = (name: string) => target === null || isCoveredBy(site.state, parseTarget(site.state, name), target);
  const nodes = target === null ? site.state.nodes : nodesNamed(site, target);
  const isOther = (name: string) => !nodes.some((node) => node.name === name);
  // The disks first: whoever waits for one obeys no signal and answers no question.
  for (const node of nodes) {
    hastenDisk(node.name, volumeOf(site, node), marksOf(site));
    freeDisk(volumeOf(site, node));
  }
  const rest = cut.filter((name) => !isMeant(name));
  // The kernel first, the note afterwards: after a crash in between, heal does it again.
  if (cut.length > 0) applyCuts({ ...site.state, faults: { ...site.state.faults, cut: rest } });
  const healed = changeFaults(site, { cut: rest, fullDisk: fullDisk.filter(isOther), slowDisk: slow.filter(isOther) });
  const stillCut =
    target === null ? [] : rest.filter((name) => isCoveredBy(site.state, target, parseTarget(site.state, name)));
  return { site: healed, stillCut };
}

function processesOfTarget(site: LocalSite, target: FaultTarget) {
  return processesOf(site).filter(({ part }) => isPartOfTarget(site.state, target, part));
}

function nodesNamed(site: LocalSite, target: FaultTarget): SiteNode[] {
  const names = nodesOf(site.state, target);
  return site.state.nodes.filter(({ name }) => names.includes(name));
}

function nodesWithDisk(site: LocalSite, target: FaultTarget, verb: string): SiteNode[] {
  const nodes = nodesNamed(site, target);
  if (nodes.length === 0) {
    throw new UserError({
      code: 'TARGET_HAS_NO_DISK',
      kind: 'usage',
      message: `Cannot ${verb} the disk of "${target.name}": only nodes have one`,
      todo: `Name a node or a group, such as ${site.state.nodes[0]?.name ?? 'leo-1'}.`,
    });
  }
  for (const node of nodes) assertOwnFileSystem(verb, node.name, volumeOf(site, node));
  return nodes;
}

function changeFaults(site: LocalSite, change: Partial<SiteFaults>): LocalSite {
  return changeSite(site, { faults: { ...site.state.faults, ...change } });
}

function union(names: readonly string[], nodes: readonly SiteNode[]): string[] {
  return [...new Set([...names, ...nodes.map(({ name }) => name)])];
}
