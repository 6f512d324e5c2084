/**
 * What of a group is secret, and what is made once: its CA, leaf certificates, passwords. Read from the Secrets that are
 * there; what is missing, or no longer fits, is made (core/certificates decides). Kept in memory, so that a group that
 * rests costs no request.
 *
 * The CA's key is created, never overwritten: of two operators that start a group at once, one takes what the other made.
 */
import { randomInt } from 'node:crypto';
import type { PostgresGroup } from '../api/postgres-group.ts';
import { type CertificateRequest, LEAF_LIFETIME_MS } from '../core/certificates/certificate-request.ts';
import {
  type CertificateDecision,
  decideCertificates,
  type WantedCertificate,
} from '../core/certificates/decide-certificates.ts';
import { appSecret, identityUri, superuserSecret } from '../core/topology/names.ts';
import type { GlobalPlan, GroupPlan } from '../core/topology/plan-types.ts';
import { type BuiltInCa, createBuiltInCa, loadBuiltInCa } from '../platform/certificates/built-in-ca.ts';
import { joinBundle } from '../platform/certificates/certificate-folder.ts';
import { examineCertificate, observeAuthority } from '../platform/certificates/observe-certificate.ts';
import { isConflict } from '../platform/kubernetes/api-error.ts';
import type { KubeClient } from '../platform/kubernetes/kube-client.ts';
import { KUBE_KINDS } from '../platform/kubernetes/kube-object.ts';
import { ownedMetadata } from './objects/metadata.ts';
import {
  caKeySecret,
  etcdTlsSecret,
  nodeTlsSecret,
  operatorTlsSecret,
  proxyTlsSecret,
} from './objects/object-names.ts';
import type { CertificatePair, Login, RenderInput } from './objects/render-input.ts';
import { secretTexts } from './stored-object.ts';

export interface GroupSecrets {
  readonly authority: BuiltInCa;
  readonly trustBundle: string;
  /** By node; proxies' under the name of the plan's first proxy. */
  readonly certificates: Readonly<Record<string, CertificatePair>>;
  readonly replicationCertificates: Readonly<Record<string, CertificatePair>>;
  /** The operator's own towards agents. */
  readonly operator: CertificatePair;
  readonly app: Login;
  readonly superuserPassword: string | null;
  /** What was made now, and why: `leo-1: Its names are not those wanted: ...`. */
  readonly issued: readonly string[];
  /** When time alone asks for a look. */
  readonly checkAtMs: number;
  readonly authorityExpiryMs: number;
}

/** Texts of the Secrets of a group, by name; what was read or made last. */
export type SecretMemory = Map<string, Readonly<Record<string, string>>>;

export interface SecretsInput {
  readonly client: KubeClient;
  readonly plan: GlobalPlan;
  readonly groupPlan: GroupPlan;
  readonly group: PostgresGroup;
  readonly ownerUid: string;
  readonly memory: SecretMemory;
  readonly now: Date;
  /** CAs of the other groups, PEM. */
  readonly otherAuthorities?: readonly string[];
}

/** The program that gives the orders (agents/instance/peer-server.ts obeys this name). */
const operatorName = (group: string): string => `${group}-operator`;

/** Writes the CA's and the operator's own Secrets; the others are rendered from the result. Throws ApiError, CertificateSourceError. */
export async function maintainSecrets(input: SecretsInput): Promise<GroupSecrets> {
  const { plan, groupPlan, memory, now } = input;
  await readMissing(input);
  const authority = await openAuthority(input);
  const bundle = joinBundle([authority.authorityPem, ...(input.otherAuthorities ?? [])]);
  const holders = holdersOf(plan, groupPlan);
  const authorityFacts = observeAuthority(authority.authorityPem);
  const certificates: Record<string, CertificatePair> = {};
  const replicationCertificates: Record<string, CertificatePair> = {};
  const issued: string[] = [];
  let checkAtMs = Number.POSITIVE_INFINITY;
  let operator: CertificatePair | null = null;
  for (const { holder, secret, wanted } of holders) {
    const texts = memory.get(secret) ?? {};
    const found = new Map(
      wanted.flatMap(({ name }) => {
        const pair = pairIn(texts, name);
        const files = { certPem: pair?.certificate ?? '', keyPem: pair?.key ?? '' };
        return pair === null ? [] : [[name, examineCertificate(files, [authority.authorityPem])] as const];
      }),
    );
    const decisions = decideCertificates(found, wanted, { nowMs: now.getTime(), authority: authorityFacts });
    for (const decision of decisions) {
      const pair = await carryOut(decision, texts, authority, now);
      if (decision.kind === 'issue') issued.push(`${holder} (${decision.name}): ${decision.reason.message}`);
      else checkAtMs = Math.min(checkAtMs, decision.checkAtMs);
      memory.set(secret, {
        ...memory.get(secret),
        [`${decision.name}.crt`]: pair.certificate,
        [`${decision.name}.key`]: pair.key,
      });
      if (secret === operatorTlsSecret(groupPlan.name)) operator = pair;
      else (decision.name === 'replication' ? replicationCertificates : certificates)[holder] = pair;
    }
  }
  if (operator === null) throw new RangeError('Cannot find the certificate of the operator among those made');
  return {
    authority,
    trustBundle: bundle,
    certificates,
    replicationCertificates,
    operator,
    app: login(memory, appSecret(groupPlan.name), groupPlan.bootstrap.owner),
    superuserPassword: groupPlan.bootstrap.superuserAccess
      ? login(memory, superuserSecret(groupPlan.name), 'postgres').password
      : null,
    issued,
    checkAtMs: issued.length > 0 ? now.getTime() : checkAtMs,
    authorityExpiryMs: authorityFacts.notAfterMs,
  };
}

/** The operator's own Secrets, to be applied with the others. */
export function renderOperatorSecrets(input: RenderInput, secrets: GroupSecrets): object[] {
  const { operator, trustBundle } = secrets;
  const data = { 'tls.crt': operator.certificate, 'tls.key': operator.key, 'ca.crt': trustBundle };
  return [secretOf(input, operatorTlsSecret(input.groupPlan.name), 'kubernetes.io/tls', data)];
}

function secretOf(
  input: Pick<RenderInput, 'plan' | 'groupPlan' | 'group' | 'facts'>,
  name: string,
  type: string,
  texts: Record<string, string>,
) {
  const data = Object.fromEntries(
    Object.entries(texts).map(([key, text]) => [key, Buffer.from(text).toString('base64')]),
  );
  return { apiVersion: 'v1', kind: 'Secret', metadata: ownedMetadata(input, name), type, data };
}

interface Holder {
  /** Node, proxy or `operator`. */
  readonly holder: string;
  readonly secret: string;
  /** `tls` and `replication`: the names of their files in the Secret. */
  readonly wanted: readonly WantedCertificate[];
}

function holdersOf(plan: GlobalPlan, groupPlan: GroupPlan): Holder[] {
  const { name, nodes, proxies, etcd } = groupPlan;
  const [proxy] = proxies;
  const operator = operatorName(name);
  return [
    {
      holder: operator,
      secret: operatorTlsSecret(name),
      wanted: [{ name: 'tls', request: operatorRequest(plan, name) }],
    },
    ...nodes.map((node) => ({
      holder: node.name,
      secret: nodeTlsSecret(node.name),
      wanted: [
        { name: 'tls', request: node.certificate },
        { name: 'replication', request: node.replicationCertificate },
      ],
    })),
    ...(proxy === undefined
      ? []
      : [{ holder: proxy.name, secret: proxyTlsSecret(name), wanted: [{ name: 'tls', request: proxy.certificate }] }]),
    ...(etcd === null
      ? []
      : [
          { holder: etcd.name, secret: etcdTlsSecret(etcd.name), wanted: [{ name: 'tls', request: etcd.certificate }] },
        ]),
  ];
}

function operatorRequest(plan: GlobalPlan, group: string): CertificateRequest {
  const name = operatorName(group);
  return {
    commonName: name,
    dnsNames: [name],
    ipAddresses: [],
    uris: [identityUri(plan.globalCluster, group, name)],
    usages: ['client'],
    lifetimeMs: LEAF_LIFETIME_MS,
  };
}

/** What is not in memory is read, all at once. */
async function readMissing({ client, plan, groupPlan, memory }: SecretsInput): Promise<void> {
  const names = [
    caKeySecret(groupPlan.name),
    ...holdersOf(plan, groupPlan).map(({ secret }) => secret),
    appSecret(groupPlan.name),
    ...(groupPlan.bootstrap.superuserAccess ? [superuserSecret(groupPlan.name)] : []),
  ];
  await Promise.all(
    names
      .filter((name) => !memory.has(name))
      .map(async (name) => {
        const found = await client.find({ kind: KUBE_KINDS.Secret, namespace: groupPlan.namespace, name });
        if (found !== null) memory.set(name, secretTexts(found));
      }),
  );
}

async function openAuthority(input: SecretsInput): Promise<BuiltInCa> {
  const { client, plan, groupPlan, memory, now } = input;
  const name = caKeySecret(groupPlan.name);
  const stored = memory.get(name);
  if (stored !== undefined) return loadBuiltInCa({ certPem: stored['ca.crt'] ?? '', keyPem: stored['ca.key'] ?? '' });
  const made = await createBuiltInCa({ globalCluster: plan.globalCluster, group: groupPlan.name, now });
  const texts = { 'ca.crt': made.authorityPem, 'ca.key': made.keyPem };
  const facts = { ownerUid: input.ownerUid } as RenderInput['facts'];
  try {
    await client.create(secretOf({ plan, groupPlan, group: input.group, facts }, name, 'Opaque', texts));
    memory.set(name, texts);
    return made;
  } catch (error) {
    if (!isConflict(error)) throw error;
    const found = secretTexts(await client.get({ kind: KUBE_KINDS.Secret, namespace: groupPlan.namespace, name }));
    memory.set(name, found);
    return loadBuiltInCa({ certPem: found['ca.crt'] ?? '', keyPem: found['ca.key'] ?? '' });
  }
}

async function carryOut(
  decision: CertificateDecision,
  texts: Readonly<Record<string, string>>,
  authority: BuiltInCa,
  now: Date,
): Promise<CertificatePair> {
  if (decision.kind === 'keep') return pairIn(texts, decision.name) as CertificatePair;
  const { certPem, keyPem } = await authority.issue(decision.request, now);
  return { certificate: certPem, key: keyPem };
}

function pairIn(texts: Readonly<Record<string, string>>, name: string): CertificatePair | null {
  const [certificate, key] = [texts[`${name}.crt`], texts[`${name}.key`]];
  return certificate === undefined || key === undefined ? null : { certificate, key };
}

/** The stored password stays, whatever happens: applications hold it. */
function login(memory: SecretMemory, name: string, username: string): Login {
  const stored = memory.get(name)?.password;
  if (stored !== undefined && stored !== '') return { username, password: stored };
  const password = newPassword();
  memory.set(name, { ...memory.get(name), password });
  return { username, password };
}

const PASSWORD_LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';

/** 142 bits. Letters and digits only: it is pasted into URIs, shells and files of all kinds. */
function newPassword(): string {
  return Array.from({ length: 24 }, () => PASSWORD_LETTERS[randomInt(PASSWORD_LETTERS.length)]).join('');
}
