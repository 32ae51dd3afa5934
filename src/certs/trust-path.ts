import type { X509Certificate } from "node:crypto";
import type { ErrorCode } from "../core/error-codes.ts";
import type { TrustBundle } from "../core/identity.ts";
import { isCrlOf } from "./crl.ts";
import { nameConstraintsProblem } from "./name-constraints.ts";
import type { CertificateFacts } from "./read-certificate.ts";
import { validityProblem } from "./svid-rules.ts";
import { bundleIndex } from "./trust-bundle.ts";

/** One certificate of a presented chain. */
export interface Link {
  /** "the leaf", "intermediate 1", "the authority": for reasons. */
  readonly label: string;
  readonly certificate: X509Certificate;
  readonly facts: CertificateFacts;
}

/** A broken rule and the certificate that breaks it. `reason` is one line. */
export interface ChainProblem {
  readonly code: ErrorCode;
  readonly reason: string;
}

/** Most signature checks that one chain may cost: eight certificates in any order need fewer. */
const MAX_SIGNATURE_CHECKS = 48;

/** Finds a path from the leaf over the presented intermediates, in any order, to an authority of this one bundle, that
 *  keeps every rule of RFC 5280 section 6 which concerns more than one certificate: signatures, path lengths, name
 *  constraints, revocation. Authorities are held to their validity too. Returns the authority, or what was wrong with
 *  the path that came farthest. */
export function findTrustPath(
  leaf: Link,
  intermediates: readonly Link[],
  bundle: TrustBundle,
  nowMs: number,
): { readonly authority: Link } | { readonly problem: ChainProblem } {
  const { authorities, crls } = bundleIndex(bundle);
  let problem: ChainProblem | undefined;
  let checksLeft = MAX_SIGNATURE_CHECKS;

  const issued = (issuer: { facts: CertificateFacts; certificate: X509Certificate }, subject: Link): boolean => {
    if (Buffer.compare(issuer.facts.subject, subject.facts.issuer) !== 0) return false;
    if (checksLeft-- <= 0) return false;
    if (isSignedBy(subject.certificate, issuer.certificate)) return true;
    problem ??= {
      code: "E_CHAIN_SIGNATURE",
      reason: `${subject.label} names an issuer whose signature it does not carry`,
    };
    return false;
  };

  const revokedBy = (path: readonly Link[]): ChainProblem | undefined => {
    for (const [i, subject] of path.entries()) {
      const issuer = path[i + 1];
      if (issuer === undefined) return undefined;
      const source = { subject: issuer.facts.subject, certificate: issuer.certificate };
      if (crls.some((crl) => crl.serials.has(subject.facts.serial) && isCrlOf(crl, source)))
        return { code: "E_PEER_REVOKED", reason: `${subject.label} is on a revocation list of its issuer` };
    }
    return undefined;
  };

  const search = (path: readonly Link[]): Link | undefined => {
    const last = path.at(-1);
    if (last === undefined) return undefined;
    for (const authority of authorities) {
      if (!issued(authority, last)) continue;
      const end: Link = { label: `an authority of ${bundle.trustDomain}`, ...authority };
      const expired = validityProblem(authority.facts, nowMs);
      const rule = authority.problem ?? expired;
      const found =
        rule === undefined
          ? (pathRuleProblem([...path, end]) ?? revokedBy([...path, end]))
          : { code: rule.code, reason: `${end.label} ${rule.text}` };
      if (found === undefined) return end;
      problem = found;
    }
    for (const next of intermediates) {
      if (path.includes(next) || !issued(next, last)) continue;
      const end = search([...path, next]);
      if (end !== undefined) return end;
    }
    return undefined;
  };

  const authority = search([leaf]);
  if (authority !== undefined) return { authority };
  return {
    problem: problem ?? {
      code: "E_CHAIN_UNTRUSTED",
      reason: `the chain does not end in an authority of ${bundle.trustDomain}`,
    },
  };
}

function isSignedBy(subject: X509Certificate, issuer: X509Certificate): boolean {
  try {
    return subject.checkIssued(issuer) && subject.verify(issuer.publicKey);
  } catch {
    return false; // a public key that OpenSSL does not take
  }
}

/** Path lengths and name constraints over a whole path, leaf first and authority last. */
function pathRuleProblem(path: readonly Link[]): ChainProblem | undefined {
  for (const [i, ca] of path.entries()) {
    if (i === 0) continue;
    const allowed = ca.facts.basicConstraints?.pathLength;
    if (allowed !== undefined && i - 1 > allowed)
      return { code: "E_CHAIN_PATH_LENGTH", reason: `${ca.label} allows ${allowed} CAs below it and has ${i - 1}` };
    if (ca.facts.nameConstraints === undefined) continue;
    for (const below of path.slice(0, i)) {
      const text = nameConstraintsProblem(ca.facts.nameConstraints, below.facts);
      if (text !== undefined)
        return { code: "E_CHAIN_NAME_CONSTRAINTS", reason: `${below.label}: ${text} by ${ca.label}` };
    }
  }
  return undefined;
}
