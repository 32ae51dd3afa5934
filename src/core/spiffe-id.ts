import { CountersignError } from "./errors.ts";

/** A validated SPIFFE ID, e.g. `spiffe://example.org/ns/shop/sa/web` (SPIFFE-ID section 2). Made only by parseSpiffeId. */
export type SpiffeId = string & { readonly __brand: "SpiffeId" };
/** A validated trust domain name, e.g. `example.org`. */
export type TrustDomain = string & { readonly __brand: "TrustDomain" };

const SCHEME = "spiffe://";
const MAX_ID_BYTES = 2048;
const MAX_TRUST_DOMAIN_BYTES = 255;

function isTrustDomainChar(c: number): boolean {
  return (c >= 0x61 && c <= 0x7a) || (c >= 0x30 && c <= 0x39) || c === 0x2e || c === 0x2d || c === 0x5f;
}

function isPathChar(c: number): boolean {
  return isTrustDomainChar(c) || (c >= 0x41 && c <= 0x5a);
}

/** Why a text is no SPIFFE ID, or undefined if it is one. Written by hand: a URL parser normalises and so accepts
 *  what must be refused (SPIFFE-ID sections 2.1 to 2.3). The path may be empty here; X.509-SVID leaves need one. */
export function spiffeIdProblem(text: string): string | undefined {
  if (text.length > MAX_ID_BYTES) return `is longer than ${MAX_ID_BYTES} bytes`;
  if (!text.startsWith(SCHEME)) return "does not start with spiffe:// in lower case";
  let end = text.indexOf("/", SCHEME.length);
  if (end === -1) end = text.length;
  const domainProblem = trustDomainProblem(text.slice(SCHEME.length, end));
  if (domainProblem !== undefined) return `has a trust domain that ${domainProblem}`;
  if (end === text.length) return undefined;
  let segmentStart = end + 1;
  for (let i = segmentStart; i <= text.length; i++) {
    if (i < text.length && text.charCodeAt(i) !== 0x2f) {
      if (!isPathChar(text.charCodeAt(i))) return "has a path character outside A-Z a-z 0-9 . _ -";
      continue;
    }
    if (i === segmentStart) return i === text.length ? "ends with a slash" : "has an empty path segment";
    const segment = text.slice(segmentStart, i);
    if (segment === "." || segment === "..") return "has a . or .. path segment";
    segmentStart = i + 1;
  }
  return undefined;
}

function trustDomainProblem(text: string): string | undefined {
  if (text.length === 0) return "is empty";
  if (text.length > MAX_TRUST_DOMAIN_BYTES) return `is longer than ${MAX_TRUST_DOMAIN_BYTES} bytes`;
  for (let i = 0; i < text.length; i++) {
    if (!isTrustDomainChar(text.charCodeAt(i))) return "has a character outside a-z 0-9 . _ -";
  }
  return undefined;
}

/** Brands a text as SPIFFE ID. Throws CountersignError E_SPIFFE_ID that says which rule it breaks. */
export function parseSpiffeId(text: string): SpiffeId {
  const problem = spiffeIdProblem(text);
  if (problem !== undefined)
    throw new CountersignError("E_SPIFFE_ID", `${JSON.stringify(text.slice(0, 200))} ${problem}`);
  return text as SpiffeId;
}

/** Brands a text as trust domain. Throws CountersignError E_TRUST_DOMAIN. */
export function parseTrustDomain(text: string): TrustDomain {
  const problem = trustDomainProblem(text);
  if (problem !== undefined)
    throw new CountersignError("E_TRUST_DOMAIN", `${JSON.stringify(text.slice(0, 200))} ${problem}`);
  return text as TrustDomain;
}

export function trustDomainOf(id: SpiffeId): TrustDomain {
  const slash = id.indexOf("/", SCHEME.length);
  return (slash === -1 ? id.slice(SCHEME.length) : id.slice(SCHEME.length, slash)) as TrustDomain;
}

/** The path with its leading slash, or "" (a trust domain's own ID). */
export function pathOf(id: SpiffeId): string {
  const slash = id.indexOf("/", SCHEME.length);
  return slash === -1 ? "" : id.slice(slash);
}

/** What Istio calls the principal: the ID without `spiffe://`. */
export function principalOf(id: SpiffeId): string {
  return id.slice(SCHEME.length);
}
