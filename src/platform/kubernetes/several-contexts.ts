/**
 * One global cluster seen through several contexts of a kubeconfig: each group is asked in its own cluster, so that what one
 * cluster cannot reach of another is still seen. A context that does not answer is named, and hides nothing of the others.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { EdgeFacts, EdgeQuestion } from '../../api/edge-facts.ts';
import type { DialTarget } from '../../base/mutual-tls.ts';
import { UserError } from '../../base/user-error.ts';
import { withInsideNames } from '../../core/connection/inside-names.ts';
import type { ClusterAccess, ClusterSource, ConnectionWay, UnansweredPlace } from '../ports.ts';
import type { Vantage } from '../vantage.ts';
import { type KubernetesAccess, type KubernetesChoice, openKubernetesSource } from './access.ts';
import { contextNames } from './kubeconfig.ts';

/** An API server that is there answers in a second; the others are not kept waiting longer than this. */
const OPEN_TIMEOUT_MS = 10_000;
/** A context of another purpose: no failure where all contexts were asked for. */
const NO_GROUPS = ['PGSPAN_NOT_INSTALLED', 'KUBE_NO_GROUPS'];

/** @param names of contexts; null: all of the kubeconfig that hold groups. Throws as openKubernetesSource, and CONTEXTS_UNANSWERED. */
export async function openContextsSource(
  choice: KubernetesChoice,
  names: readonly string[] | null,
): Promise<ClusterSource> {
  const wanted = names ?? (await contextNames({ file: choice.kubeconfig }));
  const sources = await Promise.all(
    wanted.map(async (context) => ({ context, source: await settled(openKubernetesSource({ ...choice, context })) })),
  );
  return {
    async open() {
      const opened = await Promise.all(
        sources.map(async ({ context, source }) => ({
          context,
          result: source.kind === 'done' ? await settled(withLimit(source.value.open())) : source,
        })),
      );
      const accesses = opened.flatMap(({ result }) =>
        result.kind === 'done' ? [result.value as KubernetesAccess] : [],
      );
      const unanswered = opened.flatMap(({ context, result }): UnansweredPlace[] =>
        result.kind === 'failed' && (names !== null || !NO_GROUPS.includes(codeOf(result.error)))
          ? [{ place: `context "${context}"`, why: result.error.message }]
          : [],
      );
      return mergeAccesses(oneCluster(accesses, choice, unanswered), unanswered);
    },
    async close() {
      for (const { source } of sources) if (source.kind === 'done') await source.value.close();
    },
  };
}

type Settled<T> = { readonly kind: 'done'; readonly value: T } | { readonly kind: 'failed'; readonly error: Error };

async function settled<T>(work: Promise<T>): Promise<Settled<T>> {
  return await work.then(
    (value): Settled<T> => ({ kind: 'done', value }),
    (error: Error): Settled<T> => ({ kind: 'failed', error }),
  );
}

async function withLimit<T>(work: Promise<T>): Promise<T> {
  const timer = new AbortController();
  const late = delay(OPEN_TIMEOUT_MS, undefined, { signal: timer.signal }).then(() => {
    throw new Error(`no answer within ${OPEN_TIMEOUT_MS} ms`);
  });
  late.catch(() => {});
  try {
    return await Promise.race([work, late]);
  } finally {
    timer.abort();
  }
}

const codeOf = (error: Error): string => (error as Error & { code?: string }).code ?? '';

/** Contexts may hold several databases: one is meant. */
function oneCluster(
  accesses: readonly KubernetesAccess[],
  { cluster }: KubernetesChoice,
  unanswered: readonly UnansweredPlace[],
): KubernetesAccess[] {
  const names = [...new Set(accesses.map(({ plan }) => plan.globalCluster))];
  const own = accesses.filter(({ plan }) => plan.globalCluster === (cluster ?? names[0]));
  if (own.length > 0 && (cluster !== undefined || names.length === 1)) return own;
  if (names.length > 1)
    throw new UserError({
      code: 'GROUP_NOT_FOUND',
      kind: 'not-found',
      message: `Cannot choose a global cluster: the contexts hold ${names.length}`,
      todo: `Name one with --cluster: ${names.join(', ')}.`,
    });
  throw new UserError({
    code: 'CONTEXTS_UNANSWERED',
    kind: 'not-found',
    message: `Cannot find a PostgresGroup in any context: ${unanswered.map(({ place, why }) => `${place}: ${why}`).join('; ') || 'none holds one'}`,
    todo: 'Name contexts with --context a,b, and the namespace with -n.',
  });
}

/** @param accesses at least one, all of one global cluster. */
export function mergeAccesses(
  accesses: readonly KubernetesAccess[],
  unanswered: readonly UnansweredPlace[],
): ClusterAccess {
  const groups = accesses.flatMap((access) => access.groups);
  const ownerOf = (group: string): KubernetesAccess =>
    accesses.find((access) => access.groups.some(({ metadata }) => metadata.name === group)) ??
    (accesses[0] as KubernetesAccess);
  // Who knows most of the others: a cluster that was away knows fewer.
  const [widest] = accesses.toSorted((a, b) => b.plan.groups.length - a.plan.groups.length);
  const main = widest as KubernetesAccess;
  const known = [...accesses.flatMap((access) => access.plan.groups)];
  const planGroups = [...new Map(known.map((group) => [group.name, group])).keys()].map(
    (name) =>
      ownerOf(name).plan.groups.find((group) => group.name === name) ?? known.find((group) => group.name === name),
  );
  const plan = { ...main.plan, groups: planGroups.filter((group) => group !== undefined) };
  const nodes = plan.groups.flatMap(({ name }) => {
    const owner = ownerOf(name);
    const seen = owner.nodes.some(({ group }) => group === name) ? owner : main;
    return seen.nodes.filter(({ group }) => group === name);
  });
  const proxies = accesses.flatMap((access) => access.proxies);
  return {
    ...main,
    groups,
    plan,
    nodes,
    proxies,
    vantage: routedVantage(accesses, ownerOf),
    vantagePlan: withInsideNames(plan),
    entries: accesses.flatMap(({ entries }) => entries),
    balancers: accesses.flatMap(({ balancers }) => balancers),
    published: (group, service) => ownerOf(group).published(group, service),
    examineEntries: async () => (await Promise.all(accesses.map((access) => access.examineEntries()))).flat(),
    applicationPassword: () => firstOf(accesses, (access) => access.applicationPassword()),
    ways: mergedWays(accesses, ownerOf),
    logs: (target) => firstOf(accesses, (access) => access.logs(target)),
    unanswered,
    stored: accesses.flatMap(({ stored }) => stored),
  };
}

/** Each program is asked through a pod of its own cluster. */
function routedVantage(accesses: readonly KubernetesAccess[], ownerOf: (group: string) => KubernetesAccess): Vantage {
  const key = ({ host, address, port }: DialTarget): string => `${host} ${address ?? ''} ${port}`;
  const byTarget = new Map<string, Vantage>();
  const byProgram = new Map<string, Vantage>();
  for (const access of accesses) {
    const own = [...access.nodes.filter(({ group }) => ownerOf(group) === access), ...access.proxies];
    for (const program of own) {
      const targets = 'agent' in program ? [program.agent, program.postgres] : [program.health, program.write];
      byProgram.set(program.name, access.vantage);
      for (const target of targets) byTarget.set(key(target), access.vantage);
    }
  }
  const [first] = accesses;
  const otherwise = (first as KubernetesAccess).vantage;
  return {
    name: accesses.map(({ vantage }) => vantage.name).join(', '),
    ask: (question) => (byTarget.get(key(question.target)) ?? otherwise).ask(question),
    examine: async (questions) => {
      const vantageOf = ({ target }: EdgeQuestion) => byProgram.get(target.split(' ')[0] as string) ?? otherwise;
      const parts = accesses.map(async ({ vantage }) => {
        const own = questions.filter((question) => vantageOf(question) === vantage);
        return own.length === 0 ? [] : await vantage.examine(own);
      });
      const found: EdgeFacts[] = (await Promise.all(parts)).flat();
      return found;
    },
  };
}

/** From outside every cluster's own load balancers; from inside as in the first. */
function mergedWays(
  accesses: readonly KubernetesAccess[],
  ownerOf: (group: string) => KubernetesAccess,
): ConnectionWay[] {
  const own = accesses.flatMap((access) =>
    access.ways.filter(({ from }) => from === 'outside').map((way) => ({ access, way })),
  );
  const inside = accesses.flatMap(({ ways }) => ways.filter(({ from }) => from === 'inside')).slice(0, 1);
  const [first] = own;
  if (first === undefined) return inside;
  const places = {
    plan: first.way.places.plan,
    nodes: own.flatMap(({ access, way }) => way.places.nodes.filter(({ group }) => ownerOf(group) === access)),
    proxies: own.flatMap(({ access, way }) => way.places.proxies.filter(({ group }) => ownerOf(group) === access)),
  };
  return [{ ...first.way, places }, ...inside];
}

/** The first that can say; the last refusal, if none can. */
async function firstOf<T>(
  accesses: readonly KubernetesAccess[],
  ask: (access: KubernetesAccess) => Promise<T>,
): Promise<T> {
  let last: unknown = null;
  for (const access of accesses) {
    try {
      return await ask(access);
    } catch (error) {
      last = error;
    }
  }
  throw last;
}
