/**
 * Which of several replicas acts: the holder of one Lease. As client-go does it: the holder renews; others take over when the
 * Lease has not changed for its whole duration, by their own clock. A holder that cannot renew in time stops acting first.
 *
 *   Every write of the operator is harmless when done twice, so the moment of overlap that a frozen holder may cause costs nothing.
 *   https://github.com/kubernetes/client-go/blob/v0.36.0/tools/leaderelection/leaderelection.go
 */
import * as z from 'zod';
import { isConflict } from '../platform/kubernetes/api-error.ts';
import type { KubeClient, ObjectRef } from '../platform/kubernetes/kube-client.ts';
import { KUBE_KINDS, type KubeObject } from '../platform/kubernetes/kube-object.ts';

export interface LeaderElectionOptions {
  readonly client: KubeClient;
  readonly namespace: string;
  readonly name: string;
  /** Unique for each process. */
  readonly identity: string;
  /** Acts from now on. */
  readonly onStarted: () => void;
  /** Must not act any more: the process had better end. */
  readonly onLost: (reason: string) => void;
  readonly onError: (error: Error) => void;
  /** For tests. Default LEASE_DURATION_MS. */
  readonly leaseDurationMs?: number;
}

/** A lost operator is missed by nobody for half a minute: failovers need none. Renewing every 10 s is six requests a minute. */
export const LEASE_DURATION_MS = 30_000;

const leaseSpecSchema = z.looseObject({
  holderIdentity: z.string().nullish(),
  leaseDurationSeconds: z.number().nullish(),
  leaseTransitions: z.number().nullish(),
});

export interface LeaderElection {
  /** Gives the Lease back, so that the other replica need not wait. */
  close(): Promise<void>;
}

export function electLeader(options: LeaderElectionOptions): LeaderElection {
  const { client, namespace, name, identity, onError } = options;
  const durationMs = options.leaseDurationMs ?? LEASE_DURATION_MS;
  const ref: ObjectRef = { kind: KUBE_KINDS.Lease, namespace, name };
  let held: KubeObject | null = null;
  let renewedAtMs = 0;
  /** The version of another's Lease, and when this process first saw it. */
  let seen: { readonly version: string; readonly atMs: number } | null = null;
  let timer: NodeJS.Timeout | undefined;
  let isClosed = false;

  const leaseOf = (holder: string, transitions: number): KubeObject => ({
    apiVersion: 'coordination.k8s.io/v1',
    kind: 'Lease',
    metadata: { name, namespace },
    spec: {
      holderIdentity: holder,
      leaseDurationSeconds: Math.round(durationMs / 1000),
      leaseTransitions: transitions,
      renewTime: microTime(),
    },
  });

  const tryToHold = async (): Promise<boolean> => {
    const atMs = performance.now();
    const found = held ?? (await client.find(ref, { timeoutMs: durationMs / 3 }));
    if (found === null) {
      held = await client.create(leaseOf(identity, 0), { timeoutMs: durationMs / 3 });
      renewedAtMs = atMs;
      return true;
    }
    const spec = leaseSpecSchema.parse(found.spec ?? {});
    const isFree = (spec.holderIdentity ?? '') === '' || spec.holderIdentity === identity;
    if (!isFree && !hasRunOut(found, spec.leaseDurationSeconds)) return false;
    const transitions = (spec.leaseTransitions ?? 0) + (isFree ? 0 : 1);
    const next = leaseOf(identity, transitions);
    held = await client.update(
      { ...next, metadata: { name, namespace, resourceVersion: found.metadata.resourceVersion } } as KubeObject,
      { timeoutMs: durationMs / 3 },
    );
    renewedAtMs = atMs;
    return true;
  };

  const hasRunOut = (found: KubeObject, seconds: number | null | undefined): boolean => {
    const version = found.metadata.resourceVersion ?? '';
    if (seen?.version !== version) seen = { version, atMs: performance.now() };
    return performance.now() - seen.atMs > (seconds ?? durationMs / 1000) * 1000;
  };

  const round = async (): Promise<void> => {
    const wasHolder = held !== null;
    try {
      const isHolder = await tryToHold();
      if (isClosed) return;
      if (isHolder && !wasHolder) options.onStarted();
    } catch (error) {
      if (isClosed) return;
      // Somebody else was faster; look again.
      if (isConflict(error)) held = null;
      else onError(error as Error);
      const isTooLate = performance.now() - renewedAtMs > (durationMs * 2) / 3;
      if (wasHolder && (held === null || isTooLate)) return options.onLost((error as Error).message);
    }
    timer = setTimeout(() => void round(), durationMs / 3);
  };

  void round();
  return {
    async close() {
      isClosed = true;
      clearTimeout(timer);
      if (held === null) return;
      const spec = leaseSpecSchema.parse(held.spec ?? {});
      const released = leaseOf('', spec.leaseTransitions ?? 0);
      const metadata = { name, namespace, resourceVersion: held.metadata.resourceVersion };
      await client.update({ ...released, metadata } as KubeObject, { timeoutMs: 2000 }).catch(onError);
    },
  };
}

/** MicroTime of Kubernetes: six digits. */
function microTime(): string {
  return new Date().toISOString().replace('Z', '000Z');
}
