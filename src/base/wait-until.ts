/** Waiting for a condition that nothing announces: bounded, and with a message that says what did not happen. */

export class WaitTimeoutError extends Error {
  override name = 'WaitTimeoutError';
  readonly code = 'WAIT_TIMEOUT';
}

export function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/**
 * Asks again every `intervalMs` (default 10) until `condition` gives something other than null, undefined or false, and
 * returns it. Throws WaitTimeoutError with `what` after `timeoutMs`. An error of `condition` is thrown on.
 */
export async function waitUntil<T>(
  what: string,
  options: { readonly timeoutMs: number; readonly intervalMs?: number },
  condition: () => Promise<T | null | undefined | false> | T | null | undefined | false,
): Promise<T> {
  const deadline = performance.now() + options.timeoutMs;
  for (;;) {
    const value = await condition();
    if (value !== null && value !== undefined && value !== false) return value;
    if (performance.now() >= deadline)
      throw new WaitTimeoutError(`Waited ${options.timeoutMs} ms in vain until ${what}`);
    await delay(options.intervalMs ?? 10);
  }
}
