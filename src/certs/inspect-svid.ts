import { createHash, X509Certificate } from "node:crypto";
import type { TrustBundle } from "../core/identity.ts";
import type { TrustDomain } from "../core/spiffe-id.ts";
import { judgeChain } from "./judge-chain.ts";
import { CertificateError, type CertificateFacts, readCertificate } from "./read-certificate.ts";
import { uriSans } from "./svid-rules.ts";
import type { ChainProblem } from "./trust-path.ts";

/** What a person wants to know of one certificate. Texts are as the certificate has them, not made safe for a terminal. */
export interface CertificateView {
  readonly subject: string;
  readonly issuer: string;
  /** Lower-case hex. */
  readonly serial: string;
  readonly notBefore: string;
  readonly notAfter: string;
  /** "EC P-256", "RSA 2048 bits"; undefined when the certificate is not strict DER. */
  readonly key: string | undefined;
  readonly signature: string | undefined;
  readonly uris: readonly string[];
  /** SHA-256 of the DER, lower-case hex. */
  readonly sha256: string;
}

export interface SvidInspection {
  /** The leaf's first URI SAN, right or wrong. */
  readonly claimed: string | undefined;
  /** Broken rules; empty for an X.509-SVID. */
  readonly problems: readonly ChainProblem[];
  readonly certificates: readonly CertificateView[];
}

/** Looks at a chain as the verifier does and tells all that is wrong with it. Without `bundles` nobody is asked whether its
 *  issuer is trusted. */
export function inspectSvid(
  chainDer: readonly Uint8Array[],
  bundles: ReadonlyMap<TrustDomain, TrustBundle> | undefined,
  nowMs: number,
): SvidInspection {
  const chain = chainDer.map((der) => ({ der, certificate: parse(der) }));
  const parsed = chain.flatMap(({ der, certificate }) => (certificate === undefined ? [] : [{ der, certificate }]));
  const certificates = parsed.map(({ der, certificate }) => viewOf(der, certificate));
  if (parsed.length < chain.length) {
    const problems = chain.flatMap(({ certificate }, i): ChainProblem[] =>
      certificate === undefined ? [{ code: "E_CERT_DER", reason: `certificate ${i + 1} is no X.509 certificate` }] : [],
    );
    return { claimed: undefined, problems, certificates };
  }
  const { claimed, problems } = judgeChain(parsed, bundles, nowMs);
  return { claimed, problems, certificates };
}

function parse(der: Uint8Array): X509Certificate | undefined {
  try {
    return new X509Certificate(der);
  } catch {
    return undefined;
  }
}

function viewOf(der: Uint8Array, certificate: X509Certificate): CertificateView {
  const facts = factsOf(der);
  return {
    subject: certificate.subject?.replaceAll("\n", ", ") ?? "",
    issuer: certificate.issuer?.replaceAll("\n", ", ") ?? "",
    serial: facts?.serial ?? certificate.serialNumber.toLowerCase(),
    notBefore: certificate.validFromDate.toISOString(),
    notAfter: certificate.validToDate.toISOString(),
    key: facts && keyText(facts),
    signature: facts?.signature.name,
    uris: facts === undefined ? [] : uriSans(facts),
    sha256: createHash("sha256").update(der).digest("hex"),
  };
}

function factsOf(der: Uint8Array): CertificateFacts | undefined {
  try {
    return readCertificate(der);
  } catch (error) {
    if (error instanceof CertificateError) return undefined;
    throw error;
  }
}

function keyText({ publicKey }: CertificateFacts): string {
  switch (publicKey.kind) {
    case "ec":
      return `EC ${publicKey.curve}`;
    case "ec-explicit":
      return "EC with explicit parameters";
    case "ed25519":
      return "Ed25519";
    case "rsa":
      return `RSA ${publicKey.bits} bits`;
    case "other":
      return publicKey.algorithm;
  }
}
