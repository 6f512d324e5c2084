/**
 * Faults that need the machine under a pod, made by a program that the tests are given (PGSPAN_FAULTS). Its arguments:
 *
 *   freeze CONTEXT POD [-n NAMESPACE]     stop every process of the pod where it stands      thaw: let it go on
 *   kill CONTEXT POD [-n NAMESPACE]       kill -9 every process of the pod's containers
 *   cut CONTEXT POD [-n NAMESPACE]        drop every packet from and to the pod              heal: no longer
 *   cut CONTEXT                           take the whole cluster off the network            heal: no longer
 *   stop CONTEXT PROGRAM                  end a program of the cluster: kube-apiserver, kubelet, etcd      start: again
 *
 * It ends with 0 when the fault is made. test/kubernetes/kind-faults is the one for kind.
 */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { context, FAULTS_PROGRAM } from './environment.ts';

export type PodFault = 'freeze' | 'thaw' | 'kill' | 'cut' | 'heal';

const FAULT_TIMEOUT_MS = 60_000;

/** @param on context of the cluster; default: the first. */
export async function podFault(fault: PodFault, pod: string, namespace: string, on = context()): Promise<void> {
  await runDriver([fault, on, pod, '-n', namespace]);
}

/** Of the whole cluster: its API server is not reached either. */
export async function clusterFault(fault: 'cut' | 'heal', on: string): Promise<void> {
  await runDriver([fault, on]);
}

export async function programFault(fault: 'stop' | 'start', program: string): Promise<void> {
  await runDriver([fault, context(), program]);
}

async function runDriver(words: readonly string[]): Promise<void> {
  if (FAULTS_PROGRAM === null) throw new Error('PGSPAN_FAULTS is not set');
  try {
    await promisify(execFile)(FAULTS_PROGRAM, words, { timeout: FAULT_TIMEOUT_MS });
  } catch (error) {
    const { stderr, message } = error as Error & { stderr?: string };
    throw new Error(`Cannot make the fault "${words.join(' ')}": ${stderr?.trim() || message}`, { cause: error });
  }
}
