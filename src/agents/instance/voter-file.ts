/**
 * The promise on disk: one fsynced file outside the data directory, since a clone or a rewind replaces what is inside.
 * Losing it means losing the node's word, so a node without one is a new incarnation.
 */
import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { memberSchema } from '../../api/record.ts';
import { lsnSchema } from '../../api/peer-stream.ts';
import { readFileIfPresent, writeFileDurably } from '../../base/durable-file.ts';
import { formatLsn, parseLsn } from '../../base/lsn.ts';
import type { Lineage } from '../../core/leadership/position.ts';
import type { VoterState } from '../../core/leadership/voter.ts';

const lineageSchema = z.strictObject({
  timeline: z.int().min(1),
  history: z.array(z.strictObject({ timeline: z.int().min(1), endLsn: lsnSchema })),
});

const voterFileSchema = z.strictObject({
  format: z.literal(1),
  globalCluster: z.string(),
  node: z.string(),
  /** Bound to the database: another one's promise says nothing. null before there is data. */
  systemIdentifier: z.string().nullable(),
  incarnation: memberSchema.shape.incarnation,
  promisedTerm: z.int().min(0),
  seen: z.strictObject({ term: z.int().min(0), version: z.int().min(0) }),
  lineage: lineageSchema.nullable(),
  followedTerm: z.int().min(0),
  rewinding: z.boolean(),
  rewound: z.boolean().default(false),
});

export interface StoredVoter {
  readonly voter: VoterState;
  readonly systemIdentifier: string | null;
}

/** Codes: VOTER_FILE_INVALID (damaged), VOTER_FILE_FOREIGN (of another node or global cluster). */
export class VoterFileError extends Error {
  override name = 'VoterFileError';
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

export class VoterFile {
  readonly #path: string;
  readonly #identity: { readonly globalCluster: string; readonly node: string };

  constructor(stateDirectory: string, identity: { readonly globalCluster: string; readonly node: string }) {
    this.#path = join(stateDirectory, 'voter.json');
    this.#identity = { globalCluster: identity.globalCluster, node: identity.node };
  }

  /** What is on disk, or a fresh voter of a new incarnation (not yet written). */
  async load(): Promise<StoredVoter & { readonly isNew: boolean }> {
    const text = await readFileIfPresent(this.#path);
    if (text === null) return { voter: freshVoter(), systemIdentifier: null, isNew: true };
    const parsed = voterFileSchema.safeParse(parseJson(text));
    if (!parsed.success)
      throw new VoterFileError(
        'VOTER_FILE_INVALID',
        `Cannot read the promise in "${this.#path}": it is damaged; remove the file and the data directory to let this node join anew`,
        { cause: parsed.error },
      );
    const { format: _format, globalCluster, node, systemIdentifier, lineage, rewound, ...rest } = parsed.data;
    if (globalCluster !== this.#identity.globalCluster || node !== this.#identity.node)
      throw new VoterFileError(
        'VOTER_FILE_FOREIGN',
        `Cannot use the promise in "${this.#path}": it is of node "${node}" in "${globalCluster}", this is "${this.#identity.node}" in "${this.#identity.globalCluster}"; give this node its own volume`,
      );
    return {
      voter: { ...rest, ...(rewound ? { rewound } : {}), lineage: lineage === null ? null : decodeLineage(lineage) },
      systemIdentifier,
      isNew: false,
    };
  }

  /** Durable when this returns. */
  async save(stored: StoredVoter): Promise<void> {
    const { lineage, ...rest } = stored.voter;
    const content: z.infer<typeof voterFileSchema> = {
      format: 1,
      ...this.#identity,
      systemIdentifier: stored.systemIdentifier,
      ...rest,
      rewound: rest.rewound ?? false,
      lineage: lineage === null ? null : encodeLineage(lineage),
    };
    await mkdir(join(this.#path, '..'), { recursive: true, mode: 0o700 });
    await writeFileDurably(this.#path, `${JSON.stringify(content, null, 2)}\n`);
  }
}

export function freshVoter(): VoterState {
  return {
    incarnation: randomBytes(6).toString('hex'),
    promisedTerm: 0,
    seen: { term: 0, version: 0 },
    lineage: null,
    followedTerm: 0,
    rewinding: false,
  };
}

export function encodeLineage(lineage: Lineage): z.infer<typeof lineageSchema> {
  return {
    timeline: lineage.timeline,
    history: lineage.history.map((one) => ({ timeline: one.timeline, endLsn: formatLsn(one.endLsn) })),
  };
}

export function decodeLineage(lineage: z.infer<typeof lineageSchema>): Lineage {
  return {
    timeline: lineage.timeline,
    history: lineage.history.map((one) => ({ timeline: one.timeline, endLsn: parseLsn(one.endLsn) })),
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
