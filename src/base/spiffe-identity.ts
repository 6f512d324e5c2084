/**
 * Who a program is: `spiffe://<globalCluster>/<group>/<name>`, the URI SAN of its certificate.
 * `name` is a node (`leo-1`), a proxy (`leo-proxy-1`) or another program of the group (`leo-operator`).
 * Reading it from a TLS connection is peerIdentity in mutual-tls.ts.
 */
export interface SpiffeIdentity {
  readonly globalCluster: string;
  readonly group: string;
  readonly name: string;
}

/** Lower-case DNS labels only: two spellings of one identity, an escape or an empty part could fool a comparison. */
const LABEL = '[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?';
const IDENTITY = new RegExp(`^spiffe://(${LABEL})/(${LABEL})/(${LABEL})$`);

/** Null for anything that is not exactly of the form above. */
export function parseSpiffeIdentity(uri: string): SpiffeIdentity | null {
  const match = IDENTITY.exec(uri);
  if (match === null) return null;
  return { globalCluster: match[1] as string, group: match[2] as string, name: match[3] as string };
}

export function formatSpiffeIdentity(identity: SpiffeIdentity): string {
  return `spiffe://${identity.globalCluster}/${identity.group}/${identity.name}`;
}

export function isSameIdentity(a: SpiffeIdentity, b: SpiffeIdentity): boolean {
  return a.globalCluster === b.globalCluster && a.group === b.group && a.name === b.name;
}

/** True for the instance agent of a PostgreSQL node: its name is `<group>-<n>`, n from 1. Only those may write the record. */
export function isNodeIdentity(identity: SpiffeIdentity): boolean {
  return (
    identity.name.startsWith(`${identity.group}-`) &&
    /^[1-9][0-9]{0,4}$/.test(identity.name.slice(identity.group.length + 1))
  );
}

/**
 * The values of all SANs of one kind (`DNS`, `URI`, `IP Address`) in Node's text form of the extension, in order.
 * Node puts an entry in JSON quotes if it holds a character that could be taken for a separator
 * (https://nodejs.org/api/tls.html#tlscheckserveridentityhostname-cert, CVE-2021-44532), so a plain split would be wrong.
 */
export function parseSubjectAltNames(text: string, kind: 'DNS' | 'URI' | 'IP Address'): string[] {
  const values: string[] = [];
  const entry = /([A-Za-z ]+):("(?:[^"\\]|\\.)*"|[^",]*)(?:, |$)/y;
  while (entry.lastIndex < text.length) {
    const match = entry.exec(text);
    const value = match === null ? null : unquote(match[2] as string);
    if (match === null || value === null) return []; // Not Node's form: believe nothing of it.
    if (match[1] === kind) values.push(value);
  }
  return values;
}

function unquote(value: string): string | null {
  if (!value.startsWith('"')) return value;
  try {
    return JSON.parse(value) as string;
  } catch {
    return null;
  }
}
