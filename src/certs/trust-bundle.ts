import { createHash, X509Certificate } from "node:crypto";
import { CountersignError, type Warning } from "../core/errors.ts";
import type { TrustBundle } from "../core/identity.ts";
import type { TrustDomain } from "../core/spiffe-id.ts";
import { type Crl, isCrlOf, readCrl } from "./crl.ts";
import { readWhole, tags } from "./der.ts";
import { CertificateError, type CertificateFacts, readCertificate } from "./read-certificate.ts";
import { authorityProblem, type RuleProblem, validityProblem } from "./svid-rules.ts";

/** An authority of a bundle, read once. `problem` says why no chain may end in it. */
export interface Authority {
  readonly certificate: X509Certificate;
  readonly facts: CertificateFacts;
  readonly problem: RuleProblem | undefined;
}

/** What verification needs of a bundle, worked out once for each bundle object. */
export interface BundleIndex {
  readonly authorities: readonly Authority[];
  readonly crls: readonly Crl[];
}

const indexes = new WeakMap<TrustBundle, BundleIndex>();

/** Most authorities and CRLs of one bundle: far above what rotation needs, and bounded. */
const MAX_AUTHORITIES = 256;
const MAX_CRLS = 256;

/** Makes one trust domain's bundle from DER. No authority at all is allowed: then every SVID of the domain is refused.
 *  Throws CountersignError E_BUNDLE_FORMAT or E_CRL_FORMAT when a part is no certificate or no usable CRL. */
export function makeTrustBundle(
  trustDomain: TrustDomain,
  authorities: readonly Uint8Array[],
  crls: readonly Uint8Array[] = [],
): TrustBundle {
  if (authorities.length > MAX_AUTHORITIES || crls.length > MAX_CRLS)
    throw new CountersignError("E_BUNDLE_FORMAT", `bundle of ${trustDomain} has too many authorities or CRLs`);
  const version = createHash("sha256");
  for (const [kind, parts] of [["authority", authorities] as const, ["crl", crls] as const])
    for (const part of parts) version.update(`${kind} ${part.length}\n`).update(part);
  const bundle: TrustBundle = {
    trustDomain,
    authorities: authorities.map((der) => parseAuthority(trustDomain, der)),
    crls,
    version: version.digest("hex"),
  };
  bundleIndex(bundle);
  return bundle;
}

function parseAuthority(trustDomain: TrustDomain, der: Uint8Array): X509Certificate {
  try {
    readWhole(der, tags.sequence, "certificate"); // Node would also take PEM, or bytes left over
    return new X509Certificate(der);
  } catch (cause) {
    throw new CountersignError("E_BUNDLE_FORMAT", `bundle of ${trustDomain} has a part that is no certificate`, {
      cause,
    });
  }
}

/** Authorities that cannot be read strictly are left out: no chain ends in them. Throws E_CRL_FORMAT. */
export function bundleIndex(bundle: TrustBundle): BundleIndex {
  let index = indexes.get(bundle);
  if (index === undefined) {
    const authorities = bundle.authorities.flatMap((certificate): Authority[] => {
      const facts = tryRead(certificate);
      return facts instanceof CertificateError ? [] : [{ certificate, facts, problem: authorityProblem(facts) }];
    });
    index = { authorities, crls: bundle.crls.map(readCrl) };
    indexes.set(bundle, index);
  }
  return index;
}

function tryRead(certificate: X509Certificate): CertificateFacts | CertificateError {
  try {
    return readCertificate(certificate.raw);
  } catch (error) {
    if (error instanceof CertificateError) return error;
    throw error;
  }
}

/** What is odd about a bundle without making it unusable; each line for the log, at load. */
export function bundleWarnings(bundle: TrustBundle, nowMs: number): Warning[] {
  const found: Warning[] = [];
  const warn = (code: Warning["code"], text: string): void => {
    found.push({ code, message: `bundle of ${bundle.trustDomain}: ${text}` });
  };
  for (const certificate of bundle.authorities) {
    const facts = tryRead(certificate);
    const problem =
      facts instanceof CertificateError
        ? { text: facts.message }
        : (authorityProblem(facts) ?? validityProblem(facts, nowMs));
    if (problem !== undefined)
      warn("W_BUNDLE_AUTHORITY", `authority ${certificate.serialNumber.toLowerCase()} ${problem.text}`);
  }
  const { authorities, crls } = bundleIndex(bundle);
  for (const crl of crls) {
    const named = authorities.filter(({ facts }) => Buffer.compare(facts.subject, crl.issuer) === 0);
    if (named.length === 0) continue; // another domain's, or an intermediate's
    if (!named.some(({ certificate, facts }) => isCrlOf(crl, { certificate, subject: facts.subject })))
      warn("W_CRL_SIGNATURE", "a CRL in the name of an authority is not signed by it and is not honoured");
    if (crl.nextUpdateMs !== undefined && nowMs >= crl.nextUpdateMs)
      warn(
        "W_CRL_OUTDATED",
        `a CRL should have been replaced at ${new Date(crl.nextUpdateMs).toISOString()}; it is still honoured`,
      );
  }
  return found;
}
