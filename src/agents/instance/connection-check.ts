/**
 * Before a connection of the path carries anything: does the server that was reached still have the role and the timeline that
 * this node has written down? Its agent is asked once the connection stands; a server cannot change either without ending it.
 */
import type { RequestMessage } from '../../api/peer-stream.ts';
import type { NodeContext } from './node-context.ts';

/** The agent is beside the server that was just reached. */
const ANSWER_TIMEOUT_MS = 1000;

export type ServerRole = Omit<Extract<RequestMessage, { method: 'serves' }>, 'type' | 'id' | 'method'>;

/** A question to the agent of `name`, for PathTarget.verify: false also when no answer comes. */
export function serverCheck(node: NodeContext, name: string, role: ServerRole): () => Promise<boolean> {
  return async () => {
    try {
      const answer = await node.links.get(name)?.request({ method: 'serves', ...role }, ANSWER_TIMEOUT_MS);
      if (answer?.accepted !== true)
        node.log.info({ peer: name, ...role }, 'connection refused: it has become another');
      return answer?.accepted === true;
    } catch (error) {
      node.log.info({ peer: name, error: (error as Error).message }, 'connection refused: not confirmed');
      return false;
    }
  };
}
