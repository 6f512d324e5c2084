/** Connections of the operator to the members of etcd, with its own certificate; and what the members say together. */
import { createMemoryTls, type DialTarget, type ReloadableTls, type TlsTexts } from '../../base/mutual-tls.ts';
import {
  createEtcdAdmin,
  type EtcdAdmin,
  type EtcdMemberList,
  type EtcdMemberStatus,
} from '../../coordination/etcd-admin.ts';
import type { EtcdClusterSight } from '../../core/etcd-members/etcd-snapshot.ts';

export interface EtcdPlace {
  /** Name of the member. */
  readonly name: string;
  readonly target: DialTarget;
}

interface Told {
  readonly name: string;
  readonly admin: EtcdAdmin;
  readonly status: EtcdMemberStatus;
}

export interface EtcdObservation {
  readonly cluster: EtcdClusterSight | null;
  /** A voting member with a leader: asked for changes; null: none. */
  readonly teller: EtcdAdmin | null;
  /** Of the members that did not answer, by name. */
  readonly silences: ReadonlyMap<string, string>;
}

export class EtcdClients {
  #texts: TlsTexts | null = null;
  #tls: ReloadableTls | null = null;
  /** By id of the member: since when it is silent, by performance.now(). */
  readonly #silentSince = new Map<string, number>();
  readonly #admins = new Map<string, { readonly key: string; readonly admin: EtcdAdmin }>();

  /** Throws TlsFilesError. */
  async follow(places: readonly EtcdPlace[], texts: TlsTexts): Promise<void> {
    this.#texts = texts;
    if (this.#tls === null) this.#tls = await createMemoryTls(() => this.#texts as TlsTexts);
    // Connections that were made with the certificate before are as good as it was.
    else if (await this.#tls.reload()) this.#closeAll();
    for (const [name, { admin }] of this.#admins) {
      if (places.some((place) => place.name === name)) continue;
      admin.close();
      this.#admins.delete(name);
    }
    for (const { name, target } of places) {
      const key = JSON.stringify(target);
      const present = this.#admins.get(name);
      if (present?.key === key) continue;
      present?.admin.close();
      this.#admins.set(name, { key, admin: createEtcdAdmin(target, this.#tls) });
    }
  }

  admin(name: string): EtcdAdmin | null {
    return this.#admins.get(name)?.admin ?? null;
  }

  /** @param clusterId only members of this cluster count, unless none of it answers. */
  async observe(clusterId: string | null): Promise<EtcdObservation> {
    const silences = new Map<string, string>();
    const all: (Told | null)[] = await Promise.all(
      [...this.#admins].map(async ([name, { admin }]) => {
        try {
          return { name, admin, status: await admin.status() };
        } catch (error) {
          silences.set(name, (error as Error).message);
          return null;
        }
      }),
    );
    const answered = all.filter((one) => one !== null);
    const ours = answered.filter(({ status }) => clusterId === null || status.clusterId === clusterId);
    const told = ours.length > 0 ? ours : answered;
    const withLeader = told.find(({ status }) => status.leaderId !== null && !status.isLearner);
    const source = withLeader ?? told[0];
    if (source === undefined) return { cluster: null, teller: null, silences };
    try {
      const list = await source.admin.members();
      const alarms = withLeader === undefined ? [] : await source.admin.alarms();
      const cluster = sightOf(list, told, withLeader?.status.leaderId ?? null, alarms);
      return { cluster: this.#withSilence(cluster), teller: withLeader?.admin ?? null, silences };
    } catch (error) {
      silences.set(source.name, (error as Error).message);
      return { cluster: null, teller: null, silences };
    }
  }

  #withSilence(cluster: EtcdClusterSight): EtcdClusterSight {
    const nowMs = performance.now();
    const members = cluster.members.map((member) => {
      if (member.answer !== null) this.#silentSince.delete(member.id);
      else if (!this.#silentSince.has(member.id)) this.#silentSince.set(member.id, nowMs);
      return { ...member, silentForMs: nowMs - (this.#silentSince.get(member.id) ?? nowMs) };
    });
    return { ...cluster, members };
  }

  close(): void {
    this.#closeAll();
    this.#tls = null;
  }

  #closeAll(): void {
    for (const { admin } of this.#admins.values()) admin.close();
    this.#admins.clear();
  }
}

function sightOf(
  { clusterId, members }: EtcdMemberList,
  told: readonly Told[],
  leaderId: string | null,
  alarms: EtcdClusterSight['alarms'],
): EtcdClusterSight {
  return {
    clusterId,
    leaderId,
    alarms,
    members: members.map((member) => {
      const status = told.find(
        (one) => one.status.memberId === member.id && one.status.clusterId === clusterId,
      )?.status;
      if (status === undefined) return { ...member, silentForMs: 0, answer: null };
      const { sizeBytes, sizeInUseBytes, errors } = status;
      return { ...member, silentForMs: 0, answer: { leaderId: status.leaderId, sizeBytes, sizeInUseBytes, errors } };
    }),
  };
}
