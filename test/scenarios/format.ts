/**
 * Scenarios as data: what happens to a running global cluster, step by step, and what must be so in between. The words are
 * the cluster's own (leader, follower), so that one file says the same of simulated nodes and of real processes.
 *
 * Targets: `leader`, `follower`, `other` (the second follower), `former` (who led when the scenario began), `caught` (see `when`),
 * `record`; each node also by part (`leader/postgres`, `follower/agent`; `follower/postmaster`: that one process of PostgreSQL) and
 * by group (`leader-group`). On Kubernetes also `operator`, `kubelet` and `etcd`, the cluster's own. `follower`, `other` and `former` mean the same nodes from
 * the first step to the last; `leader` is whoever leads when the step begins. Where a node may never lead, it is the `follower`.
 *
 * After the last step the runner heals everything, waits until the cluster is whole, and checks what holds for every scenario:
 * no acknowledged write is missing, no open session of a former leader committed after the next leader's first commit, and each timeline
 * was begun by one node only.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import * as z from 'zod';

const PART = '(/(postgres|agent|watchdog|postmaster))?';
const targetSchema = z
  .string()
  .regex(
    new RegExp(`^(record|operator|kubelet|etcd|(leader|follower|other|former|caught)(-group|${PART}))$`),
    'is no target: see format.ts',
  );

/** `delete` and `delete-now`: of a pod, with its grace period and without. `stop`, `start`: of a program of the cluster. */
const faultSchema = z.enum([
  'kill',
  'freeze',
  'thaw',
  'cut',
  'heal',
  'fill-disk',
  'slow-disk',
  'delete',
  'delete-now',
  'stop',
  'start',
]);

export const PLATFORMS = ['simulation', 'local', 'kubernetes'] as const;
export type ScenarioPlatform = (typeof PLATFORMS)[number];

/** What a scenario runs on; a file of sites/ each. All but the first are for the simulation and the local platform. */
export const SITES = ['three-groups', 'two-nodes', 'one-may-not-lead'] as const;
export type SiteName = (typeof SITES)[number];

/** Not on Kubernetes: what needs a hand inside of the nodes. */
const workbenchStepSchemas = [
  /**
   * Sets a trap; it springs once, at the very moment, and the node that it catches is `caught` from then on:
   * `elected`: the record names another leader (which has not heard of that yet, and is not promoted); `joined`: the record has
   * one member more (catches the leader); `rewinding`: a node has written down that it rewinds.
   */
  z.strictObject({ when: z.enum(['elected', 'joined', 'rewinding']), fault: z.enum(['kill', 'cut']) }),
  /** The trap has sprung. */
  z.strictObject({ expect: z.literal('caught'), withinMs: z.int().max(120_000) }),
  /** Keeps a copy of the record; puts it in the record's place, as from a backup; brings back the newest from before that. */
  z.strictObject({ record: z.enum(['remember', 'restore', 'bring back']) }),
  /**
   * A client of the leader that waits for a standby cancels its own statement: PostgreSQL then says that it is done, with a warning.
   * What it wrote may be lost, and is not asked for.
   */
  z.strictObject({ cancel: z.literal('a waiting commit') }),
  /** A checkpoint that takes its time begins on the leader. */
  z.strictObject({ checkpoint: z.literal('slow') }),
] as const;

const stepSchema = z.union([
  z.strictObject({ fault: faultSchema, target: targetSchema }),
  ...workbenchStepSchemas,
  /** Starts what is missing, as `pgspan local up`. */
  z.strictObject({ start: z.literal('what is missing') }),
  z.strictObject({ switchover: z.enum(['follower', 'best']) }),
  /** Waits, for what only time brings. */
  z.strictObject({ pauseMs: z.int().min(1).max(120_000) }),
  /** Another node than `former` leads and the client's writes are acknowledged. */
  z.strictObject({ expect: z.literal('another leader'), withinMs: z.int().max(120_000) }),
  /** `former` leads, all the time, and writes go on without a gap of `gapMs`. */
  z.strictObject({ expect: z.literal('same leader'), forMs: z.int().max(120_000), gapMs: z.int() }),
  /** All nodes run, follow or lead, and are members. */
  z.strictObject({ expect: z.literal('whole'), withinMs: z.int().max(180_000) }),
  z.strictObject({ expect: z.literal('writes'), withinMs: z.int().max(120_000) }),
  /** This node leads, and acknowledges writes. */
  z.strictObject({
    expect: z.literal('leader'),
    is: z.enum(['former', 'follower', 'other']),
    withinMs: z.int().max(120_000),
  }),
  /** Not one acknowledgement. */
  z.strictObject({ expect: z.literal('no writes'), forMs: z.int().max(120_000) }),
]);

export const scenarioSchema = z.strictObject({
  /** A fact: what must be so. */
  title: z.string().min(10),
  /** Where it says something. Kubernetes starts what is missing by itself, and knows neither groups of its own nor slow disks. */
  on: z
    .array(z.enum(PLATFORMS))
    .min(1)
    .default([...PLATFORMS]),
  /** Part of `npm test`, and of `npm run test:kubernetes`: one of each class of fault. The others run with `npm run test:chaos`. */
  quick: z.boolean().default(false),
  site: z.enum(SITES).default('three-groups'),
  /** Longest gap between two acknowledgements that the client may see; null: not limited. A busy machine gets more. */
  outageMsMax: z.int().nullable().default(null),
  steps: z.array(stepSchema).min(1).max(100),
});
export type Scenario = z.infer<typeof scenarioSchema> & { readonly name: string };
export type ScenarioStep = z.infer<typeof stepSchema>;

export type WorkbenchStep = z.infer<(typeof workbenchStepSchemas)[number]>;

export function isWorkbenchStep(step: ScenarioStep): step is WorkbenchStep {
  return workbenchStepSchemas.some((schema) => schema.safeParse(step).success);
}

const FOLDER = join(import.meta.dirname, 'files');

/** The manifest of a site. */
export function siteManifest(site: SiteName): string {
  if (site === 'three-groups') return join(import.meta.dirname, '../../examples/three-groups-local.yaml');
  return join(import.meta.dirname, 'sites', `${site}.yaml`);
}

/** Scenarios of a platform by file name, in its order. Throws with file and path of the first mistake. */
export function loadScenarios(platform: ScenarioPlatform): Scenario[] {
  return readdirSync(FOLDER)
    .filter((file) => file.endsWith('.yaml'))
    .sort()
    .map((file) => {
      const parsed = scenarioSchema.safeParse(parse(readFileSync(join(FOLDER, file), 'utf8')));
      if (!parsed.success) throw new Error(`${file}: ${z.prettifyError(parsed.error)}`);
      const { on, site, steps } = parsed.data;
      const needsBench = site !== 'three-groups' || steps.some((step) => isWorkbenchStep(step));
      if (needsBench && on.includes('kubernetes')) throw new Error(`${file}: cannot run on Kubernetes: set "on"`);
      return { name: file.replace(/\.yaml$/, ''), ...parsed.data };
    })
    .filter(({ on }) => on.includes(platform));
}
