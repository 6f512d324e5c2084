/** Contradictions in `.spec.connectivity`: strategies, resolver, load balancers, TLS, templates of Services. */
import { isIP } from 'node:net';
import { nonLinearPart } from '../dns/split-rules.ts';
import { draftServices } from './services.ts';
import { templateProblems } from './service-template.ts';
import { none, refuseIf, type SpecProblem, type SpecRule } from './spec-problem.ts';

const splitDns: SpecRule = ({ connectivity }) => {
  const { extraRules } = connectivity.splitDNS;
  const path = 'connectivity.splitDNS.extraRules';
  const strategy = connectivity.internodeTrafficStrategy;
  if (extraRules.length > 0 && strategy !== 'SplitDNS') {
    return refuseIf(
      true,
      path,
      `found ${extraRules.length}, and the servers use ${strategy}`,
      'set spec.connectivity.internodeTrafficStrategy: SplitDNS, or leave the rules out',
    );
  }
  return extraRules.flatMap(({ host, result, regex }, index) => {
    const groups = regex ? regexGroups(host) : 0;
    if (groups === null)
      return refuseIf(true, `${path}[${index}].host`, `found "${host}"`, 'accepted: a regular expression');
    const part = regex ? nonLinearPart(host) : null;
    const isName = (text: string) => /^[a-zA-Z0-9_]([-a-zA-Z0-9._]*[a-zA-Z0-9_])?\.?$/.test(text);
    const used = [...result.matchAll(/\$\{([0-9]+)\}/g)].map((match) => Number(match[1]));
    const missing = used.find((number) => number > groups);
    const plain = result.replace(/\$\{[0-9]+\}/g, 'x');
    return [
      ...refuseIf(
        part !== null,
        `${path}[${index}].host`,
        `found "${part}" in "${host}"`,
        'accepted: an expression without look-around and back-references, so that every name is tried in linear time',
      ),
      ...refuseIf(
        !regex && !isName(host),
        `${path}[${index}].host`,
        `found "${host}"`,
        'accepted: a host name; for a regular expression, set regex: true',
      ),
      ...refuseIf(
        missing !== undefined,
        `${path}[${index}].result`,
        `found \${${missing}}, and the expression has ${groups} groups`,
        'accepted: ${1} to the number of groups',
      ),
      ...refuseIf(
        isIP(plain) === 0 && !isName(plain),
        `${path}[${index}].result`,
        `found "${result}"`,
        'accepted: an address or a host name',
      ),
    ];
  });
};

/** Number of capture groups; null if it is no expression. */
function regexGroups(source: string): number | null {
  try {
    // The empty alternative matches everything, so the match tells how many groups there are.
    return (new RegExp(`${source}|`).exec('')?.length ?? 1) - 1;
  } catch {
    return null;
  }
}

const loadBalancer: SpecRule = ({ connectivity }) => {
  const { enabled, allowedIPs, loadBalancerClass, scope } = connectivity.loadBalancer;
  if (enabled) return none;
  const path = 'connectivity.loadBalancer';
  const todo = 'set spec.connectivity.loadBalancer.enabled: true, or leave it out';
  return [
    ...refuseIf(
      allowedIPs.length > 0,
      `${path}.allowedIPs`,
      `found ${allowedIPs.length}, and load balancers are not enabled`,
      todo,
    ),
    ...refuseIf(
      loadBalancerClass !== undefined,
      `${path}.loadBalancerClass`,
      `found "${loadBalancerClass}", and load balancers are not enabled`,
      todo,
    ),
    ...refuseIf(scope === 'node', `${path}.scope`, 'found "node", and load balancers are not enabled', todo),
  ];
};

const tls: SpecRule = ({ connectivity }) => {
  const { serverCert, clientCert, entryCert } = connectivity.tls;
  const path = 'connectivity.tls';
  const isPublic = serverCert.certManager?.names === 'public';
  const publicNames = (field: 'internodeTrafficStrategy' | 'clientTrafficStrategy', instead: string) =>
    refuseIf(
      isPublic && connectivity[field] === 'ServiceName',
      `${path}.serverCert.certManager.names`,
      `found "public", and spec.connectivity.${field} is "ServiceName"`,
      `a public CA signs no names of Services: use ${field}: ${instead}, or a private CA`,
    );
  const isClientForeign = clientCert.certManager !== undefined || clientCert.preProvisioned !== undefined;
  return [
    ...publicNames('internodeTrafficStrategy', 'SplitDNS'),
    ...publicNames('clientTrafficStrategy', 'FQDN'),
    ...refuseIf(
      entryCert !== undefined && (entryCert.certManager === undefined) === (entryCert.secretRef === undefined),
      `${path}.entryCert`,
      `found ${entryCert?.secretRef === undefined ? 'neither' : 'both'} of certManager and secretRef`,
      'keep one',
    ),
    ...refuseIf(
      clientCert.certManager !== undefined && clientCert.preProvisioned !== undefined,
      `${path}.clientCert`,
      'found both certManager and preProvisioned',
      'keep the one that provides the certificate of streaming_replica',
    ),
    ...refuseIf(
      clientCert.preProvisioned !== undefined && clientCert.caCertSecret === undefined,
      `${path}.clientCert.caCertSecret`,
      'it is missing',
      'name the Secret with the CA that signed the pre-provisioned certificate, else no server accepts it',
    ),
    ...refuseIf(
      clientCert.caCertSecret !== undefined && !isClientForeign,
      `${path}.clientCert.caCertSecret`,
      `found "${clientCert.caCertSecret}" without certManager or preProvisioned`,
      'leave it out: the built-in CA verifies its own certificates',
    ),
    ...refuseIf(
      serverCert.caCertSecret !== undefined && serverCert.certManager === undefined,
      `${path}.serverCert.caCertSecret`,
      `found "${serverCert.caCertSecret}" without certManager`,
      'leave it out: the built-in CA verifies its own certificates',
    ),
  ];
};

/** A template serves several Services; each of its problems is said once. */
const templates: SpecRule = (_spec, group) => {
  const seen = new Map<string, SpecProblem>();
  for (const { templateField, template, generated, values } of draftServices(group)) {
    if (templateField === null || template === undefined) continue;
    for (const problem of templateProblems(generated, template, values)) {
      const path = `connectivity.${templateField}.${problem.path}`;
      if (!seen.has(path)) seen.set(path, { ...problem, path });
    }
  }
  return [...seen.values()];
};

export const CONNECTIVITY_RULES: readonly SpecRule[] = [splitDns, loadBalancer, tls, templates];
