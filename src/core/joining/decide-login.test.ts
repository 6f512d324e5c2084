import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { ApplicationLogin } from '../../api/invitation.ts';
import { decideLeaving, LEAVING_MS_MAX } from './decide-leaving.ts';
import { decideLogin, type LoginFacts } from './decide-login.ts';

const login = (password: string, generation: number): ApplicationLogin => ({ username: 'app', password, generation });
const facts: LoginFacts = {
  group: 'leo',
  agreed: login('first', 3),
  previousPassword: null,
  shown: { username: 'app', password: 'first' },
  isGiven: false,
  others: [
    { group: 'ait', generation: 3 },
    { group: 'pit', generation: 2 },
  ],
};
const shown = (password: string) => ({ username: 'app', password });

describe('the login of all groups', () => {
  test('rests while all have the newest, and is fetched from whoever has a newer one', () => {
    assert.equal(decideLogin(facts).kind, 'keep');
    assert.deepEqual(decideLogin({ ...facts, others: [...facts.others, { group: 'mia', generation: 5 }] }), {
      kind: 'fetch',
      from: 'mia',
      generation: 5,
    });
  });

  test('gets the next generation when its Secret was changed by hand', () => {
    const decision = decideLogin({ ...facts, shown: shown('second') });
    assert.deepEqual(decision.kind === 'agree' && decision.login, login('second', 4));
    const behind = decideLogin({ ...facts, shown: shown('second'), others: [{ group: 'ait', generation: 9 }] });
    assert.deepEqual(behind.kind === 'agree' && behind.login, login('second', 10));
  });

  test('is not changed back by a Secret that still shows the password before', () => {
    const fetched = { ...facts, agreed: login('second', 4), previousPassword: 'first' };
    assert.equal(decideLogin(fetched).kind, 'keep');
    const given = decideLogin({ ...fetched, isGiven: true });
    assert.deepEqual(given.kind === 'agree' && given.login, login('first', 5));
  });

  test('is the own one when nobody has agreed on any', () => {
    const first = decideLogin({ ...facts, agreed: null, others: [] });
    assert.deepEqual(first.kind === 'agree' && first.login, login('first', 1));
    assert.equal(decideLogin({ ...facts, agreed: null }).kind, 'fetch');
    // A Secret of the user's is the same everywhere.
    const given = decideLogin({ ...facts, agreed: null, isGiven: true });
    assert.deepEqual(given.kind === 'agree' && given.login, login('first', 3));
  });

  test('becomes one and stays it, in whatever order groups look, after changes at several at once', () => {
    const names = ['leo', 'ait', 'pit'];
    const step = fc.record({ at: fc.nat(2), change: fc.option(fc.constantFrom('a', 'b', 'c'), { freq: 3 }) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const agreed = names.map(() => login('first', 1));
        const before: (string | null)[] = names.map(() => null);
        const look = (at: number, changed: string | null): boolean => {
          const own = agreed[at] as ApplicationLogin;
          const decision = decideLogin({
            group: names[at] as string,
            agreed: own,
            previousPassword: before[at] ?? null,
            shown: shown(changed ?? own.password),
            isGiven: false,
            others: names.flatMap((group, index) =>
              index === at ? [] : [{ group, generation: agreed[index]?.generation ?? 0 }],
            ),
          });
          if (decision.kind === 'keep') return false;
          before[at] = own.password;
          agreed[at] =
            decision.kind === 'agree' ? decision.login : (agreed[names.indexOf(decision.from)] as ApplicationLogin);
          return true;
        };
        for (const { at, change } of steps) look(at, change);
        for (let round = 0; round < 4; round++) for (const at of [0, 1, 2]) look(at, null);
        assert.ok([0, 1, 2].every((at) => !look(at, null)));
        assert.equal(new Set(agreed.map(({ generation }) => generation)).size, 1);
      }),
    );
  });
});

describe('a group that leaves', () => {
  const leaving = { elapsedMs: 0, others: ['ait', 'pit'], tombstone: null, heard: {}, mustHandOver: false };

  test('hands the lead over, tells, waits until all have heard, and goes', () => {
    assert.equal(decideLeaving({ ...leaving, mustHandOver: true }).kind, 'hand-over');
    assert.equal(decideLeaving(leaving).kind, 'tell');
    assert.deepEqual(decideLeaving({ ...leaving, tombstone: 7, heard: { ait: 7, pit: 6 } }), {
      kind: 'wait',
      missing: ['pit'],
    });
    assert.deepEqual(decideLeaving({ ...leaving, tombstone: 7, heard: { ait: 7, pit: 8 } }), {
      kind: 'let-go',
      missing: [],
    });
  });

  test('goes at once when it has no others, and after a minute in any case', () => {
    assert.equal(decideLeaving({ ...leaving, others: [] }).kind, 'let-go');
    assert.equal(decideLeaving({ ...leaving, mustHandOver: true, elapsedMs: LEAVING_MS_MAX / 2 }).kind, 'tell');
    const late = decideLeaving({ ...leaving, tombstone: 7, heard: { ait: 7 }, elapsedMs: LEAVING_MS_MAX });
    assert.deepEqual(late, { kind: 'let-go', missing: ['pit'] });
  });
});
