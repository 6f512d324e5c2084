/** How the demo speaks: numbered steps, moments of a failover with their time, and one line that counts while something goes on. */
import { styleText } from 'node:util';

export interface Story {
  title(text: string): void;
  step(text: string): void;
  line(text: string): void;
  /** `+  12 ms  text`. */
  moment(ms: number, text: string): void;
  /** A good outcome, or a bad one. */
  verdict(isGood: boolean, text: string): void;
  /** Replaces itself on a terminal; elsewhere only `endCount` is printed. */
  count(text: string): void;
  endCount(text: string): void;
}

const INDENT = '   ';
const CLEAR_LINE = '\r\x1b[K';

/** @param stream stdout for the story itself, stderr when stdout is for a machine. */
export function tellStory(stream: NodeJS.WriteStream): Story {
  let steps = 0;
  const style = (kind: Parameters<typeof styleText>[0], text: string) => styleText(kind, text, { stream });
  const print = (text: string) => stream.write(`${text}\n`);
  return {
    title: (text) => print(style('bold', text)),
    step(text) {
      steps += 1;
      print(`\n${style(['bold', 'cyan'], String(steps))}  ${style('bold', text)}`);
    },
    line: (text) => print(`${INDENT}${text}`),
    moment: (ms, text) => print(`${INDENT}${style('dim', `+${String(Math.round(ms)).padStart(5)} ms`)}  ${text}`),
    verdict: (isGood, text) => print(`${INDENT}${style(isGood ? 'green' : 'red', isGood ? '✔' : '✘')} ${text}`),
    count(text) {
      if (stream.isTTY) stream.write(`${CLEAR_LINE}${INDENT}${text}`);
    },
    endCount(text) {
      if (stream.isTTY) stream.write(CLEAR_LINE);
      print(`${INDENT}${text}`);
    },
  };
}

/** `1,024`. */
export function thousands(value: number): string {
  return value.toLocaleString('en-US');
}
