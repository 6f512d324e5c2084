import { isNodeIdentity, type SpiffeIdentity } from '../base/spiffe-identity.ts';

/** Whom an agent obeys. Proxies carry clients' bytes and are the most exposed: they may look, not order. */
export function mayOrder(identity: SpiffeIdentity): boolean {
  return (
    isNodeIdentity(identity) ||
    identity.name === `${identity.group}-operator` ||
    identity.name === `${identity.group}-cli`
  );
}
