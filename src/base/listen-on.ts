/** Listening with an error that says what to do about it. */
import type * as net from 'node:net';

/** `code` is LISTEN_FAILED; `cause.code` is the system's (EADDRINUSE, EACCES, EADDRNOTAVAIL). */
export class ListenError extends Error {
  override name = 'ListenError';
  readonly code = 'LISTEN_FAILED';
}

/** Resolves when the server listens. `address` null: all addresses, IPv6 and IPv4. Throws ListenError. */
export function listenOn(
  server: net.Server,
  where: { readonly address: string | null; readonly port: number; readonly backlog?: number },
): Promise<void> {
  const { address, port, backlog } = where;
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException): void => {
      const found = REASONS[error.code ?? ''] ?? error.message;
      reject(new ListenError(`Cannot listen on "${address ?? '*'}" port ${port}: ${found}`, { cause: error }));
    };
    server.once('error', onError);
    const options = {
      port,
      ...(address === null ? {} : { host: address }),
      ...(backlog === undefined ? {} : { backlog }),
    };
    server.listen(options, () => {
      server.off('error', onError);
      resolve();
    });
  });
}

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another process listens there; "ss -ltnp" names it',
  EACCES: 'this user may not; ports below 1024 need the right to bind them',
  EADDRNOTAVAIL: 'this machine does not have that address',
};
