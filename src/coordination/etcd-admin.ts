/**
 * One member of etcd, asked for what the cluster's keeper needs: who belongs to it, how it is, and changes of members.
 * Each call is one request to this member and no other; which member to ask, and whether to, is decided elsewhere
 * (core/etcd-members). Changes of members are refused by etcd itself when too few started members would remain.
 */
import type { DialTarget, ReloadableTls } from '../base/mutual-tls.ts';
import {
  ALARM_PATH,
  alarmAnswerSchema,
  DEFRAGMENT_PATH,
  MEMBER_ADD_PATH,
  MEMBER_LIST_PATH,
  MEMBER_PROMOTE_PATH,
  MEMBER_REMOVE_PATH,
  MEMBER_UPDATE_PATH,
  memberAddAnswerSchema,
  memberListAnswerSchema,
  STATUS_PATH,
  statusAnswerSchema,
} from './etcd-cluster-messages.ts';
import { errorAnswerSchema } from './etcd-messages.ts';
import { createJsonHttpClient } from './json-http.ts';

export interface EtcdMemberEntry {
  readonly id: string;
  /** '' until its first start. */
  readonly name: string;
  readonly peerUrls: readonly string[];
  readonly isLearner: boolean;
}

export interface EtcdMemberList {
  readonly clusterId: string;
  readonly members: readonly EtcdMemberEntry[];
}

export interface EtcdMemberStatus {
  readonly clusterId: string;
  readonly memberId: string;
  readonly version: string;
  readonly sizeBytes: number;
  readonly sizeInUseBytes: number;
  /** null: it knows of none. */
  readonly leaderId: string | null;
  readonly isLearner: boolean;
  readonly errors: readonly string[];
}

export interface EtcdAlarm {
  readonly memberId: string;
  readonly kind: 'NOSPACE' | 'CORRUPT';
}

/** The member answered, and refused. */
export class EtcdRefusedError extends Error {
  override name = 'EtcdRefusedError';
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** Every method throws EtcdRefusedError, JsonHttpError or, for an answer that is none, ZodError. */
export interface EtcdAdmin {
  readonly where: string;
  members(): Promise<EtcdMemberList>;
  status(): Promise<EtcdMemberStatus>;
  alarms(): Promise<EtcdAlarm[]>;
  addLearner(peerUrl: string): Promise<EtcdMemberList & { readonly memberId: string }>;
  promote(memberId: string): Promise<void>;
  remove(memberId: string): Promise<void>;
  updatePeerUrl(memberId: string, peerUrl: string): Promise<void>;
  /** Of this member; it answers nobody meanwhile. */
  defragment(): Promise<void>;
  disarm(alarm: EtcdAlarm): Promise<void>;
  /** Any other path of the gateway. */
  request(path: string, body: unknown): Promise<unknown>;
  close(): void;
}

/** A member elsewhere on the wide network answers in a tenth of it. */
const ASK_TIMEOUT_MS = 3000;
/** A change is a round of Raft, and waits for an election where one is under way. */
const CHANGE_TIMEOUT_MS = 10_000;
/** Of the quota's 256 MiB on a slow disk. */
const DEFRAGMENT_TIMEOUT_MS = 60_000;

export function createEtcdAdmin(target: DialTarget, tls: ReloadableTls): EtcdAdmin {
  const http = createJsonHttpClient({ target, tls, sourceAddress: null });
  const ask = async (path: string, body: unknown, timeoutMs = ASK_TIMEOUT_MS): Promise<unknown> => {
    const answer = await http.request({ method: 'POST', path, body }, { timeoutMs });
    if (answer.status === 200) return answer.body;
    const told = errorAnswerSchema.safeParse(answer.body).data;
    const words = (told?.error ?? told?.message ?? '').slice(0, 300);
    throw new EtcdRefusedError(answer.status, `"${http.origin}" answered ${answer.status} (${words})`);
  };
  return {
    where: http.origin,
    async members() {
      const { header, members } = memberListAnswerSchema.parse(await ask(MEMBER_LIST_PATH, {}));
      return { clusterId: header.cluster_id, members: members.map(entryOf) };
    },
    async status() {
      const { header, ...status } = statusAnswerSchema.parse(await ask(STATUS_PATH, {}));
      return {
        clusterId: header.cluster_id,
        memberId: header.member_id,
        version: status.version,
        sizeBytes: Number(status.dbSize),
        sizeInUseBytes: Number(status.dbSizeInUse),
        leaderId: status.leader === '0' ? null : status.leader,
        isLearner: status.isLearner,
        errors: status.errors,
      };
    },
    async alarms() {
      const { alarms } = alarmAnswerSchema.parse(await ask(ALARM_PATH, { action: 'GET' }));
      return alarms.flatMap(({ memberID, alarm }) => (alarm === 'NONE' ? [] : [{ memberId: memberID, kind: alarm }]));
    },
    async addLearner(peerUrl) {
      const body = { peerURLs: [peerUrl], isLearner: true };
      const answer = memberAddAnswerSchema.parse(await ask(MEMBER_ADD_PATH, body, CHANGE_TIMEOUT_MS));
      const { header, member, members } = answer;
      return { clusterId: header.cluster_id, memberId: member.ID, members: members.map(entryOf) };
    },
    async promote(memberId) {
      await ask(MEMBER_PROMOTE_PATH, { ID: memberId }, CHANGE_TIMEOUT_MS);
    },
    async remove(memberId) {
      await ask(MEMBER_REMOVE_PATH, { ID: memberId }, CHANGE_TIMEOUT_MS);
    },
    async updatePeerUrl(memberId, peerUrl) {
      await ask(MEMBER_UPDATE_PATH, { ID: memberId, peerURLs: [peerUrl] }, CHANGE_TIMEOUT_MS);
    },
    async defragment() {
      await ask(DEFRAGMENT_PATH, {}, DEFRAGMENT_TIMEOUT_MS);
    },
    async disarm({ memberId, kind }) {
      await ask(ALARM_PATH, { action: 'DEACTIVATE', memberID: memberId, alarm: kind }, CHANGE_TIMEOUT_MS);
    },
    request: (path, body) => ask(path, body),
    close: () => http.close(),
  };
}

function entryOf({
  ID,
  name,
  peerURLs,
  isLearner,
}: {
  ID: string;
  name: string;
  peerURLs: string[];
  isLearner: boolean;
}): EtcdMemberEntry {
  return { id: ID, name, peerUrls: peerURLs, isLearner };
}
