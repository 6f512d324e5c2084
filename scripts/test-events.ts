/**
 * A reporter for node:test: one JSON object a line for each test that ended. scripts/test-run.ts reads it.
 */
import type { TestEvent } from 'node:test/reporters';

export interface TestEnd {
  readonly name: string;
  readonly outcome: 'passed' | 'failed' | 'skipped';
  /** Why it was skipped. */
  readonly reason: string;
}

export default async function* testEvents(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of source) {
    if (event.type !== 'test:pass' && event.type !== 'test:fail') continue;
    const { name, skip, todo, details } = event.data;
    const left = skip ?? todo;
    const isLeft = left !== undefined && left !== false;
    // A suite counts by its tests; one that is skipped has none.
    if (details.type === 'suite' && !isLeft) continue;
    const outcome = event.type === 'test:fail' ? 'failed' : isLeft ? 'skipped' : 'passed';
    const end: TestEnd = { name, outcome, reason: typeof left === 'string' ? left : 'no reason given' };
    yield `${JSON.stringify(end)}\n`;
  }
}
