/** Services: as the plan has them, the user's templates merged in (core/topology/services.ts). */
import type { Service } from '../../platform/kubernetes/object-types.ts';
import { ownedMetadata } from './metadata.ts';
import type { RenderInput } from './render-input.ts';

export function renderServices(input: RenderInput): Service[] {
  return input.groupPlan.services.map(({ name, labels, annotations, spec }) => ({
    apiVersion: 'v1',
    kind: 'Service',
    // The plan's labels know which workload is behind it.
    metadata: { ...ownedMetadata(input, name, { annotations }), labels },
    spec,
  }));
}
