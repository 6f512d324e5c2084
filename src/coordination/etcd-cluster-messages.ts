/**
 * etcd's cluster and maintenance services in the JSON form of its gateway, as far as members are kept: ids are uint64 as
 * decimal strings, fields with their default value are left out.
 * https://etcd.io/docs/v3.4/dev-guide/api_reference_v3/
 */
import * as z from 'zod';

export const MEMBER_LIST_PATH = '/v3/cluster/member/list';
export const MEMBER_ADD_PATH = '/v3/cluster/member/add';
export const MEMBER_REMOVE_PATH = '/v3/cluster/member/remove';
export const MEMBER_UPDATE_PATH = '/v3/cluster/member/update';
export const MEMBER_PROMOTE_PATH = '/v3/cluster/member/promote';
export const STATUS_PATH = '/v3/maintenance/status';
export const ALARM_PATH = '/v3/maintenance/alarm';
export const DEFRAGMENT_PATH = '/v3/maintenance/defragment';
export const SNAPSHOT_PATH = '/v3/maintenance/snapshot';

const uint64 = z.string().regex(/^[0-9]{1,20}$/);
const headerSchema = z.object({ cluster_id: uint64, member_id: uint64 });

const memberSchema = z.object({
  ID: uint64,
  /** '' until its first start. */
  name: z.string().max(253).default(''),
  peerURLs: z.array(z.string().max(2048)).max(16).default([]),
  isLearner: z.boolean().default(false),
});

/** More than etcd serves well; an answer with more is none of a cluster of ours. */
const MEMBERS_MAX = 64;
const membersSchema = z.array(memberSchema).max(MEMBERS_MAX).default([]);

export const memberListAnswerSchema = z.object({ header: headerSchema, members: membersSchema });
export const memberAddAnswerSchema = z.object({ header: headerSchema, member: memberSchema, members: membersSchema });

export const statusAnswerSchema = z.object({
  header: headerSchema,
  version: z.string().max(64).default(''),
  /** Bytes of its file, free pages included. */
  dbSize: uint64.default('0'),
  dbSizeInUse: uint64.default('0'),
  /** Id of the leader that it knows; '0': none. */
  leader: uint64.default('0'),
  isLearner: z.boolean().default(false),
  /** Complaints of the member itself: no leader, an alarm, a corrupt database. */
  errors: z.array(z.string().max(1024)).max(64).default([]),
});

export const alarmAnswerSchema = z.object({
  alarms: z
    .array(z.object({ memberID: uint64.default('0'), alarm: z.enum(['NONE', 'NOSPACE', 'CORRUPT']).default('NONE') }))
    .max(256)
    .default([]),
});

/** One line of a snapshot: the next bytes of the file. */
export const snapshotLineSchema = z.object({
  result: z.object({ blob: z.base64().default(''), remaining_bytes: uint64.default('0') }).optional(),
  error: z.object({ message: z.string().optional() }).optional(),
});
