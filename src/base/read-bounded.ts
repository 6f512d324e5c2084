/** Bytes from the network that somebody else chose the number of. */
import type { IncomingMessage } from 'node:http';

/** All of an answer. Throws Error, as the end of a sentence, if it is longer than `bytesMax`, and what the connection's end says. */
export async function readBounded(incoming: IncomingMessage, bytesMax: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bytesMax) {
      incoming.destroy();
      throw new Error(`its answer has more than ${bytesMax} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
