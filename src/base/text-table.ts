/** Tables for a terminal: columns as wide as their widest cell, the last one wrapped to the width that is left. */

export interface TableOptions {
  /** Columns of the terminal. Lines grow beyond it only for a cell that cannot be wrapped. */
  readonly width: number;
  /** Blanks before each line. Default 2. */
  readonly indent?: number;
  /** Applied to the padded header cells, for colours. */
  readonly styleHeader?: (text: string) => string;
}

const GAP = '  ';
/** Narrower than this, wrapped text is harder to read than a long line. */
const LAST_COLUMN_WIDTH_MIN = 24;

/**
 * @param header names of the columns; an empty list for none.
 * @param rows each as long as the header. A column without any text is left out.
 */
export function formatTable(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  options: TableOptions,
): string {
  const indent = ' '.repeat(options.indent ?? 2);
  const used = (header.length > 0 ? header : (rows[0] ?? []))
    .map((_, column) => column)
    .filter((column) => rows.some((row) => (row[column] ?? '') !== ''));
  const cells = (row: readonly string[]) => used.map((column) => row[column] ?? '');
  const all = [...(header.length > 0 ? [cells(header)] : []), ...rows.map(cells)];
  const widths = used.map((_, column) => Math.max(...all.map((row) => (row[column] as string).length)));
  const before = indent.length + widths.slice(0, -1).reduce((sum, width) => sum + width + GAP.length, 0);
  const lastWidth = Math.max(LAST_COLUMN_WIDTH_MIN, options.width - before);
  const lines = all.flatMap((row, index) => {
    const isHeader = header.length > 0 && index === 0;
    const first = row.slice(0, -1).map((cell, column) => cell.padEnd(widths[column] as number));
    const last = wrapText(row.at(-1) ?? '', lastWidth);
    const start = indent + first.map((cell) => cell + GAP).join('');
    const whole = last
      .map((part, number) => (number === 0 ? start : ' '.repeat(start.length)) + part)
      .map((line) => line.trimEnd());
    return isHeader && options.styleHeader !== undefined ? whole.map(options.styleHeader) : whole;
  });
  return lines.join('\n');
}

/** Breaks at blanks; a longer word stands on a line of its own. At least one line. */
export function wrapText(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, line];
}
