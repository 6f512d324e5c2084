/**
 * Symmetry: renaming the nodes changes nothing that the decision functions or the model look at, so of all renamings of a
 * state only the first in byte order is kept. Nodes are sorted by what is in them alone; only nodes that look the same are tried
 * in every order.
 */
import * as at from './layout.ts';
import { NODE, RECORD, SENDER } from './layout.ts';

/** Fields that hold one bit a node, and two bits a node. */
const MASKS: readonly number[] = [NODE.syncMask, NODE.changeMask, NODE.officeMask];
const LIVES: readonly number[] = [NODE.syncLives, NODE.changeLives, NODE.officeLives];

export function createCanonicalizer(layout: at.Layout): (state: Uint8Array) => void {
  const { nodes } = layout;
  const candidate = new Uint8Array(layout.bytes);
  const best = new Uint8Array(layout.bytes);
  const signatures = new Float64Array(nodes);
  const order = Array.from({ length: nodes }, (_, index) => index);
  /** `rank[old]` is the new name. */
  const rank = new Uint8Array(nodes);

  const signature = (s: Uint8Array, node: number): number => {
    const o = node * at.NODE_BYTES;
    let hash = (s[o] as number) | ((s[o + 1] as number) << 8) | ((s[o + NODE.wal] as number) << 16);
    hash = Math.imul(hash, 31) + (s[o + NODE.postgres] as number) + ((s[o + NODE.flags] as number) << 4);
    hash = Math.imul(hash, 31) + (s[o + NODE.handler] as number) + ((s[o + NODE.attempt] as number) << 4);
    hash = Math.imul(hash, 31) + (s[o + NODE.released] as number) + ((s[o + NODE.office] as number) << 4);
    hash = Math.imul(hash, 31) + (s[o + NODE.unwritten] as number) + ((s[o + NODE.change] as number) << 4);
    hash = Math.imul(hash, 31) + (s[o + NODE.path] === 0 ? 0 : 1);
    if (s[layout.record + RECORD.leader] === node) hash += 0x20000000;
    return hash >>> 0;
  };

  /** Writes `s` with nodes renamed by `rank` into `candidate`. */
  const rename = (s: Uint8Array): void => {
    candidate.set(s);
    for (let node = 0; node < nodes; node++) {
      const from = node * at.NODE_BYTES;
      const to = (rank[node] as number) * at.NODE_BYTES;
      for (let field = 0; field < at.NODE_BYTES; field++) candidate[to + field] = s[from + field] as number;
      const path = s[from + NODE.path] as number;
      if (path !== 0) candidate[to + NODE.path] = (rank[path - 1] as number) + 1;
      if (s[from + NODE.handler] !== 0)
        candidate[to + NODE.requester] = rank[s[from + NODE.requester] as number] as number;
      for (let index = 0; index < MASKS.length; index++) {
        renameBits(s, from + (MASKS[index] as number), to + (MASKS[index] as number));
        renameLives(s, from + (LIVES[index] as number), to + (LIVES[index] as number));
      }
    }
    const senderBytes = layout.connections * at.SENDER_BYTES;
    for (let a = 0; a < nodes; a++)
      for (let b = 0; b < nodes; b++) {
        const ra = rank[a] as number;
        const rb = rank[b] as number;
        const from = layout.sender(a, b, 0);
        const to = layout.sender(ra, rb, 0);
        for (let index = 0; index < senderBytes; index++) candidate[to + index] = s[from + index] as number;
        for (let index = 0; index < senderBytes; index += at.SENDER_BYTES) {
          renameBits(s, from + index + SENDER.mask, to + index + SENDER.mask);
          renameLives(s, from + index + SENDER.lives, to + index + SENDER.lives);
        }
        candidate[layout.answer(ra, rb)] = s[layout.answer(a, b)] as number;
        candidate[layout.answer(ra, rb) + 1] = s[layout.answer(a, b) + 1] as number;
      }
    renameRecord(s, layout.record);
    for (let slot = 0; slot < at.SWAPS_MAX; slot++) {
      const o = layout.swaps + slot * at.SWAP_BYTES;
      if (s[o] !== 0) renameRecord(s, o);
    }
    sortSwaps(candidate, layout.swaps);
    for (let o = layout.announced; o < layout.acknowledged; o += 2)
      if (s[o] !== 0) candidate[o] = (rank[(s[o] as number) - 1] as number) + 1;
  };
  const renameRecord = (s: Uint8Array, o: number): void => {
    candidate[o + RECORD.leader] = rank[s[o + RECORD.leader] as number] as number;
    renameBits(s, o + RECORD.mask, o + RECORD.mask);
    renameLives(s, o + RECORD.lives, o + RECORD.lives);
  };
  const renameBits = (s: Uint8Array, from: number, to: number): void => {
    const bits = s[from] as number;
    let renamed = 0;
    if (bits !== 0) for (let node = 0; node < nodes; node++) renamed |= ((bits >> node) & 1) << (rank[node] as number);
    candidate[to] = renamed;
  };
  const renameLives = (s: Uint8Array, from: number, to: number): void => {
    const lives = s[from] as number;
    let renamed = 0;
    if (lives !== 0)
      for (let node = 0; node < nodes; node++) renamed |= ((lives >> (2 * node)) & 3) << (2 * (rank[node] as number));
    candidate[to] = renamed;
  };

  const keepIfFirst = (): void => {
    for (let index = 0; index < layout.bytes; index++) {
      const difference = (candidate[index] as number) - (best[index] as number);
      if (difference > 0) return;
      if (difference < 0) break;
    }
    best.set(candidate);
  };
  /** Tries every order within each run of equal signatures, from `start` on. */
  const permute = (s: Uint8Array, start: number): void => {
    if (start === nodes) {
      rename(s);
      keepIfFirst();
      return;
    }
    for (let index = start; index < nodes; index++) {
      if (signatures[order[index] as number] !== signatures[order[start] as number]) break;
      swapOrder(start, index);
      rank[order[start] as number] = start;
      permute(s, start + 1);
      swapOrder(start, index);
    }
  };
  const swapOrder = (a: number, b: number): void => {
    const kept = order[a] as number;
    order[a] = order[b] as number;
    order[b] = kept;
  };

  return (s) => {
    for (let node = 0; node < nodes; node++) signatures[node] = signature(s, node);
    order.sort((a, b) => (signatures[a] as number) - (signatures[b] as number));
    best.fill(255);
    permute(s, 0);
    s.set(best);
  };
}

/** Swaps on their way have no order. */
function sortSwaps(s: Uint8Array, swaps: number): void {
  for (let pass = 1; pass < at.SWAPS_MAX; pass++)
    for (let slot = 0; slot + 1 < at.SWAPS_MAX; slot++) {
      const a = swaps + slot * at.SWAP_BYTES;
      const b = a + at.SWAP_BYTES;
      if (s[b] === 0) continue;
      let difference = 0;
      for (let index = 0; index < at.SWAP_BYTES && difference === 0; index++)
        difference = (s[a + index] as number) - (s[b + index] as number);
      if (difference <= 0) continue;
      for (let index = 0; index < at.SWAP_BYTES; index++) {
        const kept = s[a + index] as number;
        s[a + index] = s[b + index] as number;
        s[b + index] = kept;
      }
    }
}
