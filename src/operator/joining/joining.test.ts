/**
 * The join protocol between its real ends: the joining operator's part, an agent's port over TLS, the follower of the inviting
 * operator, its host. In memory are only the invitations and who was taken in. Every threat of docs/joining.md is tried here.
 */
import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { createServer, type Server } from 'node:https';
import { readFile } from 'node:fs/promises';
import { request } from 'node:https';
import { cardOf } from '../../../test/kit/cards.ts';
import { createTestPki, type TestPki } from '../../../test/kit/certificates.ts';
import { hostAnswers, recordedExchange } from '../../../test/kit/join-exchange.ts';
import { followingState } from '../../../test/kit/stream-publisher.ts';
import { type AdmissionRate, RATE } from '../../agents/instance/join-relay.ts';
import { createJoinRoutes } from '../../agents/instance/join-routes.ts';
import { PeerServer } from '../../agents/instance/peer-server.ts';
import type { GroupCard } from '../../api/group-card.ts';
import { type Invitation, JOIN_BODY_BYTES_MAX, JOIN_PATH } from '../../api/invitation.ts';
import { createReloadableTls } from '../../base/mutual-tls.ts';
import { waitUntil } from '../../base/wait-until.ts';
import { caFingerprints } from '../../core/joining/find-authority.ts';
import { tokenKey } from '../../core/joining/proofs.ts';
import { type Carried, carryInvitation } from './carry-invitation.ts';
import { type FoundInvitation, type HostPort, InvitationHost } from './invitation-host.ts';
import { JoiningSession } from './joining-session.ts';
import { RequestFollower } from './request-follower.ts';

const ADDRESS = '127.66.40.1';
const PORT = 7480;
/** For tests of what was admitted. */
const FREELY: AdmissionRate = { burst: 1000, perSecond: 1000 };
const ID = '0011223344556677';
const SECRET = Buffer.alloc(32, 5).toString('base64url');

let leo: TestPki;
let pit: TestPki;
let stranger: TestPki;
let server: PeerServer;
let follower: RequestFollower;
let host: InvitationHost;
const invitations = new Map<string, FoundInvitation>();
const admitted: GroupCard[] = [];
const events: string[] = [];
const seen: unknown[] = [];
let problems: string[] = [];
/** So often the API server does not take what is to be written down. */
let failures = 0;
let cards: GroupCard[] = [];
/** Changes what the host answers, as a damaged network or an agent in bad hands would. */
let tamper: (answer: { status: 200 | 409; body: unknown }) => { status: 200 | 409; body: unknown } | null = (one) =>
  one;

before(async () => {
  leo = await createTestPki({ group: 'leo' });
  pit = await createTestPki({ group: 'pit' });
  stranger = await createTestPki({ group: 'leo' });
  server = await startAgent(leo, 'leo-1', PORT);
  const tls = await createReloadableTls(await leo.issue('leo-operator'));
  follower = new RequestFollower({
    tls,
    answer: async (message) => {
      seen.push(message);
      const answer = await host.answer(message, Date.now());
      return answer === null ? null : tamper(answer);
    },
    onError: () => {},
  });
  follower.follow(new Map([['leo-1', { host: 'leo-1', address: ADDRESS, port: PORT }]]));
});

after(async () => {
  follower.close();
  await server.close();
  for (const pki of [leo, pit, stranger]) await pki[Symbol.asyncDispose]();
});

beforeEach(() => {
  host = new InvitationHost(hostPort());
  cards = [cardOf('leo', { caBundle: leo.ca.authorityPem }), cardOf('ait', { generation: 3 })];
  problems = [];
  failures = 0;
  invitations.set(ID, { id: ID, key: tokenKey(SECRET, ID), expiresAt: inSeconds(600), version: '7' });
});

afterEach(() => {
  invitations.clear();
  for (const list of [admitted, events, seen]) list.length = 0;
  tamper = (one) => one;
});

const inSeconds = (seconds: number) => new Date(Date.now() + seconds * 1000).toISOString();

function withdraw(): void {
  invitations.set(ID, { id: ID, expiresAt: inSeconds(600), withdrawnAt: inSeconds(-1), version: '8' });
}

function hostPort(): HostPort {
  return {
    facts: () => ({
      globalCluster: 'orders',
      group: 'leo',
      primaryGroup: 'leo',
      caBundle: leo.ca.authorityPem,
      cards,
      login: { username: 'app', password: 'a-password-of-the-application', generation: 4 },
    }),
    find: async (id) => invitations.get(id) ?? null,
    // As the API server does it with a precondition: one delete of one version succeeds.
    useUp: async (id, version) => invitations.get(id)?.version === version && invitations.delete(id),
    problems: () => problems,
    admit: async (card) => {
      if (failures-- > 0) throw new Error('Cannot apply ConfigMap "leo-peers": the API server does not answer');
      admitted.push(card);
    },
    onEvent: ({ reason, note }) => void events.push(`${reason} ${note}`),
  };
}

async function startAgent(
  pki: TestPki,
  name: string,
  agentPort: number,
  rate: AdmissionRate = FREELY,
): Promise<PeerServer> {
  const group = name.split('-')[0] as string;
  const agent = new PeerServer({
    globalCluster: 'orders',
    credentials: await createReloadableTls(await pki.issue(name)),
    handlers: {
      state: () => followingState(name, group),
      onEcho: () => {},
      onRequest: async () => ({}),
      isLive: () => true,
      isReady: () => true,
      status: async () => ({}),
      edges: async () => ({}),
      metrics: async () => ({ contentType: 'text/plain', body: '' }),
      order: async () => null,
      cards: async () => ({ status: 404, body: {} }),
      joining: createJoinRoutes({ group, caBundle: () => readFile(pki.caFile, 'utf8'), rate }),
      onError: () => {},
    },
  });
  await agent.listen(ADDRESS, agentPort);
  return agent;
}

function invitation(changes: Partial<Invitation> = {}): Invitation {
  return {
    id: ID,
    secret: SECRET,
    globalCluster: 'orders',
    group: 'leo',
    endpoint: { host: ADDRESS, port: PORT },
    caFingerprints: caFingerprints(leo.ca.authorityPem),
    expiresAt: Math.floor(Date.now() / 1000) + 600,
    ...changes,
  };
}

function offer(changes: { group?: string; globalCluster?: string; card?: GroupCard } = {}) {
  const { group = 'pit', globalCluster = 'orders' } = changes;
  const caBundle = pit.ca.authorityPem;
  return { group, globalCluster, caBundle, card: changes.card ?? cardOf(group, { caBundle, globalCluster }) };
}

/** A follower that has just begun is not heard yet. */
async function carry(token: Invitation = invitation(), given = offer()): Promise<Carried> {
  return await waitUntil('the agent had room', { timeoutMs: 60_000, intervalMs: 200 }, async () => {
    const result = await carryInvitation(token, given);
    const isBusy = result.kind === 'refused' && (result.reason === 'JoinBusy' || result.reason === 'JoinUnheard');
    return isBusy ? null : result;
  });
}

async function reasonOf(token?: Invitation, given?: ReturnType<typeof offer>): Promise<string> {
  const result = await carry(token, given);
  return result.kind === 'refused' ? result.reason : result.kind;
}

describe('joining by invitation', () => {
  test('hands over bundles, cards and the login, and uses the invitation up', async () => {
    const result = await carry();
    assert.equal(result.kind, 'welcome');
    if (result.kind !== 'welcome') return;
    const { welcome } = result;
    assert.equal(welcome.caBundle, leo.ca.authorityPem);
    assert.equal(welcome.primaryGroup, 'leo');
    assert.deepEqual(welcome.login, { username: 'app', password: 'a-password-of-the-application', generation: 4 });
    assert.deepEqual(
      result.cards.map(({ group }) => group),
      ['leo', 'ait'],
    );
    assert.deepEqual(
      admitted.map(({ group, caBundle }) => [group, caBundle]),
      [['pit', pit.ca.authorityPem]],
    );
    assert.equal(invitations.size, 0);
    assert.match(events.join(), /GroupJoined Group "pit"/);
  });

  test('shows neither the token nor the login to the agents that relay it', async () => {
    const answers: unknown[] = [];
    tamper = (one) => {
      answers.push(one);
      return one;
    };
    await carry();
    const relayed = JSON.stringify([seen, answers]);
    for (const secret of [SECRET, 'a-password-of-the-application', pit.ca.authorityPem.slice(40, 80)])
      assert.ok(!relayed.includes(secret));
  });

  test('outdoes the tombstone of a group of the same name', async () => {
    cards = [...cards, cardOf('pit', { generation: 41, left: true })];
    const result = await carry();
    assert.equal(result.kind === 'welcome' && result.welcome.cardGenerationMin, 43);
    assert.equal(admitted[0]?.generation, 42);
  });

  test('is one exchange, though the offer changes while it goes on: its welcome is kept', async () => {
    const session = new JoiningSession({ onChange: () => {} });
    const changed = () => offer({ card: cardOf('pit', { caBundle: pit.ca.authorityPem, generation: 7 }) });
    const begun = session.try(invitation(), offer());
    assert.equal(session.try(invitation(), changed()).digest, begun.digest);
    await waitUntil('it is over', { timeoutMs: 20_000 }, () => session.attempt?.isRunning === false);
    assert.equal(session.try(invitation(), changed()).outcome?.kind, 'welcome');
    assert.equal(admitted.length, 1);
    session.close();
  });

  test('is taken in by the same request where writing it down failed at first', async () => {
    failures = 1;
    assert.equal((await carry()).kind, 'welcome');
    assert.equal(admitted.length, 1);
    assert.equal(await reasonOf(), 'InvitationUnknown');
  });

  test('asks again for an answer that got lost, and is not refused for it', async () => {
    let lost = 0;
    tamper = (one) => {
      const isAcceptance = Object.hasOwn(one.body as object, 'box');
      if (!isAcceptance || lost > 0) return one;
      lost += 1;
      return null;
    };
    const result = await carry();
    assert.equal(lost, 1);
    assert.equal(result.kind, 'welcome');
    assert.equal(admitted.length, 1);
  });
});

describe('an invitation', () => {
  test('that was used is refused', async () => {
    assert.equal(await reasonOf(), 'welcome');
    assert.equal(await reasonOf(), 'InvitationUnknown');
    assert.equal(await reasonOf(invitation(), offer({ group: 'mia' })), 'InvitationUnknown');
    assert.equal(admitted.length, 1);
  });

  test('lets one in of many that come with it at once, over two operators that both believe to act', async () => {
    const other = new InvitationHost(hostPort());
    const first = host;
    let turn = 0;
    const both = {
      answer: (message: unknown, nowMs: number) => (turn++ % 2 === 0 ? first : other).answer(message, nowMs),
    };
    host = both as unknown as InvitationHost;
    const results = await Promise.all(
      ['pit', 'mia', 'rio'].map((group) => carryInvitation(invitation(), offer({ group }))),
    );
    // Requests reach whichever operator asked; exchanges begun at the other one are begun anew.
    assert.ok(results.filter(({ kind }) => kind === 'welcome').length <= 1);
    host = first;
    if (admitted.length === 0) await carry();
    assert.equal(admitted.length, 1);
    assert.equal(invitations.size, 0);
  });

  test('is used up once, although two operators decide in the same moment', async () => {
    // Both have begun an exchange, and both find the invitation unused: the second delete fails.
    const slow: HostPort = {
      ...hostPort(),
      find: async (id) => {
        const found = invitations.get(id) ?? null;
        await new Promise((resolve) => setTimeout(resolve, 50));
        return found;
      },
    };
    const hosts = [new InvitationHost(slow), new InvitationHost(slow)];
    const outcomes = await Promise.all(
      hosts.map((one, index) => hostAnswers(one, invitation(), offer({ group: index === 0 ? 'pit' : 'mia' }))),
    );
    assert.deepEqual(outcomes.toSorted(), ['INVITATION_UNKNOWN', 'welcome']);
    assert.equal(admitted.length, 1);
  });

  test('that has expired is refused by the clock of the group that invited, whatever the token says', async () => {
    invitations.set(ID, { id: ID, key: tokenKey(SECRET, ID), expiresAt: inSeconds(-1), version: '7' });
    assert.equal(await reasonOf(invitation({ expiresAt: 253_402_300_799 })), 'InvitationExpired');
    assert.equal(admitted.length, 0);
    assert.match(events.join(), /JoinRefused INVITATION_EXPIRED/);
  });

  test('that was withdrawn is refused, and told so; the group it was withdrawn from sees who still comes', async () => {
    withdraw();
    const result = await carry();
    assert.deepEqual(result.kind === 'refused' && [result.reason, result.isFinal], ['InvitationWithdrawn', true]);
    assert.match(
      result.kind === 'refused' ? result.message : '',
      /"0011223344556677" of group "leo" was withdrawn at 20/,
    );
    assert.equal(admitted.length, 0);
    assert.match(events.join(), /JoinRefused INVITATION_WITHDRAWN/);
  });

  test('withdrawn while an exchange goes on lets nobody in, to the last moment', async () => {
    const { join } = await recordedExchange(host, invitation(), offer());
    withdraw();
    assert.equal(codeOf(await host.answer(join, Date.now())), 'INVITATION_WITHDRAWN');

    // Found open, and withdrawn before it is used up: using up is of the version that was found.
    invitations.set(ID, { id: ID, key: tokenKey(SECRET, ID), expiresAt: inSeconds(600), version: '7' });
    const useUp: HostPort['useUp'] = async (id, version) => {
      withdraw();
      return await hostPort().useUp(id, version);
    };
    assert.equal(
      await hostAnswers(new InvitationHost({ ...hostPort(), useUp }), invitation(), offer()),
      'INVITATION_WITHDRAWN',
    );
    assert.equal(admitted.length, 0);
  });

  test('whose Secret was touched in the moment of its use, and is open, is used by the next exchange', async () => {
    let touched = 0;
    const useUp: HostPort['useUp'] = async (id, version) => touched++ > 0 && (await hostPort().useUp(id, version));
    const touchy = new InvitationHost({ ...hostPort(), useUp });
    assert.equal(await hostAnswers(touchy, invitation(), offer()), 'JOIN_RESTARTED');
    assert.equal(await hostAnswers(touchy, invitation(), offer()), 'welcome');
    assert.equal(admitted.length, 1);
  });

  test('with another secret, or another id, opens nothing', async () => {
    const other = Buffer.alloc(32, 6).toString('base64url');
    assert.equal(await reasonOf(invitation({ secret: other })), 'JoinUnproven');
    assert.equal(await reasonOf(invitation({ id: '0011223344556678' })), 'InvitationUnknown');
    assert.equal(invitations.size, 1);
  });

  test('of another global cluster or group than the server is of is not even sent', async () => {
    await assert.rejects(carryInvitation(invitation({ group: 'ait' }), offer()), /no node of group "ait"/);
    await assert.rejects(carryInvitation(invitation({ globalCluster: 'billing' }), offer()), /no node of group "leo"/);
    assert.deepEqual(seen, []);
  });

  test('stays open when the group that came with it cannot be taken in, and says why', async () => {
    problems = ['pit: spec.globalCluster.primaryGroup: found "pit", group leo says "leo"'];
    assert.equal(await reasonOf(), 'JoinContradicts');
    problems = [];
    assert.equal(await reasonOf(invitation(), offer({ group: 'ait' })), 'JoinNameTaken');
    assert.equal(await reasonOf(invitation(), offer({ globalCluster: 'billing' })), 'JoinOtherCluster');
    assert.equal(invitations.size, 1);
    assert.equal(await reasonOf(), 'welcome');
  });

  test('lets nobody in with a card of somebody else, with another CA than its card has, or with a tombstone', async () => {
    for (const card of [
      cardOf('ait', { caBundle: pit.ca.authorityPem }),
      cardOf('pit', { caBundle: leo.ca.authorityPem }),
      cardOf('pit', { caBundle: pit.ca.authorityPem, left: true }),
    ])
      assert.equal(await reasonOf(invitation(), offer({ card })), 'JoinInvalid');
    assert.equal(admitted.length, 0);
  });
});

describe('somebody between the clusters', () => {
  const OTHER_PORT = 7481;

  test('with a CA of his own is recognised before anything is said to him', async () => {
    const heard: string[] = [];
    const files = await stranger.issue('leo-1');
    const man: Server = createServer(
      { cert: await readFile(files.certFile), key: await readFile(files.keyFile) },
      (incoming, response) => {
        heard.push(`${incoming.method}`);
        response.end(JSON.stringify({ caBundle: stranger.ca.authorityPem }));
      },
    );
    await new Promise<void>((resolve) => man.listen(OTHER_PORT, ADDRESS, resolve));
    const token = invitation({ endpoint: { host: ADDRESS, port: OTHER_PORT } });
    const result = await carryInvitation(token, offer());
    assert.equal(result.kind === 'refused' && result.reason, 'JoinWrongAuthority');
    assert.deepEqual(heard, ['GET']);
    man.close();
  });

  test('who shows the right CA, which he has not, gets no connection', async () => {
    const files = await stranger.issue('leo-1');
    const heard: string[] = [];
    const man: Server = createServer(
      { cert: await readFile(files.certFile), key: await readFile(files.keyFile) },
      (incoming, response) => {
        heard.push(`${incoming.method}`);
        response.end(JSON.stringify({ caBundle: leo.ca.authorityPem }));
      },
    );
    man.on('tlsClientError', () => {});
    await new Promise<void>((resolve) => man.listen(OTHER_PORT, ADDRESS, resolve));
    const token = invitation({ endpoint: { host: ADDRESS, port: OTHER_PORT } });
    await assert.rejects(carryInvitation(token, offer()), { code: 'JOIN_UNREACHABLE' });
    assert.deepEqual(heard, ['GET']);
    man.close();
  });

  test('with the certificate of a proxy is no node, and gets no message', async () => {
    const agent = await startAgent(leo, 'leo-proxy-1', OTHER_PORT);
    const token = invitation({ endpoint: { host: ADDRESS, port: OTHER_PORT } });
    await assert.rejects(carryInvitation(token, offer()), /no node of group "leo"/);
    await agent.close();
  });

  test('who is a node in bad hands can change no message unnoticed', async () => {
    const changes: Record<string, (body: Record<string, unknown>) => Record<string, unknown>> = {
      'the bundle of the challenge': (body) => ('bundleHash' in body ? { ...body, bundleHash: 'ab'.repeat(32) } : body),
      'the nonce of the challenge': (body) =>
        'serverNonce' in body ? { ...body, serverNonce: Buffer.alloc(32, 1).toString('base64url') } : body,
      'the box of the answer': (body) =>
        'box' in body ? { ...body, box: `${String(body.box).slice(0, -4)}AAAA` } : body,
      'the proof of the answer': (body) =>
        'box' in body ? { ...body, proof: Buffer.alloc(32, 1).toString('base64url') } : body,
    };
    for (const [what, change] of Object.entries(changes)) {
      invitations.set(ID, { id: ID, key: tokenKey(SECRET, ID), expiresAt: inSeconds(600), version: '7' });
      tamper = ({ status, body }) => ({ status, body: change(body as Record<string, unknown>) });
      assert.equal(await reasonOf(), 'JoinUnproven', what);
    }
  });

  test('who is a node in bad hands can put no bundle of his own in, nor replay what he has seen', async () => {
    const { join } = await recordedExchange(host, invitation(), offer());
    // Another box with the old proof, the old box with another proof, and each with another nonce.
    const flipped = (text: string) => `${text.startsWith('A') ? 'B' : 'A'}${text.slice(1)}`;
    const fresh = async () => (await recordedExchange(host, invitation(), offer())).join;
    for (const field of ['box', 'proof', 'clientNonce', 'serverNonce'] as const) {
      const message = await fresh();
      const answer = await host.answer({ ...message, [field]: flipped(message[field]) }, Date.now());
      assert.equal(answer?.status, 409, field);
    }
    assert.equal(admitted.length, 0);
    const first = await host.answer(join, Date.now());
    assert.equal(first?.status, 200);
    // The same bytes again give the same answer, which only the token opens; nobody is taken in twice.
    assert.deepEqual(await host.answer(join, Date.now()), first);
    assert.equal(admitted.length, 1);
    // After the operator was started again nothing is left of it.
    const restarted = new InvitationHost(hostPort());
    const late = await restarted.answer(join, Date.now());
    assert.equal(codeOf(late), 'INVITATION_UNKNOWN');
  });
});

describe('strangers without an invitation', () => {
  const FLOODED_PORT = 7482;
  let flooded: PeerServer;

  before(async () => {
    flooded = await startAgent(leo, 'leo-2', FLOODED_PORT, RATE);
    follower.follow(
      new Map([
        ['leo-1', { host: 'leo-1', address: ADDRESS, port: PORT }],
        ['leo-2', { host: 'leo-2', address: ADDRESS, port: FLOODED_PORT }],
      ]),
    );
  });
  after(() => flooded.close());

  test('who flood are refused over the rate, while health answers and a group still joins', async () => {
    const statuses: number[] = [];
    let isOver = false;
    const flood = async (): Promise<void> => {
      while (!isOver) statuses.push(await fetchStatus(FLOODED_PORT, JOIN_PATH, '{"step":"hello"}'));
    };
    const floods = Array.from({ length: 4 }, flood);
    const startMs = performance.now();
    const refusals = () => statuses.filter((status) => status === 429).length;
    await waitUntil('the flood was refused', { timeoutMs: 60_000 }, () => refusals() >= 20);
    assert.equal(await fetchStatus(FLOODED_PORT, '/livez'), 200);
    isOver = true;
    await Promise.all(floods);
    const secondsMax = (performance.now() - startMs) / 1000 + 1;
    const through = statuses.filter((status) => status !== 429).length;
    assert.ok(through <= RATE.burst + RATE.perSecond * secondsMax, `${through} of ${statuses.length} came through`);
    assert.equal(await reasonOf(invitation({ endpoint: { host: ADDRESS, port: FLOODED_PORT } })), 'welcome');
  });

  test('may send no body over the limit, and no nonsense', async () => {
    assert.equal(await fetchStatus(PORT, JOIN_PATH, '{'), 400);
    assert.equal(await fetchStatus(PORT, JOIN_PATH, `"${'x'.repeat(JOIN_BODY_BYTES_MAX)}"`), 400);
    for (const nonsense of [null, 7, [], { step: 'join' }, { step: 'hello', version: 2 }, { step: 'x'.repeat(9000) }]) {
      const answer = await host.answer(nonsense, Date.now());
      assert.equal(codeOf(answer), 'JOIN_INVALID');
    }
  });
});

function codeOf(answer: { readonly body: unknown } | null): string | undefined {
  return (answer?.body as { code?: string } | undefined)?.code;
}

function fetchStatus(port: number, path: string, body?: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const method = body === undefined ? 'GET' : 'POST';
    const options = { host: ADDRESS, port, path, method, rejectUnauthorized: false, agent: false };
    const outgoing = request(options, (response) => {
      response.resume();
      response.once('end', () => resolve(response.statusCode ?? 0));
      response.once('error', reject);
    });
    outgoing.once('error', reject);
    outgoing.end(body);
  });
}
