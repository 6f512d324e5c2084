import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseConfigurationText, parseRuleLines } from './configuration-text.ts';

test('settings are read as PostgreSQL reads them', () => {
  const text = `# memory
shared_buffers = 128MB      # a comment
Work_Mem 8MB
search_path = '"$user", public'
log_line_prefix='it''s %m # '
archive_command = 'cp "%p" \\'/mnt/%f\\''
auto_explain.log_min_duration = 100
work_mem = '16MB'
`;
  assert.deepEqual(parseConfigurationText(text), {
    parameters: {
      shared_buffers: '128MB',
      work_mem: '16MB',
      search_path: '"$user", public',
      log_line_prefix: "it's %m # ",
      archive_command: `cp "%p" '/mnt/%f'`,
      'auto_explain.log_min_duration': '100',
    },
    problems: [],
  });
});

test('what cannot be read is named with its line', () => {
  const { problems } = parseConfigurationText("work_mem\n\nport = 'open\ninclude = 'other.conf'\n= 5");
  assert.deepEqual(
    problems.map(({ line, found }) => `${line}: ${found}`),
    ['1: found "work_mem"', `3: found "port = 'open"`, '4: found "include"', '5: found "= 5"'],
  );
});

test('any text is read or refused, and no line is lost', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 200 }), (text) => {
      const { parameters, problems } = parseConfigurationText(text);
      const lines = text.split(/\r?\n/).filter((line) => !/^\s*(#|$)/.test(line));
      assert.ok(Object.keys(parameters).length + problems.length <= lines.length);
      if (lines.length > 0) assert.ok(Object.keys(parameters).length + problems.length > 0);
    }),
  );
});

test('rules lose comments and empty lines, and a backslash joins two', () => {
  assert.deepEqual(parseRuleLines('# mine\nhostssl all bob 10.0.0.0/8 \\\n  scram-sha-256\n\n'), [
    'hostssl all bob 10.0.0.0/8    scram-sha-256',
  ]);
});
