/** Bytes captured from real programs: test/golden/wire.json, made by scripts/capture-wire-goldens.ts. */
import goldens from '../golden/wire.json' with { type: 'json' };

export type WireGolden = keyof typeof goldens;

/** The `index`-th chunk that `sender` sent. */
export function wireGolden(name: WireGolden, sender: 'client' | 'server', index = 0): Buffer {
  const chunks = (goldens[name].bytes as string[][]).filter(([who]) => who === sender);
  return Buffer.from(chunks[index]?.[1] ?? '', 'hex');
}
