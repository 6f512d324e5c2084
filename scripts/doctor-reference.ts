/**
 * Writes docs/reference/findings.md: what `pgspan doctor` can find: node scripts/doctor-reference.ts
 * test/meta/reference.test.ts fails when it is not current.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { FINDINGS } from '../src/core/connectivity/finding-codes.ts';

export const FINDINGS_PAGE = 'docs/reference/findings.md';

export function findingsPage(): string {
  const rows = Object.entries(FINDINGS).map(
    ([code, { severity, meaning, todo }]) => `| \`${code}\` | ${severity} | ${meaning} | ${todo} |`,
  );
  return `# Findings of \`pgspan doctor\`

Made by \`npm run docs\` from \`src/core/connectivity/finding-codes.ts\`; do not edit. How they are found: [doctor.md](../doctor.md).

| finding | severity | what it means | what to change |
|---|---|---|---|
${rows.join('\n')}
`;
}

if (import.meta.main) writeFileSync(join(import.meta.dirname, '..', FINDINGS_PAGE), findingsPage());
