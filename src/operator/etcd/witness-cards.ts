/**
 * How the others learn of a witness group: it has no agents that could serve its card, so its operator puts the card into etcd,
 * beside the record, and the other operators read it there. Whoever may write there may change the record as well, so a card is
 * believed as far as it is a witness's: nothing that holds data is ever taken for one (GroupPeers.hear).
 *
 *   /pgspan/<global cluster>/record          the record
 *   /pgspan/<global cluster>/cards/<group>   cards of witnesses
 */
import * as z from 'zod';
import { cardText, type GroupCard } from '../../api/group-card.ts';
import type { EtcdAdmin } from '../../coordination/etcd-admin.ts';
import { decodeText, RANGE_PATH } from '../../coordination/etcd-messages.ts';

const PUT_PATH = '/v3/kv/put';
/** Cards of witnesses have a few KiB; an answer has 256 KiB at most. */
const CARDS_READ_MAX = 16;

const answerSchema = z.object({
  kvs: z
    .array(z.object({ value: z.base64().default('') }))
    .max(CARDS_READ_MAX)
    .default([]),
});

/** @param recordKey of the plan. Throws what EtcdAdmin throws. */
export async function writeWitnessCard(etcd: EtcdAdmin, recordKey: string, card: GroupCard): Promise<void> {
  await etcd.request(PUT_PATH, {
    key: toBase64(`${folderOf(recordKey)}${card.group}`),
    value: toBase64(cardText(card)),
  });
}

/** What is there, untrusted. Throws what EtcdAdmin throws. */
export async function readWitnessCards(etcd: EtcdAdmin, recordKey: string): Promise<unknown[]> {
  const folder = folderOf(recordKey);
  // The first key that no longer begins with it: "0" follows "/".
  const end = `${folder.slice(0, -1)}0`;
  const body = { key: toBase64(folder), range_end: toBase64(end), limit: String(CARDS_READ_MAX) };
  const { kvs } = answerSchema.parse(await etcd.request(RANGE_PATH, body));
  return kvs.flatMap(({ value }) => {
    try {
      return [JSON.parse(decodeText(value)) as unknown];
    } catch {
      return [];
    }
  });
}

function folderOf(recordKey: string): string {
  return `${recordKey.slice(0, recordKey.lastIndexOf('/'))}/cards/`;
}

function toBase64(text: string): string {
  return Buffer.from(text, 'utf8').toString('base64');
}
