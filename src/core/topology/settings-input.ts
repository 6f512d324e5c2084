/** What core/postgresql needs of the manifests. */
import type { PostgresGroup } from '../../api/postgres-group.ts';
import { quantityBytes, quantityCpus } from '../../api/postgres-group-values.ts';
import type { GlobalSettingsInput, SettingsInput } from '../postgresql/settings.ts';
import { imageMajor } from './image.ts';
import { resolveShared } from './shared-settings.ts';

/** Limits count before requests: what a node may use, it shall use. */
export function settingsInput({ metadata, spec }: PostgresGroup): SettingsInput {
  const { limits, requests } = spec.resources;
  const memory = limits.memory ?? requests.memory;
  const cpu = limits.cpu ?? requests.cpu;
  return {
    group: metadata.name,
    size: {
      memoryBytes: memory === undefined ? null : quantityBytes(memory),
      cpus: cpu === undefined ? null : quantityCpus(cpu),
      volumeBytes: quantityBytes(spec.storage.size),
    },
    parameters: spec.postgresql.parameters,
  };
}

/** What runs if neither the platform nor an image tells: the version of the default image. */
const POSTGRES_MAJOR_DEFAULT = 18;

/** @param postgresMajor what the platform found; default: the groups' images. */
export function globalSettingsInput(groups: readonly PostgresGroup[], postgresMajor?: number): GlobalSettingsInput {
  return {
    nodeCount: groups.reduce((sum, group) => sum + group.spec.instances, 0),
    detectionMs: resolveShared(groups).timing.detectionMs,
    postgresMajor:
      postgresMajor ?? groups.map((group) => imageMajor(group.spec.imageName)).find(Number) ?? POSTGRES_MAJOR_DEFAULT,
  };
}
