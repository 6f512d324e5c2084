/**
 * What an agent does for joining (docs/joining.md):
 *
 *   GET  /v1/join              anybody: the CA bundle, to be compared with the fingerprint in a token
 *   POST /v1/join              anybody: to the operator of the group (join-relay.ts)
 *   GET  /v1/join-requests     the own group's operator: what waits (long poll)
 *   POST /v1/join-answers      the own group's operator
 *   PUT  /v1/credentials       the own group's operator: the application's login, kept in memory only
 *   GET  /v1/credentials       operators of the global cluster
 */
import {
  type ApplicationLogin,
  applicationLoginSchema,
  CREDENTIALS_PATH,
  JOIN_ANSWER_BYTES_MAX,
  JOIN_ANSWERS_PATH,
  JOIN_BODY_BYTES_MAX,
  JOIN_REQUESTS_PATH,
  relayedAnswerSchema,
} from '../../api/invitation.ts';
import type { SpiffeIdentity } from '../../base/spiffe-identity.ts';
import type { CardAnswer, CardRequest } from './card-routes.ts';
import { type AdmissionRate, busyRefusal, JoinRelay } from './join-relay.ts';

/** A request of somebody without a certificate. */
export interface VisitorRequest extends Omit<CardRequest, 'identity' | 'query'> {
  /** Address of the connection. */
  readonly from: string;
}

export interface JoinRoutes {
  readonly relay: JoinRelay;
  /** JOIN_PATH. */
  visit(request: VisitorRequest): Promise<CardAnswer>;
  /** OPERATOR_PATHS. */
  answer(path: string, request: CardRequest): Promise<CardAnswer>;
}

export function createJoinRoutes(options: {
  readonly group: string;
  /** Reads the trust bundle, PEM. */
  readonly caBundle: () => Promise<string>;
  /** Default RATE. */
  readonly rate?: AdmissionRate;
}): JoinRoutes {
  const { group } = options;
  const relay = new JoinRelay({ group, ...(options.rate === undefined ? {} : { rate: options.rate }) });
  const login: { present: ApplicationLogin | null } = { present: null };
  return {
    relay,
    async visit({ method, from, body, signal }) {
      if (method !== 'GET' && method !== 'POST') return refused(405, `There is no ${method} here: GET and POST are`);
      if (!relay.admit()) return busyRefusal();
      if (method === 'GET') return { status: 200, body: { caBundle: await options.caBundle() } };
      return await relay.relay(from, () => body(JOIN_BODY_BYTES_MAX), signal);
    },
    async answer(path, request) {
      if (path === JOIN_REQUESTS_PATH && request.method === 'GET')
        return ownOperator(group, request) ?? { status: 200, body: await relay.next(request.signal) };
      if (path === JOIN_ANSWERS_PATH && request.method === 'POST')
        return ownOperator(group, request) ?? (await takeAnswer(relay, request));
      if (path === CREDENTIALS_PATH && request.method === 'PUT')
        return ownOperator(group, request) ?? (await takeLogin(login, request));
      if (path === CREDENTIALS_PATH && request.method === 'GET') return giveLogin(login.present, request.identity);
      return refused(405, `There is no ${request.method} ${path} here`);
    },
  };
}

async function takeAnswer(relay: JoinRelay, request: CardRequest): Promise<CardAnswer> {
  const parsed = relayedAnswerSchema.safeParse(await request.body(JOIN_ANSWER_BYTES_MAX + 4096));
  if (!parsed.success)
    return refused(400, `Cannot take the answer: ${parsed.error.issues[0]?.message ?? 'it is none'}`);
  return relay.answer(parsed.data) ? { status: 200, body: {} } : refused(410, 'Nobody waits for this answer any more');
}

async function takeLogin(login: { present: ApplicationLogin | null }, request: CardRequest): Promise<CardAnswer> {
  const parsed = applicationLoginSchema.safeParse(await request.body(LOGIN_BYTES_MAX));
  if (!parsed.success) return refused(400, 'Cannot take the login: it is none');
  login.present = parsed.data;
  return { status: 200, body: { generation: parsed.data.generation } };
}

/** Operators only: proxies and people at a terminal have certificates of the global cluster too. */
function giveLogin(login: ApplicationLogin | null, identity: SpiffeIdentity): CardAnswer {
  if (identity.name !== `${identity.group}-operator`)
    return refused(403, `The application's login is for operators, and this is "${identity.name}"`);
  return login === null
    ? refused(404, 'This agent has not been given the login yet: ask again, or another one of the group')
    : { status: 200, body: login };
}

const LOGIN_BYTES_MAX = 8192;

function ownOperator(group: string, { identity }: CardRequest): CardAnswer | null {
  if (identity.group === group && identity.name === `${group}-operator`) return null;
  return refused(403, `Only the operator of group "${group}" may do this, and this is "${identity.name}"`);
}

function refused(status: number, error: string): CardAnswer {
  return { status, body: { error } };
}
