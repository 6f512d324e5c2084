/**
 * Progress on stderr: one line a step. On a terminal the seconds run; elsewhere the line appears when the step begins and when it ends.
 */

/**
 * Runs one step and shows it.
 * @template T
 * @param {string} label such as `getting Node.js 26.10.0`
 * @param {() => Promise<T>} step
 * @returns {Promise<T>}
 */
export async function withProgress(label, step) {
  const startedAt = Date.now();
  const seconds = () => `${Math.round((Date.now() - startedAt) / 1000)} s`;
  const isTerminal = process.stderr.isTTY === true;
  process.stderr.write(isTerminal ? `pgspan: ${label} ...` : `pgspan: ${label} ...\n`);
  const timer = isTerminal
    ? setInterval(() => process.stderr.write(`\rpgspan: ${label} ... ${seconds()}`), 1000)
    : undefined;
  try {
    const result = await step();
    process.stderr.write(
      isTerminal ? `\rpgspan: ${label} ... done (${seconds()})\n` : `pgspan: ${label}: done (${seconds()})\n`,
    );
    return result;
  } catch (error) {
    process.stderr.write(isTerminal ? `\rpgspan: ${label} ... failed\n` : `pgspan: ${label}: failed\n`);
    throw error;
  } finally {
    clearInterval(timer);
  }
}

/** @param {string} text */
export function note(text) {
  process.stderr.write(`pgspan: ${text}\n`);
}
