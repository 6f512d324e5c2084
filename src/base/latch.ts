/**
 * Wakes one loop that waits between its rounds. A call that comes while the loop is busy is remembered: its next wait ends at once.
 */
export class Latch {
  #isSet = false;
  #resolve: () => void = () => {};

  /** Ends the present wait, or the next one. */
  set(): void {
    this.#isSet = true;
    this.#resolve();
  }

  /** Forgets what was set so far: the round that begins now sees it. */
  clear(): void {
    this.#isSet = false;
  }

  /** Until `set`; at once if that was called since the last `clear`. For one waiter at a time. */
  async wait(): Promise<void> {
    if (this.#isSet) return;
    await new Promise<void>((resolve) => {
      this.#resolve = resolve;
    });
  }
}
