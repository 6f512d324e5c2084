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
    assert.deepEqual(decision.kind === 'agree' && decision.login, login('second', 65));
    const behind = decideLogin({ ...facts, shown: shown('second'), others: [{ group: 'ait', generation: 130 }] });
    assert.deepEqual(behind.kind === 'agree' && behind.login, login('second', 193));
  });

  test('is not changed back by a Secret that still shows the password before', () => {
    const fetched = { ...facts, agreed: login('second', 4), previousPassword: 'first' };
    assert.equal(decideLogin(fetched).kind, 'keep');
    const given = decideLogin({ ...fetched, isGiven: true });
    assert.deepEqual(given.kind === 'agree' && given.login, login('first', 65));
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
    // Cards are late: a group decides by what it saw of the others some looks ago.
    const step = fc.record({
      at: fc.nat(2),
      change: fc.constantFrom('a', 'b', 'c', null, null),
      seesOthers: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const groups = names.map((name) => ({
          name,
          agreed: login('first', 1),
          before: null as string | null,
          seen: new Map(names.filter((one) => one !== name).map((one) => [one, 1])),
        }));
        const look = (at: number, changed: string | null, seesOthers: boolean): boolean => {
          const own = groups[at] as (typeof groups)[number];
          if (seesOthers)
            for (const { name, agreed } of groups) if (name !== own.name) own.seen.set(name, agreed.generation);
          const decision = decideLogin({
            group: own.name,
            agreed: own.agreed,
            previousPassword: own.before,
            shown: shown(changed ?? own.agreed.password),
            isGiven: false,
            others: [...own.seen].map(([group, generation]) => ({ group, generation })),
          });
          if (decision.kind === 'keep') return false;
          const next =
            decision.kind === 'agree' ? decision.login : groups.find(({ name }) => name === decision.from)?.agreed;
          own.before = own.agreed.password;
          own.agreed = next as ApplicationLogin;
          return true;
        };
        for (const { at, change, seesOthers } of steps) look(at, change, seesOthers);
        for (let round = 0; round < 4; round++) for (const at of [0, 1, 2]) look(at, null, true);
        assert.ok([0, 1, 2].every((at) => !look(at, null, true)));
        assert.equal(new Set(groups.map(({ agreed }) => `${agreed.generation} ${agreed.password}`)).size, 1);
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
