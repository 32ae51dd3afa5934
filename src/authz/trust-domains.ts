import type { PolicyOptions } from "./policy-options.ts";
import { inTextSet, parseTextPattern, textSet } from "./text-pattern.ts";

/** Istio's name for "the trust domain that the workload is in", whatever it is called. */
const CLUSTER_LOCAL = "cluster.local";
/** `td/ns/<namespace>/sa/<service account>`. */
const KUBERNETES_PARTS = 5;

/** The local trust domain and its aliases; empty while the local one is unknown and there are no aliases. */
export function homeTrustDomains(options: PolicyOptions): readonly string[] {
  const { localTrustDomain, trustDomainAliases } = options;
  const all: readonly string[] =
    localTrustDomain === undefined ? trustDomainAliases : [localTrustDomain, ...trustDomainAliases];
  return [...new Set(all)];
}

/** The trust-domain part of a principal that expansion applies to: of five parts exactly, and not a lone star. */
function enforcedTrustDomain(principal: string): string | undefined {
  const parts = principal.split("/");
  return parts.length === KUBERNETES_PARTS && parts[0] !== "*" ? parts[0] : undefined;
}

function isHome(trustDomain: string, home: readonly string[]): boolean {
  const pattern = textSet([parseTextPattern(trustDomain)]);
  return home.some((candidate) => inTextSet(pattern, candidate));
}

/** A principal and its equals in the other home trust domains (authorization, section 5; Istio's trustdomain.Bundle). */
export function expandPrincipal(principal: string, home: readonly string[]): readonly string[] {
  const trustDomain = enforcedTrustDomain(principal);
  if (trustDomain === undefined || home.length === 0) return [principal];
  if (trustDomain !== CLUSTER_LOCAL && !isHome(trustDomain, home)) return [principal];
  const rest = principal.slice(trustDomain.length);
  const expanded = home.map((candidate) =>
    // A pattern such as *local stays as it is for the names that it already stands for.
    trustDomain.startsWith("*") && isHome(trustDomain, [candidate]) ? principal : candidate + rest,
  );
  return [...new Set(expanded)];
}

/** A value of `trustDomains` and, if it is a home trust domain, the others. `cluster.local` has no special meaning here. */
export function expandTrustDomain(trustDomain: string, home: readonly string[]): readonly string[] {
  return home.includes(trustDomain) ? home : [trustDomain];
}

/** The literal trust domain of a principal that is neither home nor cluster.local, or undefined: worth a warning. */
export function unknownTrustDomain(principal: string, home: readonly string[]): string | undefined {
  const slash = principal.indexOf("/");
  const trustDomain = slash === -1 ? principal : principal.slice(0, slash);
  if (trustDomain.includes("*") || home.includes(trustDomain)) return undefined;
  // Of cluster.local only the five-part form is translated.
  return trustDomain === CLUSTER_LOCAL && enforcedTrustDomain(principal) !== undefined ? undefined : trustDomain;
}
