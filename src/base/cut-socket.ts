/** Ends a TCP connection at once and with a reset where that can be had; nothing that waits to be sent is sent. */
import type * as net from 'node:net';

/**
 * Node's own `resetAndDestroy` first waits until everything is written and shut down. Two faults of that here: a peer that
 * does not read keeps the connection open, and a reset that meets its own shutdown fails with EINVAL, after which Node 26
 * holds the handle for ever (`TCPWrap::Reset` marks it as closing without closing it): its port stays taken, and the
 * process spins when it ends. So: destroyed at once, with a reset unless a shutdown is under way.
 */
export function cutSocket(socket: net.Socket): void {
  if (socket.destroyed) return;
  // What resetAndDestroy sets for `_destroy`, which then resets instead of closing (node: lib/net.js).
  const isShuttingDown = socket.writableEnded && !socket.writableFinished;
  if (!isShuttingDown && !socket.connecting) (socket as { resetAndClosing?: boolean }).resetAndClosing = true;
  socket.destroy();
}
