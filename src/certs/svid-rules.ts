import type { ErrorCode } from "../core/error-codes.ts";
import { pathOf, type SpiffeId, spiffeIdProblem } from "../core/spiffe-id.ts";
import { nameKinds, nameText } from "./general-name.ts";
import { type CertificateFacts, keyUsageBits } from "./read-certificate.ts";

/** One broken rule. `text` goes on after the name of the certificate: "is a CA certificate". */
export interface RuleProblem {
  readonly code: ErrorCode;
  readonly text: string;
}

const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
const CLIENT_AUTH = "1.3.6.1.5.5.7.3.2";
const ANY_PURPOSE = "2.5.29.37.0";
const acceptedCurves: ReadonlySet<string> = new Set(["P-256", "P-384", "P-521"]);

/** All URI SANs, in order, exactly as they stand in the certificate. */
export function uriSans(facts: CertificateFacts): string[] {
  return facts.subjectAltNames.filter(({ kind }) => kind === nameKinds.uri).map(nameText);
}

/** Rules for the key of every certificate, authorities included. */
export function keyProblem({ publicKey }: CertificateFacts): RuleProblem | undefined {
  switch (publicKey.kind) {
    case "ed25519":
      return undefined;
    case "ec":
      if (acceptedCurves.has(publicKey.curve)) return undefined;
      return { code: "E_CERT_KEY_CURVE", text: `has a key on the curve ${publicKey.curve}` };
    case "ec-explicit":
      return { code: "E_CERT_KEY_EXPLICIT_CURVE", text: "has an EC key with explicit curve parameters" };
    case "rsa":
      if (publicKey.bits < 2048 || publicKey.bits > 4096)
        return { code: "E_CERT_KEY_SIZE", text: `has an RSA key of ${publicKey.bits} bits` };
      if (!publicKey.isExponentSound) return { code: "E_CERT_KEY_UNSOUND", text: "has an unsound RSA key" };
      return undefined;
    case "other":
      return { code: "E_CERT_KEY_TYPE", text: `has a key of the kind ${publicKey.algorithm}` };
  }
}

/** Rules for every certificate that a peer presents (and for our own). */
export function certificateProblems(facts: CertificateFacts): RuleProblem[] {
  const found: RuleProblem[] = [];
  if (!facts.signatureAlgorithmsAgree)
    found.push({ code: "E_CERT_SIGNATURE_MISMATCH", text: "names two different signature algorithms" });
  if (!facts.signature.isAccepted)
    found.push({ code: "E_CERT_SIGNATURE_WEAK", text: `is signed with ${facts.signature.name}` });
  const key = keyProblem(facts);
  if (key !== undefined) found.push(key);
  if (facts.unknownCritical.length > 0)
    found.push({
      code: "E_CERT_EXTENSION_CRITICAL",
      text: `has the unknown critical extension ${facts.unknownCritical[0]}`,
    });
  return found;
}

/** X.509-SVID rules for a leaf (SPIFFE X.509-SVID sections 2, 4 and 5). */
export function leafProblems(facts: CertificateFacts): RuleProblem[] {
  return [...spiffeIdProblems(facts), ...leafConstraintProblems(facts), ...leafUsageProblems(facts)];
}

function spiffeIdProblems(facts: CertificateFacts): RuleProblem[] {
  const uris = uriSans(facts);
  const [uri] = uris;
  if (uri === undefined) return [{ code: "E_SVID_URI_MISSING", text: "has no URI SAN" }];
  if (uris.length > 1) return [{ code: "E_SVID_URI_SEVERAL", text: `has ${uris.length} URI SANs` }];
  const problem = spiffeIdProblem(uri);
  if (problem !== undefined) return [{ code: "E_SVID_SPIFFE_ID", text: `has a URI SAN that ${problem}` }];
  if (pathOf(uri as SpiffeId) === "") return [{ code: "E_SVID_PATH_EMPTY", text: "has a SPIFFE ID without a path" }];
  return [];
}

function leafConstraintProblems({ basicConstraints }: CertificateFacts): RuleProblem[] {
  return basicConstraints?.isCa === true ? [{ code: "E_SVID_LEAF_IS_CA", text: "is a CA certificate" }] : [];
}

function leafUsageProblems({ keyUsage, extendedKeyUsage }: CertificateFacts): RuleProblem[] {
  const found: RuleProblem[] = [];
  if (keyUsage === undefined) found.push({ code: "E_SVID_KEY_USAGE_ABSENT", text: "has no key usage" });
  else {
    if (!keyUsage.isCritical)
      found.push({ code: "E_SVID_KEY_USAGE_NOT_CRITICAL", text: "has a key usage that is not critical" });
    if ((keyUsage.bits & keyUsageBits.digitalSignature) === 0)
      found.push({ code: "E_SVID_KEY_USAGE_NO_SIGNATURE", text: "has a key usage without digitalSignature" });
    if ((keyUsage.bits & (keyUsageBits.keyCertSign | keyUsageBits.cRLSign)) !== 0)
      found.push({ code: "E_SVID_KEY_USAGE_SIGNS", text: "has a key usage with keyCertSign or cRLSign" });
  }
  if (
    extendedKeyUsage !== undefined &&
    !(extendedKeyUsage.includes(SERVER_AUTH) && extendedKeyUsage.includes(CLIENT_AUTH))
  )
    found.push({
      code: "E_SVID_EXTENDED_KEY_USAGE",
      text: "has an extended key usage without serverAuth or clientAuth",
    });
  return found;
}

/** Rules for an intermediate; it may narrow purposes by an extended key usage of its own, but not away from ours. */
export function intermediateProblems(facts: CertificateFacts): RuleProblem[] {
  const found: RuleProblem[] = [];
  if (facts.basicConstraints?.isCa !== true) found.push({ code: "E_CHAIN_NOT_CA", text: "is no CA certificate" });
  if (facts.keyUsage === undefined) found.push({ code: "E_CHAIN_KEY_USAGE_ABSENT", text: "has no key usage" });
  else if ((facts.keyUsage.bits & keyUsageBits.keyCertSign) === 0)
    found.push({ code: "E_CHAIN_KEY_USAGE", text: "has a key usage without keyCertSign" });
  const purposes = facts.extendedKeyUsage;
  const covers = (purpose: string): boolean =>
    purposes === undefined || purposes.includes(purpose) || purposes.includes(ANY_PURPOSE);
  if (!covers(SERVER_AUTH) || !covers(CLIENT_AUTH))
    found.push({
      code: "E_CHAIN_EXTENDED_KEY_USAGE",
      text: "has an extended key usage without serverAuth or clientAuth",
    });
  return found;
}

/** Rules for an authority of a bundle. Its own signature proves nothing and is not looked at; key usage may be absent. */
export function authorityProblem(facts: CertificateFacts): RuleProblem | undefined {
  const key = keyProblem(facts);
  if (key !== undefined) return key;
  const signs = facts.keyUsage === undefined || (facts.keyUsage.bits & keyUsageBits.keyCertSign) !== 0;
  if (facts.basicConstraints?.isCa !== true || !signs)
    return { code: "E_CHAIN_AUTHORITY", text: "may not sign certificates" };
  if (facts.unknownCritical.length > 0)
    return { code: "E_CHAIN_AUTHORITY", text: `has the unknown critical extension ${facts.unknownCritical[0]}` };
  return undefined;
}

/** Valid from notBefore on, and no longer at notAfter: the second that RFC 5280 includes is given up, so that every part
 *  of the program agrees on one moment of expiry. */
export function validityProblem(facts: CertificateFacts, nowMs: number): RuleProblem | undefined {
  if (nowMs < facts.notBeforeMs)
    return { code: "E_CERT_NOT_YET_VALID", text: `is not valid before ${new Date(facts.notBeforeMs).toISOString()}` };
  if (nowMs >= facts.notAfterMs)
    return { code: "E_CERT_EXPIRED", text: `expired at ${new Date(facts.notAfterMs).toISOString()}` };
  return undefined;
}
