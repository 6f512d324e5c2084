/**
 * Exhaustive breadth-first exploration of a model whose states are short byte strings.
 *
 * Seen states are kept as 64-bit hashes only (hash compaction: with 20 million states the chance that two share a hash, so
 * that one is skipped, is about 1 in 90,000), the frontier as bytes. For the shortest path to a violation each state's
 * parent and the number of the step that led to it are kept; the path is replayed from the initial state.
 */

import { createByteQueue, createHashSet, createUint32List } from './packed.ts';

/** Receives a successor: `state` is copied before the call returns. `step` and its two numbers name it in a trace. */
export type Emit = (state: Uint8Array, step: string, a: number, b: number) => void;

export interface Model {
  /** A multiple of 4. */
  readonly stateBytes: number;
  initial(): Uint8Array;
  /** Emits every successor of `state`, in an order that depends on `state` only. */
  successors(state: Uint8Array, emit: Emit): void;
  /** Rewrites `state` to the representative of its class of symmetric states. */
  canonicalize(state: Uint8Array): void;
  /** What is wrong with `state`, or null. */
  violation(state: Uint8Array): string | null;
  describe(state: Uint8Array): string;
}

export interface Exploration {
  readonly states: number;
  readonly transitions: number;
  /** Length of the longest shortest path. */
  readonly depth: number;
  /** Every reachable state was seen. */
  readonly isComplete: boolean;
  readonly violation: string | null;
  /** Steps from the initial state to the violation. */
  readonly trace: readonly TraceStep[];
  readonly elapsedMs: number;
  /** How often each step was taken: a step that never was is a model that checks less than it says. */
  readonly steps: ReadonlyMap<string, number>;
}

export interface TraceStep {
  readonly label: string;
  readonly state: string;
}

/** @param options.from a state to begin with, as given by `walk`; else the model's initial one */
export function explore(
  model: Model,
  options: { readonly statesMax: number; readonly from?: Uint8Array },
): Exploration {
  const startedAtMs = performance.now();
  const seen = createHashSet();
  const frontier = createByteQueue(model.stateBytes);
  const parents = createUint32List();
  const ordinals = createUint32List();
  const steps = new Map<string, number>();
  const scratch = new Uint8Array(model.stateBytes);
  const words = new Int32Array(scratch.buffer);
  const present = new Uint8Array(model.stateBytes);
  let transitions = 0;
  let found: { readonly violation: string; readonly index: number } | null = null;
  let ordinal = 0;
  let count = 0;
  let depth = 0;
  let levelEnd = 1;
  let done = 0;

  const add = (parent: number, by: number): void => {
    model.canonicalize(scratch);
    if (!seen.add(words)) return;
    frontier.push(scratch);
    parents.push(parent);
    ordinals.push(by);
    const violation = model.violation(scratch);
    if (violation !== null) found ??= { violation, index: count };
    count++;
  };
  const emit: Emit = (state, step) => {
    transitions++;
    steps.set(step, (steps.get(step) ?? 0) + 1);
    scratch.set(state);
    add(done, ordinal++);
  };

  const initial = options.from ?? model.initial();
  scratch.set(initial);
  add(0, 0);
  while (done < count && found === null && count < options.statesMax) {
    if (done === levelEnd) {
      depth++;
      levelEnd = count;
    }
    frontier.shift(present);
    ordinal = 0;
    model.successors(present, emit);
    done++;
  }
  const end = found as { readonly violation: string; readonly index: number } | null;
  const path: number[] = [];
  for (let index = end?.index ?? 0; index !== 0; index = parents.get(index)) path.push(ordinals.get(index));
  return {
    states: count,
    transitions,
    depth,
    isComplete: end === null && done === count,
    violation: end?.violation ?? null,
    trace: replay(model, initial, path.reverse()),
    elapsedMs: performance.now() - startedAtMs,
    steps,
  };
}

/**
 * The path again, but with the names that nodes had at the beginning: of the successors that are the wanted state up to a
 * renaming, the first is taken.
 */
function replay(model: Model, initial: Uint8Array, path: readonly number[]): TraceStep[] {
  const trace: TraceStep[] = [];
  let canonical: Uint8Array = initial.slice();
  let state: Uint8Array = initial.slice();
  model.canonicalize(canonical);
  for (const wanted of path) {
    canonical = successorAt(model, canonical, wanted);
    model.canonicalize(canonical);
    const next = findSuccessor(model, state, (successor) => {
      const renamed = successor.slice();
      model.canonicalize(renamed);
      return renamed.every((byte, index) => byte === canonical[index]);
    });
    if (next === null) throw new Error(`Cannot replay step ${wanted}: the model is not symmetric`);
    state = next.state;
    trace.push({ label: next.label, state: model.describe(state) });
  }
  return trace;
}

function successorAt(model: Model, state: Uint8Array, wanted: number): Uint8Array {
  let ordinal = 0;
  const next = findSuccessor(model, state, () => ordinal++ === wanted);
  if (next === null) throw new Error(`Cannot replay step ${wanted}: the model is not deterministic`);
  return next.state;
}

interface Successor {
  readonly label: string;
  readonly state: Uint8Array;
}

function findSuccessor(
  model: Model,
  from: Uint8Array,
  isWanted: (state: Uint8Array, label: string) => boolean,
): Successor | null {
  let found: Successor | null = null;
  model.successors(from, (state, step, a, b) => {
    const label = `${step}(${a}${b < 0 ? '' : `, ${b}`})`;
    if (found === null && isWanted(state, label)) found = { label, state: state.slice() };
  });
  return found;
}

/** The state after these steps, named as in a trace. Throws if one of them is not possible. */
export function walk(model: Model, labels: readonly string[]): Uint8Array {
  let state = model.initial();
  for (const wanted of labels) {
    const next = findSuccessor(model, state, (_, label) => label === wanted);
    if (next === null) throw new Error(`Cannot take step "${wanted}" from\n${model.describe(state)}`);
    state = next.state;
  }
  return state;
}

export function formatTrace(trace: readonly TraceStep[]): string {
  return trace.map((step) => `${step.label}\n${step.state}`).join('\n');
}
