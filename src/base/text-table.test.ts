import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { formatTable, wrapText } from './text-table.ts';

describe('formatTable', () => {
  it('aligns columns, and leaves out those without any text', () => {
    const text = formatTable(
      ['NAME', 'NOTE', 'SIZE'],
      [
        ['leo-1', '', '1'],
        ['pit', '', '20'],
      ],
      { width: 80 },
    );
    assert.equal(text, '  NAME   SIZE\n  leo-1  1\n  pit    20');
  });

  it('wraps the last column under itself', () => {
    const text = formatTable([], [['a', 'one two three four five six seven']], { width: 30, indent: 0 });
    assert.equal(text, 'a  one two three four five six\n   seven');
  });
});

describe('wrapText', () => {
  it('keeps every word, and goes beyond the width only for one word', () => {
    assert.deepEqual(wrapText('a bb https://a-long-one.example.com c', 10), [
      'a bb',
      'https://a-long-one.example.com',
      'c',
    ]);
    assert.deepEqual(wrapText('', 10), ['']);
  });
});
