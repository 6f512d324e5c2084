/**
 * Compact containers for millions of states: a set of 64-bit hashes, a queue of byte strings of one length, a list of 32-bit numbers.
 */

export interface HashSet {
  /** Adds the hash of `words`; false if it was there. */
  add(words: Int32Array): boolean;
}

const SLOTS_AT_START = 1 << 16;

/** Open addressing over two parallel arrays; a pair of zeros is an empty slot. */
export function createHashSet(): HashSet {
  let low = new Int32Array(SLOTS_AT_START);
  let high = new Int32Array(SLOTS_AT_START);
  let mask = SLOTS_AT_START - 1;
  let size = 0;

  const insert = (a: number, b: number): boolean => {
    let slot = a & mask;
    for (;;) {
      const x = low[slot] as number;
      const y = high[slot] as number;
      if (x === 0 && y === 0) break;
      if (x === a && y === b) return false;
      slot = (slot + 1) & mask;
    }
    low[slot] = a;
    high[slot] = b;
    return true;
  };
  const grow = (): void => {
    const [oldLow, oldHigh] = [low, high];
    low = new Int32Array(oldLow.length * 2);
    high = new Int32Array(oldHigh.length * 2);
    mask = low.length - 1;
    for (let slot = 0; slot < oldLow.length; slot++)
      if (oldLow[slot] !== 0 || oldHigh[slot] !== 0) insert(oldLow[slot] as number, oldHigh[slot] as number);
  };
  return {
    add(words) {
      // Two lanes of MurmurHash3's mixing with different constants.
      let a = 0x2f0b4a27;
      let b = 0x71c9b5d3;
      for (let index = 0; index < words.length; index++) {
        let k = Math.imul(words[index] as number, 0xcc9e2d51 | 0);
        k = (k << 15) | (k >>> 17);
        a ^= Math.imul(k, 0x1b873593);
        a = (Math.imul((a << 13) | (a >>> 19), 5) + 0xe6546b64) | 0;
        b ^= Math.imul((k << 11) | (k >>> 21), 0x38b34ae5);
        b = (Math.imul((b << 17) | (b >>> 15), 9) + 0x52dce729) | 0;
      }
      a = finish(a);
      b = finish(b ^ Math.imul(a, 0x85ebca6b | 0));
      if (a === 0 && b === 0) b = 1;
      if (!insert(a, b)) return false;
      if (++size * 2 > low.length) grow();
      return true;
    },
  };
}

function finish(value: number): number {
  let hash = value ^ (value >>> 16);
  hash = Math.imul(hash, 0x85ebca6b | 0);
  hash ^= hash >>> 13;
  hash = Math.imul(hash, 0xc2b2ae35 | 0);
  return (hash ^ (hash >>> 16)) | 0;
}

export interface ByteQueue {
  push(item: Uint8Array): void;
  /** Copies the oldest item into `target` and drops it. */
  shift(target: Uint8Array): void;
}

const ITEMS_A_CHUNK = 1 << 14;

export function createByteQueue(itemBytes: number): ByteQueue {
  const chunks: Uint8Array[] = [];
  let head = 0;
  let tail = ITEMS_A_CHUNK;
  return {
    push(item) {
      if (tail === ITEMS_A_CHUNK) {
        chunks.push(new Uint8Array(itemBytes * ITEMS_A_CHUNK));
        tail = 0;
      }
      chunks.at(-1)?.set(item, itemBytes * tail++);
    },
    shift(target) {
      const chunk = chunks[0];
      if (chunk === undefined) throw new Error('Cannot take from an empty queue');
      target.set(chunk.subarray(itemBytes * head, itemBytes * (head + 1)));
      if (++head < ITEMS_A_CHUNK) return;
      chunks.shift();
      head = 0;
    },
  };
}

export interface Uint32List {
  push(value: number): void;
  get(index: number): number;
}

export function createUint32List(): Uint32List {
  let values = new Uint32Array(1 << 16);
  let size = 0;
  return {
    push(value) {
      if (size === values.length) {
        const larger = new Uint32Array(values.length * 2);
        larger.set(values);
        values = larger;
      }
      values[size++] = value;
    },
    get: (index) => values[index] as number,
  };
}
