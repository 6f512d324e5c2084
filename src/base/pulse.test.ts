import assert from 'node:assert/strict';
import { describe, mock, test } from 'node:test';
import { Pulse } from './pulse.ts';

/** Runs `work` with a clock that it turns itself. @returns nothing; `advance` is in whole milliseconds */
function withClock(work: (advance: (ms: number) => void, nowMs: () => number) => void): void {
  mock.timers.enable({ apis: ['setTimeout'] });
  let atMs = 1000;
  const clock = mock.method(performance, 'now', () => atMs);
  const advance = (ms: number): void => {
    for (let step = 0; step < ms; step++) {
      atMs += 1;
      mock.timers.tick(1);
    }
  };
  try {
    work(advance, () => atMs - 1000);
  } finally {
    clock.mock.restore();
    mock.timers.reset();
  }
}

describe('a pulse', () => {
  test('runs each task in its own rhythm, and those that meet in one go', () =>
    withClock((advance, nowMs) => {
      const pulse = new Pulse();
      const ran: string[] = [];
      pulse.every(250, () => ran.push(`beat ${nowMs()}`));
      advance(10);
      pulse.every(500, () => ran.push(`feed ${nowMs()}`));
      advance(1000);
      assert.deepEqual(ran, ['beat 250', 'beat 500', 'feed 500', 'beat 750', 'beat 1000', 'feed 1000']);
      pulse.stop();
    }));

  test('does when it is nudged what would be due in a moment, and keeps the rhythm', () =>
    withClock((advance, nowMs) => {
      const pulse = new Pulse();
      const ran: number[] = [];
      pulse.every(1000, () => ran.push(nowMs()));
      advance(739);
      pulse.nudge();
      assert.deepEqual(ran, []);
      advance(1);
      pulse.nudge();
      pulse.nudge();
      assert.deepEqual(ran, [740]);
      advance(1260);
      assert.deepEqual(ran, [740, 2000]);
      pulse.stop();
    }));

  test('runs what is punctual never before it is due, and whatever else is nearly due with it', () =>
    withClock((advance, nowMs) => {
      const pulse = new Pulse();
      const ran: string[] = [];
      pulse.every(250, () => ran.push(`beat ${nowMs()}`), { isPunctual: true });
      pulse.every(620, () => ran.push(`look ${nowMs()}`));
      pulse.once(1000 + 990, () => ran.push(`once ${nowMs()}`));
      advance(240);
      pulse.nudge();
      advance(1100);
      const expected = [
        'beat 250',
        'beat 500',
        'look 500',
        'beat 750',
        'once 750',
        'beat 1000',
        'look 1000',
        'beat 1250',
      ];
      assert.deepEqual(ran, expected);
      pulse.stop();
    }));

  test('goes on after a task that throws', () =>
    withClock((advance) => {
      const pulse = new Pulse();
      let count = 0;
      pulse.every(100, () => {
        throw new Error('broken');
      });
      pulse.every(100, () => {
        count++;
      });
      advance(90);
      assert.throws(() => pulse.nudge(), /broken/);
      advance(20);
      assert.equal(count, 1);
      pulse.stop();
    }));

  test('does not make up for what was missed', () =>
    withClock((advance) => {
      const pulse = new Pulse();
      let count = 0;
      pulse.every(100, () => {
        count++;
      });
      advance(100);
      const clock = mock.method(performance, 'now', () => 1000 + 5000);
      pulse.nudge();
      assert.equal(count, 2);
      pulse.nudge();
      assert.equal(count, 2);
      clock.mock.restore();
      pulse.stop();
    }));

  test('runs a single task once, and none that was called off or came after its end', () =>
    withClock((advance, nowMs) => {
      const pulse = new Pulse();
      const ran: string[] = [];
      pulse.once(1000 + 50, () => ran.push(`once ${nowMs()}`));
      const callOff = pulse.once(1000 + 60, () => ran.push('called off'));
      callOff();
      const end = pulse.every(40, () => {
        ran.push(`every ${nowMs()}`);
        end();
      });
      advance(500);
      assert.deepEqual(ran, ['once 40', 'every 40']);
      pulse.once(2000, () => ran.push('too late'));
      pulse.stop();
      pulse.once(2000, () => ran.push('later still'));
      advance(2000);
      assert.equal(ran.length, 2);
    }));
});
