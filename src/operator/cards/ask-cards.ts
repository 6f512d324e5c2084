/**
 * Asks the agents of another group for cards, over mutual TLS. The server must prove to be a node of that group: its CA and its
 * identity say so, whatever name or address it was dialled by.
 */
import { request } from 'node:https';
import type { PeerCertificate } from 'node:tls';
import { CARDS_BYTES_MAX, CARDS_PATH, CARDS_WAIT_MS, cardsAnswerSchema } from '../../api/group-card.ts';
import { describeDialError } from '../../base/dial-tls.ts';
import { nodeOfCertificate, type ReloadableTls } from '../../base/mutual-tls.ts';
import { readBounded } from '../../base/read-bounded.ts';

export interface CardPlace {
  /** Null: whoever is there, if it is a node of the global cluster. */
  readonly group: string | null;
  /** Name or address. */
  readonly host: string;
  readonly port: number;
}

export interface CardsAnswer {
  /** The group that answered, as its certificate says. */
  readonly from: string;
  readonly etag: string;
  /** Not judged yet. */
  readonly cards: readonly unknown[];
}

export interface AskCardsOptions {
  readonly globalCluster: string;
  readonly tls: ReloadableTls;
  readonly place: CardPlace;
  /** Of the cards that are known already: the answer comes when there are others. */
  readonly etag: string | null;
  readonly signal: AbortSignal;
}

/** Longer than the other side lets anybody wait. */
const TIMEOUT_MS = CARDS_WAIT_MS + 10_000;
/** Something new is told at once. */
const CONNECT_TIMEOUT_MS = 5000;
/** The answer has etags and quotes around the cards. */
const ANSWER_BYTES_MAX = CARDS_BYTES_MAX + 64 * 1024;

/** Throws DialError, and Error for an answer that is none. */
export function askCards({ globalCluster, tls, place, etag, signal }: AskCardsOptions): Promise<CardsAnswer> {
  const target = { host: place.host, address: null, port: place.port };
  const { promise, resolve, reject } = Promise.withResolvers<CardsAnswer>();
  let from = '';
  const fail = (error: Error): void => reject(describeDialError(target, error));
  const outgoing = request(
    {
      ...tls.connectOptions(target),
      checkServerIdentity: (_host: string, certificate: PeerCertificate): Error | undefined => {
        const identity = nodeOfCertificate(certificate, { globalCluster, group: place.group });
        if (identity === null)
          return new Error(`it is no node of ${place.group === null ? 'ours' : `group "${place.group}"`}`);
        from = identity.group;
        return undefined;
      },
      agent: false,
      method: 'GET',
      path: etag === null ? CARDS_PATH : `${CARDS_PATH}?etag=${encodeURIComponent(etag)}`,
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
    },
    (response) => {
      readBounded(response, ANSWER_BYTES_MAX).then((bytes) => {
        const text = bytes.toString('utf8');
        if (response.statusCode !== 200)
          return fail(new Error(`its agent answered ${response.statusCode}: ${text.slice(0, 300).trim()}`));
        try {
          resolve({ from, ...cardsAnswerSchema.parse(JSON.parse(text)) });
        } catch {
          fail(new Error('its agent answered with no cards'));
        }
      }, fail);
    },
  );
  const connecting = setTimeout(
    () => outgoing.destroy(new Error(`no connection within ${CONNECT_TIMEOUT_MS} ms`)),
    CONNECT_TIMEOUT_MS,
  );
  outgoing.once('socket', (socket) =>
    socket.setKeepAlive(true, 5000).once('secureConnect', () => clearTimeout(connecting)),
  );
  outgoing.once('close', () => clearTimeout(connecting));
  outgoing.once('error', fail);
  outgoing.end();
  return promise;
}
