import assert from 'node:assert/strict';
import { test } from 'node:test';
import { proxySettingsSchema } from '../../api/postgres-group-routing.ts';
import { durationMs } from '../../api/postgres-group-values.ts';
import { PROXY_LIMITS } from './limits.ts';

test('has the defaults of .spec.proxySettings', () => {
  const settings = proxySettingsSchema.parse({});
  const { firstBytesTimeoutMs: _, ...limits } = PROXY_LIMITS;
  assert.deepEqual(limits, {
    connectionsMax: settings.connectionsMax,
    holdMs: durationMs(settings.holdTimeout),
    heldConnectionsMax: settings.heldConnectionsMax,
    connectTimeoutMs: durationMs(settings.connectTimeout),
    drainMs: durationMs(settings.drainTimeout),
  });
});
