/**
 * Texts of configurations: a changed one carries the next generation, and an unchanged one stays the same text, so that
 * applying it again changes nothing.
 */

/** The stored text if nothing but the generation would differ, else the new one under the next generation. */
export function nextConfig(
  stored: string | undefined,
  render: (generation: number) => { readonly generation: number },
): string {
  const generation = stored === undefined ? 0 : generationOf(stored);
  const same = format(render(Math.max(generation, 1)));
  return stored === same ? same : format(render(generation + 1));
}

/** 0 if the text is none of ours: the next one is then the first. */
export function generationOf(text: string): number {
  try {
    const { generation } = JSON.parse(text) as { generation?: unknown };
    return Number.isSafeInteger(generation) && (generation as number) >= 1 ? (generation as number) : 0;
  } catch {
    return 0;
  }
}

function format(config: unknown): string {
  return `${JSON.stringify(config, null, 2)}\n`;
}
