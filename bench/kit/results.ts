/** Raw results: one JSON object a line, appended as soon as it is measured, so that an interrupted series goes on. */
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';

export function appendResult(file: string, result: object): void {
  mkdirSync(dirname(file), { recursive: true });
  appendFileSync(file, `${JSON.stringify(result)}\n`);
}

/** All lines of the file; none if there is no file. A last line without an end, which a crash may leave, is not one. */
export function readResults<T>(file: string): T[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1);
  return lines.filter((line) => line !== '').map((line) => JSON.parse(line) as T);
}
