/**
 * From the facts of every edge to what is wrong, in words. One fault breaks many edges, so edges are gathered under the cause
 * that explains them:
 *
 *   1  what is wrong with a program itself: lost, its clock, its certificate, its trust bundle
 *   2  each broken edge: explained by one of those, else by what its first failed step says
 *   3  what works and should be otherwise: hairpins; load balancers that nobody can dial yet
 */
import { EDGE_FAILURE, type EdgeFacts, type EdgeStep } from '../../api/edge-facts.ts';
import { parseSpiffeIdentity } from '../../base/spiffe-identity.ts';
import type { BalancerFacts, DoctorFacts, Finding, SourceFacts } from './doctor-facts.ts';
import { type FindingCode, FINDINGS } from './finding-codes.ts';

/** A clock this far off is said: certificates are issued with more slack than that, leases of other programs are not. */
export const CLOCK_OFF_MS = 2000;

/** In the order in which one would mend them. */
export function decideFindings(facts: DoctorFacts): Finding[] {
  const view = viewOf(facts);
  const found: Cause[] = [
    ...facts.sources.flatMap((source) => causesOfSource(source, view)),
    ...view.edges.flatMap((edge) => causesOfEdge(edge, view)),
    ...facts.balancers.filter(({ hosts }) => hosts.length === 0).map(pendingBalancer),
  ];
  const order = Object.keys(FINDINGS);
  return merge(found).toSorted(
    (a, b) =>
      a.severity.localeCompare(b.severity) ||
      order.indexOf(a.code) - order.indexOf(b.code) ||
      a.subject.localeCompare(b.subject),
  );
}

/** The failed step of an edge; null: it is well. */
export function failureOf({ steps }: EdgeFacts): EdgeStep | null {
  return steps.find(({ ok }) => !ok) ?? null;
}

/** One edge with where it begins. */
interface Edge {
  readonly source: SourceFacts;
  readonly facts: EdgeFacts;
  /** Node or proxy at its end, without the route: `leo-proxy-1` of `leo-proxy-1 write`. */
  readonly program: string;
  /** Whose certificate is shown: through a proxy that of a node. */
  readonly holder: string;
  readonly failure: EdgeStep | null;
}

interface Cause {
  readonly code: FindingCode;
  readonly severity?: 'error' | 'warning';
  readonly subject: string;
  readonly message: string;
  readonly edge: Edge | null;
  /** Another edge tells more of the same cause. */
  readonly isConsequence?: true;
}

interface View {
  readonly facts: DoctorFacts;
  readonly edges: readonly Edge[];
  /** Certificates that somebody trusts. */
  readonly trusted: ReadonlySet<string>;
  /** Programs that answer nobody. */
  readonly lost: ReadonlySet<string>;
  readonly clockOff: ReadonlySet<string>;
  readonly expired: ReadonlySet<string>;
  readonly foreign: ReadonlySet<string>;
  readonly stale: ReadonlySet<string>;
}

function viewOf(facts: DoctorFacts): View {
  const edges = facts.sources.flatMap((source) =>
    source.edges.map(
      (one): Edge => ({
        source,
        facts: one,
        program: programOf(one),
        holder: holderOf(one, facts),
        failure: failureOf(one),
      }),
    ),
  );
  const trusted = new Set(
    edges.flatMap(({ facts: { certificate } }) => (certificate?.isTrusted ? [certificate.fingerprint] : [])),
  );
  const untrusted = edges.filter(({ failure }) => failure?.code === EDGE_FAILURE.untrusted);
  const isKnown = ({ facts: { certificate } }: Edge) => certificate !== null && trusted.has(certificate.fingerprint);
  return {
    facts,
    edges,
    trusted,
    lost: lostPrograms(facts, edges),
    clockOff: new Set(facts.sources.filter(isClockOff).map(({ name }) => name)),
    expired: new Set(edges.filter((edge) => isEnded(edge, facts.nowMs)).map(({ holder }) => holder)),
    foreign: new Set(
      untrusted.filter((edge) => !isKnown(edge) && !isOfAnother(edge, facts)).map(({ holder }) => holder),
    ),
    stale: new Set(untrusted.filter(isKnown).map(({ source }) => source.name)),
  };
}

/** The node of ours that its identity names. What is not trusted may claim anything: it is a name for people, and nothing more. */
function holderOf(edge: EdgeFacts, { globalCluster, nodes }: DoctorFacts): string {
  const identity = edge.certificate?.identity == null ? null : parseSpiffeIdentity(edge.certificate.identity);
  const isOurs = identity?.globalCluster === globalCluster && nodes.some(({ name }) => name === identity.name);
  return isOurs ? (identity?.name as string) : programOf(edge);
}

const programOf = ({ target }: EdgeFacts): string => target.split(' ')[0] as string;

const UNREACHED = new Set<string>([EDGE_FAILURE.timeout, 'ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ETIMEDOUT']);

/** It could not be asked itself, and nobody gets as far as TLS with it. */
function lostPrograms({ sources }: DoctorFacts, edges: readonly Edge[]): Set<string> {
  return new Set(
    sources
      .filter(({ silence }) => silence !== null)
      .map(({ name }) => name)
      .filter((name) => {
        const towards = edges.filter(({ program }) => program === name);
        return towards.length > 0 && towards.every(({ failure }) => isUnreached(failure));
      }),
  );
}

function isUnreached(failure: EdgeStep | null): boolean {
  return (
    failure !== null &&
    (failure.step === 'connect' || failure.step === 'handshake') &&
    UNREACHED.has(failure.code ?? '')
  );
}

function isClockOff({ clockAheadMs }: SourceFacts): boolean {
  return clockAheadMs !== null && (clockAheadMs.least > CLOCK_OFF_MS || clockAheadMs.most < -CLOCK_OFF_MS);
}

function isEnded({ facts: { certificate } }: Edge, nowMs: number): boolean {
  return certificate !== null && Date.parse(certificate.notAfter) < nowMs;
}

function causesOfSource(source: SourceFacts, view: View): Cause[] {
  const causes: Cause[] = [];
  const { name, silence, clockAheadMs } = source;
  if (isClockOff(source) && clockAheadMs !== null) {
    const isAhead = clockAheadMs.least > 0;
    const seconds = Math.round((isAhead ? clockAheadMs.least : -clockAheadMs.most) / 1000);
    const message = `The clock of "${name}" is ${seconds} s ${isAhead ? 'ahead of' : 'behind'} the one of this machine`;
    causes.push({ code: 'ClockOff', subject: name, message, edge: null });
  }
  if (silence !== null && view.lost.has(name))
    causes.push({ code: 'ProgramLost', subject: name, message: `"${name}" answers nobody: ${silence}`, edge: null });
  else if (silence !== null && !isExplained(source, view))
    causes.push({
      code: 'SourceSilent',
      subject: name,
      message: `"${name}" could not be asked about its edges: ${silence}`,
      edge: null,
    });
  return causes;
}

/** Who asks it is a client too: the edge to it says why it could not be asked. */
function isExplained({ name }: SourceFacts, { edges }: View): boolean {
  return edges.some(
    ({ source, program, facts, failure }) =>
      source.kind === 'client' && program === name && failure !== null && ['agent', 'health'].includes(facts.purpose),
  );
}

function causesOfEdge(edge: Edge, view: View): Cause[] {
  const { failure } = edge;
  const broken = failure === null ? null : (causeByPrograms(edge, view) ?? causeByStep(edge, failure, view));
  const beside = elsewhere(edge, view) ?? unpublished(edge, view) ?? hairpin(edge, view);
  if (broken !== null && beside?.code !== 'NameOfAnother') return [broken];
  return beside === null ? [] : [beside];
}

/** A refusal of certificates or a silence whose reason is in one of the two programs. */
function causeByPrograms(edge: Edge, view: View): Cause | null {
  const { source, program, holder, facts, failure } = edge;
  const { certificate } = facts;
  const say = (code: FindingCode, subject: string, message: string): Cause => ({ code, subject, message, edge });
  if (view.lost.has(program)) return say('ProgramLost', program, `"${program}" answers nobody`);
  switch (failure?.code) {
    case EDGE_FAILURE.expired:
    case EDGE_FAILURE.notYetValid:
      if (view.clockOff.has(source.name)) return say('ClockOff', source.name, `The clock of "${source.name}" is off`);
      return failure.code === EDGE_FAILURE.expired
        ? say('CertificateExpired', holder, `The certificate of "${holder}" ended at ${certificate?.notAfter ?? '?'}`)
        : say(
            'CertificateNotYetValid',
            holder,
            `The certificate of "${holder}" begins at ${certificate?.notBefore ?? '?'}`,
          );
    case EDGE_FAILURE.untrusted:
      if (isOfAnother(edge, view.facts)) return null;
      if (certificate !== null && view.trusted.has(certificate.fingerprint))
        return say(
          'BundleStale',
          source.name,
          `The trust bundle of "${source.name}" lacks the CA that signed the certificate of "${holder}" (${certificate.issuer}), which others trust`,
        );
      return say(
        'CertificateForeign',
        holder,
        `The certificate of "${holder}" is signed by a CA that nobody trusts (${certificate?.issuer ?? 'none shown'})`,
      );
  }
  return isCertificateRefusal(edge) ? refusalBy(edge, view) : null;
}

/** The one that is refused shows a bad certificate, or the one that refuses does not know what others do. */
function refusalBy(edge: Edge, view: View): Cause {
  const { source, program, failure } = edge;
  const { name } = source;
  const say = (code: FindingCode, subject: string, message: string): Cause => ({
    code,
    subject,
    message,
    edge,
    isConsequence: true,
  });
  if (view.clockOff.has(program)) return say('ClockOff', program, `The clock of "${program}" is off`);
  if (view.expired.has(name)) return say('CertificateExpired', name, `The certificate of "${name}" has ended`);
  if (view.foreign.has(name))
    return say('CertificateForeign', name, `The certificate of "${name}" is signed by a CA that nobody trusts`);
  if (view.stale.has(program))
    return say('BundleStale', program, `The trust bundle of "${program}" lacks a CA that others have`);
  return say(
    'CertificateRefused',
    program,
    `"${program}" refuses the certificate of "${name}": ${failure?.found ?? 'it closed the connection'}`,
  );
}

/** With TLS 1.3 a server says so only when something is read; a Node server by closing the connection. */
function isCertificateRefusal({ failure, facts }: Edge): boolean {
  if (failure === null || !['agent', 'replication', 'record'].includes(facts.purpose)) return false;
  if (failure.step !== 'authenticate' && failure.step !== 'handshake') return false;
  const code = failure.code ?? '';
  return (
    code === EDGE_FAILURE.forbidden || code === 'PEER_REFUSED_CERTIFICATE' || /ALERT.*(CERT|UNKNOWN_CA)/.test(code)
  );
}

function causeByStep(edge: Edge, failure: EdgeStep, view: View): Cause {
  const { source, program, facts } = edge;
  const { host, port, target } = facts;
  const say = (code: FindingCode, subject: string, message: string): Cause => ({ code, subject, message, edge });
  const where = `"${target}" (${addressOf(facts)}:${port})`;
  switch (failure.step) {
    case 'resolve':
      return unresolved(edge, failure, view);
    case 'connect':
      if (failure.code === 'ECONNREFUSED')
        return say('PortRefused', `${target}:${port}`, `Nothing listens at ${where}`);
      return say('PortBlocked', `${target}:${port}`, `Connections to ${where} get no answer (${failure.code})`);
    case 'certificate':
      return say(
        'NameNotInCertificate',
        edge.holder,
        `The certificate that ${where} shows does not carry "${host}": ${failure.found}`,
      );
    default:
      break;
  }
  if (failure.code === EDGE_FAILURE.noTls) return say('NoTls', `${target}:${port}`, `${where} does not speak TLS`);
  if (failure.code === EDGE_FAILURE.timeout || failure.code === 'DIAL_TIMEOUT' || /timeout/i.test(failure.found))
    return say('NoAnswer', `${target}:${port}`, `${where} takes connections and gives no answer`);
  if (failure.code === '28P01')
    return say('PasswordWrong', 'the application', `The password is refused: ${failure.found}`);
  if (failure.code?.startsWith('28'))
    return say('LoginRefused', program, `"${program}" refuses a login (${facts.purpose}): ${failure.found}`);
  return say('EdgeBroken', target, `"${source.name}" does not get through to ${where}: ${failure.found}`);
}

/** Reached by its address; clients would dial the name. */
function unpublished(edge: Edge, view: View): Cause | null {
  const { resolved, address, steps } = edge.facts;
  if (address === null || resolved === null || resolved.length > 0) return null;
  const [asked] = steps;
  return asked === undefined ? null : unresolved(edge, { ...asked, code: 'ENOTFOUND' }, view);
}

/** getaddrinfo waits 5 s for an answer by default. */
const RESOLVER_SILENT_MS = 4000;

/** Some resolvers say SERVFAIL or REFUSED of a name that they do not have, which getaddrinfo calls EAI_AGAIN as well. */
function isResolverSilent({ resolvers }: SourceFacts, { ms }: EdgeStep, edges: readonly Edge[]): boolean {
  const own = resolvers.join(' ');
  const hasAnswered = edges.some(
    ({ source, facts }) => source.resolvers.join(' ') === own && (facts.resolved?.length ?? 0) > 0,
  );
  return ms >= RESOLVER_SILENT_MS && !hasAnswered;
}

const NOT_THERE = new Set(['ENOTFOUND', 'ENODATA', 'ENOENT']);

function unresolved(edge: Edge, failure: EdgeStep, { facts, edges }: View): Cause {
  const { source } = edge;
  const { host } = edge.facts;
  const severity = edge.facts.address === null ? 'error' : 'warning';
  const asked = source.resolvers.length === 0 ? '' : `, asked ${source.resolvers.join(', ')}`;
  const say = (code: FindingCode, subject: string, message: string): Cause => ({
    code,
    severity,
    subject,
    message,
    edge,
  });
  if (!NOT_THERE.has(failure.code ?? '') && isResolverSilent(source, failure, edges))
    return say(
      'ResolverSilent',
      source.name,
      `The resolver of "${source.name}" does not answer for "${host}" (${failure.code})${asked}`,
    );
  const domain = domainOf(host, facts.domains);
  const names = edges.filter((one) => domain !== null && domainOf(one.facts.host, facts.domains) === domain);
  const distinct = new Set(names.map((one) => one.facts.host)).size;
  const isAnyThere = names.some((one) => (one.facts.resolved?.length ?? 0) > 0);
  if (domain !== null && distinct > 1 && !isAnyThere)
    return say(
      'DomainWrong',
      domain,
      `None of ${distinct} names under "${domain}" resolves, such as "${host}", seen from "${source.name}"${asked}`,
    );
  return say('NameUnresolved', host, `"${host}" does not resolve, seen from "${source.name}"${asked}`);
}

/** The longest of the plan's domains that `host` lies under. */
function domainOf(host: string, domains: readonly string[]): string | null {
  const own = domains.filter((domain) => host.endsWith(`.${domain}`));
  return own.toSorted((a, b) => b.length - a.length)[0] ?? null;
}

/** What was reached, or where the name leads, is of somebody else. */
function elsewhere(edge: Edge, { facts }: View): Cause | null {
  const { host, resolved, certificate } = edge.facts;
  const say = (message: string): Cause => ({ code: 'NameOfAnother', subject: host, message, edge });
  const lead = resolved === null ? host : `${host}" (${resolved.join(', ')})`;
  if (isOfAnother(edge, facts))
    return say(
      `"${resolved === null ? `${host}"` : lead} leads to "${certificate?.identity}", not to "${edge.program}"`,
    );
  if (resolved === null || resolved.length === 0) return null;
  const others = facts.balancers.filter(
    ({ fqdns, addresses }) => !fqdns.includes(host) && addresses.some((one) => resolved.includes(one)),
  );
  const own = facts.balancers.filter(({ fqdns }) => fqdns.includes(host));
  const isOwn = own.some(({ addresses }) => addresses.some((one) => resolved.includes(one)));
  if (own.length === 0 || isOwn) return null;
  const [other] = others;
  return say(
    other === undefined
      ? `"${lead} is not an address of its load balancer (${own.flatMap(({ hosts }) => hosts).join(', ') || 'which has none'})`
      : `"${lead} leads to the load balancer of "${other.service}"`,
  );
}

/** By the identity in the certificate, which says more than an address. */
function isOfAnother({ facts: { certificate, purpose }, program }: Edge, facts: DoctorFacts): boolean {
  const identity = certificate?.identity == null ? null : parseSpiffeIdentity(certificate.identity);
  if (identity === null || purpose === 'record') return false;
  if (identity.globalCluster !== facts.globalCluster) return true;
  const node = facts.nodes.find(({ name }) => name === program);
  return node !== undefined && identity.name !== node.name;
}

function hairpin(edge: Edge, { facts }: View): Cause | null {
  const { source, program } = edge;
  const { address, resolved, host } = edge.facts;
  const group = facts.nodes.find(({ name }) => name === program)?.group;
  if (source.group === null || source.kind === 'client' || group !== source.group || address !== null) return null;
  const balancer = facts.balancers.find(
    (one) => one.group === group && one.addresses.some((each) => resolved?.includes(each)),
  );
  if (balancer === undefined) return null;
  const message = `Servers of "${group}" dial each other out of their cluster and back in: "${host}" resolves to ${resolved?.join(', ')}, the load balancer of "${balancer.service}"`;
  return { code: 'Hairpin', subject: `group ${group}`, message, edge };
}

function pendingBalancer({ group, service }: BalancerFacts): Cause {
  const message = `The load balancer of Service "${service}" (group "${group}") has no address: nobody outside reaches it`;
  return { code: 'BalancerWithoutAddress', subject: service, message, edge: null };
}

const addressOf = ({ address, resolved, host }: EdgeFacts): string => address ?? resolved?.[0] ?? host;

/** One finding for each cause; its message is that of the first edge which shows it itself. */
function merge(causes: readonly Cause[]): Finding[] {
  const byKey = new Map<string, Cause[]>();
  for (const cause of causes) {
    const key = `${cause.code} ${cause.subject}`;
    byKey.set(key, [...(byKey.get(key) ?? []), cause]);
  }
  return [...byKey.values()].map((own): Finding => {
    const told = (own.find(({ isConsequence }) => isConsequence === undefined) ?? own[0]) as Cause;
    const { code, subject, message } = told;
    const severities = own.map(({ severity }) => severity ?? FINDINGS[code].severity);
    return {
      code,
      severity: severities.includes('error') ? 'error' : 'warning',
      subject,
      message,
      todo: FINDINGS[code].todo,
      edges: own.flatMap(({ edge }) =>
        edge === null ? [] : [{ from: edge.source.name, to: edge.facts.target, purpose: edge.facts.purpose }],
      ),
    };
  });
}
