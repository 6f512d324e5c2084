/** What `pgspan doctor` has gathered, and what it says about it. Plain data: decide-findings.ts goes from the one to the other. */
import type { EdgeFacts, EdgePurpose } from '../../api/edge-facts.ts';
import type { FindingCode } from './finding-codes.ts';

export interface SourceFacts {
  /** `leo-1`, `leo-proxy-1`, `here`. */
  readonly name: string;
  readonly kind: 'node' | 'proxy' | 'client';
  /** Group whose cluster it runs in; null: outside of all. */
  readonly group: string | null;
  /** Why it could not be asked, as a sentence part; then `edges` is empty. */
  readonly silence: string | null;
  /** Between which milliseconds its clock is ahead of ours (negative: behind); null: not known. */
  readonly clockAheadMs: { readonly least: number; readonly most: number } | null;
  /** Name servers that it asks. */
  readonly resolvers: readonly string[];
  readonly edges: readonly EdgeFacts[];
}

/** A Service of type LoadBalancer. */
export interface BalancerFacts {
  readonly group: string;
  readonly service: string;
  /** Program that is reached: the node, or the service itself where any proxy may answer. */
  readonly fqdns: readonly string[];
  /** What its status gives: addresses and host names; empty: nothing yet. */
  readonly hosts: readonly string[];
  /** Those, with the host names resolved. */
  readonly addresses: readonly string[];
}

export interface DoctorFacts {
  readonly globalCluster: string;
  readonly domains: readonly string[];
  readonly nodes: readonly { readonly name: string; readonly group: string }[];
  readonly sources: readonly SourceFacts[];
  readonly balancers: readonly BalancerFacts[];
  /** Edges that the plan has; as many are to be tried. */
  readonly plannedEdges: number;
  /** Milliseconds since 1970, of this machine. */
  readonly nowMs: number;
}

export interface EdgeName {
  readonly from: string;
  readonly to: string;
  readonly purpose: EdgePurpose;
}

export interface Finding {
  readonly code: FindingCode;
  readonly severity: 'error' | 'warning';
  /** What is at fault: a node, a name, a domain, a Service. */
  readonly subject: string;
  /** What was found, as a sentence. */
  readonly message: string;
  /** What to change, as a sentence. */
  readonly todo: string;
  /** Those that suffer; none: it concerns no edge yet. */
  readonly edges: readonly EdgeName[];
}
