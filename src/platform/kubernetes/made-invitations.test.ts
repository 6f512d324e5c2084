/** Listing and withdrawing over the client's port: an API server in memory, with the versions of objects that the real one has. */
import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import { INVITATIONS_ANNOTATION, invitationSecret } from '../../api/invitation.ts';
import { ApiError } from './api-error.ts';
import type { ClusterSession } from './invitations.ts';
import type { KubeClient } from './kube-client.ts';
import type { KubeObject } from './kube-object.ts';
import { listInvitations, withdrawInvitation } from './made-invitations.ts';

const NOW = new Date('2026-11-21T12:00:00.000Z');
const OPEN = '0011223344556677';
const USED = '0011223344556678';
const ENDED = '0011223344556679';
const UNKNOWN = '001122334455667a';
const inMinutes = (minutes: number) => new Date(NOW.getTime() + minutes * 60_000).toISOString();

let secrets: Map<string, KubeObject>;
/** Called before a change reaches the server. */
let beforePatch: () => void;

beforeEach(() => {
  secrets = new Map();
  beforePatch = () => {};
  put(OPEN, inMinutes(30));
  put(ENDED, inMinutes(-30));
});

function put(id: string, expiresAt: string, resourceVersion = '7'): void {
  const name = invitationSecret('leo', id);
  const metadata = { name, namespace: 'shop', uid: 'a', resourceVersion, creationTimestamp: '2026-11-21T11:30:00Z' };
  secrets.set(name, {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata,
    data: { id: base64(id), key: base64('ab'.repeat(32)), expiresAt: base64(expiresAt) },
  });
}

const base64 = (text: string) => Buffer.from(text).toString('base64');

function session(): ClusterSession {
  const noted = JSON.stringify({ [OPEN]: inMinutes(30), [USED]: inMinutes(20), [ENDED]: inMinutes(-30) });
  const group: KubeObject = {
    apiVersion: 'pgspan.io/v1alpha1',
    kind: 'PostgresGroup',
    metadata: { name: 'leo', annotations: { [INVITATIONS_ANNOTATION]: noted } },
  };
  const client: Partial<KubeClient> = {
    list: async () => ({ items: [group], resourceVersion: '1' }),
    find: async ({ name }) => secrets.get(name) ?? null,
    mergePatch: async ({ name }, patch) => {
      beforePatch();
      const present = secrets.get(name);
      if (present === undefined) throw new ApiError(`patch Secret "${name}"`, 404, '');
      const { metadata, data } = patch as {
        metadata: { resourceVersion: string };
        data: Record<string, string | null>;
      };
      if (metadata.resourceVersion !== present.metadata.resourceVersion)
        throw new ApiError(`patch Secret "${name}"`, 409, 'the object has been modified');
      const entries = Object.entries({ ...(present.data as object), ...data }).filter(([, value]) => value !== null);
      const changed = { ...present, data: Object.fromEntries(entries) };
      secrets.set(name, { ...changed, metadata: { ...present.metadata, resourceVersion: '8' } });
      return changed;
    },
  };
  return { client: client as KubeClient, namespace: 'shop', context: {} as ClusterSession['context'] };
}

const withdraw = (id: string) => withdrawInvitation(session(), { group: undefined, id, now: NOW });
const states = async () => {
  const { invitations } = await listInvitations(session(), { group: undefined, now: NOW });
  return invitations.map(({ id, state }) => [id, state]);
};

describe('the invitations that a group has made', () => {
  test('are listed by when they end, with what became of each', async () => {
    assert.deepEqual(await listInvitations(session(), { group: 'leo', now: NOW }), {
      group: 'leo',
      invitations: [
        {
          id: ENDED,
          state: 'expired',
          madeAt: '2026-11-21T11:30:00Z',
          expiresAt: inMinutes(-30),
          withdrawnAt: null,
        },
        { id: USED, state: 'used', madeAt: null, expiresAt: inMinutes(20), withdrawnAt: null },
        { id: OPEN, state: 'open', madeAt: '2026-11-21T11:30:00Z', expiresAt: inMinutes(30), withdrawnAt: null },
      ],
    });
  });

  test('leave nothing behind that opens, once withdrawn; twice is as good as once', async () => {
    const first = await withdraw(OPEN);
    assert.deepEqual(first, { id: OPEN, group: 'leo', expiresAt: inMinutes(30), withdrawnAt: NOW.toISOString() });
    assert.equal(Object.hasOwn(secrets.get(invitationSecret('leo', OPEN))?.data as object, 'key'), false);
    assert.deepEqual((await states()).at(-1), [OPEN, 'withdrawn']);
    assert.deepEqual(await withdraw(OPEN), first);
  });

  test('that were used, or never made, cannot be withdrawn, and which it is is said', async () => {
    await assert.rejects(withdraw(USED), { code: 'INVITATION_UNKNOWN', message: /it was used already/ });
    await assert.rejects(withdraw(UNKNOWN), { code: 'INVITATION_UNKNOWN', message: /it has made none of this id/ });
    beforePatch = () => void secrets.delete(invitationSecret('leo', OPEN));
    await assert.rejects(withdraw(OPEN), { code: 'INVITATION_UNKNOWN', message: /it was used already/ });
  });

  test('are withdrawn although something else changed the Secret in the same moment, and not for ever', async () => {
    let changes = 0;
    beforePatch = () => {
      if (changes++ === 0) put(OPEN, inMinutes(45), '9');
    };
    assert.equal((await withdraw(OPEN)).expiresAt, inMinutes(45));
    put(OPEN, inMinutes(30));
    beforePatch = () => put(OPEN, inMinutes(30), `${changes++}`);
    await assert.rejects(withdraw(OPEN), { code: 'KUBE_REFUSED', status: 409 });
  });
});
