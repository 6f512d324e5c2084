import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { UserError } from '../base/user-error.ts';
import { type AccessFlags, chosenPlatform } from './cluster-access.ts';

const NOTHING = { HOME: '/nowhere', PATH: '/bin' };

suite('the cluster that a verb means', () => {
  const cases: readonly [what: string, flags: AccessFlags, env: NodeJS.ProcessEnv, platform: 'local' | 'kubernetes'][] =
    [
      ['a context', { context: 'prod' }, NOTHING, 'kubernetes'],
      ['a kubeconfig', { kubeconfig: '/x' }, NOTHING, 'kubernetes'],
      [
        'a namespace, although a folder is set',
        { namespace: 'shop' },
        { ...NOTHING, PGSPAN_STATE: '/x' },
        'kubernetes',
      ],
      ['a folder', { state: '/x' }, { ...NOTHING, PGSPAN_PLATFORM: 'kubernetes' }, 'local'],
      ['the folder of the environment', {}, { ...NOTHING, PGSPAN_STATE: '/x' }, 'local'],
      ['the plugin of kubectl', {}, { ...NOTHING, PGSPAN_STATE: '/x', PGSPAN_PLATFORM: 'kubernetes' }, 'kubernetes'],
    ];
  for (const [what, flags, env, platform] of cases) {
    test(`${what}: ${platform}`, async () => assert.equal(await chosenPlatform(flags, env), platform));
  }

  test('both at a time are refused', async () => {
    await assert.rejects(
      chosenPlatform({ state: '/x', context: 'prod' }, NOTHING),
      (error) => error instanceof UserError && error.code === 'OPTION_INVALID',
    );
  });
});
