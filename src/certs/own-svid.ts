import { createHash, createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { CountersignError } from "../core/errors.ts";
import type { Svid, TrustBundle } from "../core/identity.ts";
import type { TrustDomain } from "../core/spiffe-id.ts";
import { judgeChain, type PresentedCertificate } from "./judge-chain.ts";
import { encodePem } from "./pem.ts";

/** What a source hands over as one of our SVIDs. */
export interface SvidParts {
  /** Leaf first. */
  readonly chainDer: readonly Uint8Array[];
  readonly key: KeyObject;
  readonly hint: string;
}

/** Makes an Svid of what a source hands over, or throws CountersignError with the first rule that it breaks: those for
 *  peers, and that key and certificate belong together. Its notAfterMs is the earliest of the chain and of the
 *  authority: from then on no peer takes it. */
export function verifyOwnSvid(parts: SvidParts, bundles: ReadonlyMap<TrustDomain, TrustBundle>, nowMs: number): Svid {
  const chain = parts.chainDer.map(parseCertificate);
  const { problems, proven } = judgeChain(chain, bundles, nowMs);
  const [leaf] = chain;
  const [problem] = problems;
  if (problem !== undefined) throw new CountersignError(problem.code, `our own SVID: ${problem.reason}`);
  if (leaf === undefined || proven === undefined) throw new TypeError("a chain without problem proves something");
  if (!leaf.certificate.checkPrivateKey(parts.key))
    throw new CountersignError(
      "E_IDENTITY_KEY_MISMATCH",
      "our own SVID: the private key is not that of the certificate",
    );
  const bundle = bundles.get(proven.trustDomain);
  const sent = chain.filter(({ certificate }, i) => i === 0 || !isRootOf(certificate, bundle));
  return {
    spiffeId: proven.spiffeId,
    hint: parts.hint,
    chain: sent.map(({ certificate }) => certificate),
    chainPem: sent.map(({ der }) => encodePem("CERTIFICATE", der)).join(""),
    key: parts.key,
    serial: proven.serial,
    fingerprint: createHash("sha256").update(leaf.der).digest("hex"),
    notBeforeMs: proven.notBeforeMs,
    notAfterMs: proven.validUntilMs,
  };
}

/** A root that the file carries along: peers have it or don't trust it. */
function isRootOf(certificate: X509Certificate, bundle: TrustBundle | undefined): boolean {
  const isSelfIssued = certificate.issuer === certificate.subject && certificate.checkIssued(certificate);
  return isSelfIssued && (bundle?.authorities.some(({ raw }) => raw.equals(certificate.raw)) ?? false);
}

function parseCertificate(der: Uint8Array, i: number): PresentedCertificate {
  try {
    return { der, certificate: new X509Certificate(der) };
  } catch (cause) {
    const label = i === 0 ? "the leaf" : `intermediate ${i}`;
    throw new CountersignError("E_CERT_DER", `our own SVID: ${label} is no certificate`, { cause });
  }
}

/** Reads an unencrypted private key. The error never carries what was read. Throws CountersignError E_IDENTITY_KEY. */
export function readPrivateKey(text: Uint8Array, format: "pem" | "pkcs8"): KeyObject {
  const key = Buffer.from(text.buffer, text.byteOffset, text.length);
  try {
    return createPrivateKey(format === "pem" ? { key, format: "pem" } : { key, format: "der", type: "pkcs8" });
  } catch {
    throw new CountersignError("E_IDENTITY_KEY", "the private key is not a key that can be read without a passphrase");
  }
}
