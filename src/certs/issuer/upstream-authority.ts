import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { CountersignError } from "../../core/errors.ts";
import { parseSpiffeId, type TrustDomain } from "../../core/spiffe-id.ts";
import { splitSequences } from "../der.ts";
import { readCertificatesFile } from "../identity-file.ts";
import { judgeChain } from "../judge-chain.ts";
import { makeTrustBundle } from "../trust-bundle.ts";
import { readGuardedFile } from "./guarded-file.ts";
import { canSign } from "./signature-algorithm.ts";
import {
  createIntermediateAuthority,
  issueX509Svid,
  type UpstreamAuthority,
  type X509Authority,
} from "./x509-authority.ts";

/** upstreamAuthority of issuer.yaml; absolute paths. */
export interface UpstreamFiles {
  /** PEM: the CA's certificate, then those above it. */
  readonly certificate: string;
  /** PEM (PKCS #8), mode 0600. */
  readonly key: string;
  /** PEM: the roots that verifiers trust; undefined: the last of `certificate`. */
  readonly bundle: string | undefined;
}

const MAX_CHAIN = 4;
const PROBE_TTL_MS = 60_000;

/** Reads the CA above ours. Throws CountersignError E_ISSUER_UPSTREAM. */
export function readUpstreamAuthority(files: UpstreamFiles): UpstreamAuthority {
  const [certificate, ...above] = readCertificates(files.certificate);
  if (certificate === undefined) throw problem(files.certificate, "holds no certificate");
  if (above.length >= MAX_CHAIN) throw problem(files.certificate, `holds more than ${MAX_CHAIN} certificates`);
  const key = readKey(files.key);
  if (!certificate.ca) throw problem(files.certificate, "does not begin with a CA certificate");
  if (!certificate.checkPrivateKey(key)) throw problem(files.key, `is not the key of ${files.certificate}`);
  if (!canSign(key)) throw problem(files.key, "is of a kind whose signatures are not accepted");
  const chain = [certificate, ...above];
  const roots = files.bundle === undefined ? chain.slice(-1).filter(isSelfSigned) : readCertificates(files.bundle);
  if (roots.length === 0) {
    const fix = "append the root, or give it as upstreamAuthority.bundle";
    throw new CountersignError("E_ISSUER_UPSTREAM", `${files.certificate} does not end in a root`, { fix });
  }
  // What verifiers trust already need not be presented to them.
  const between = chain.filter((one) => !roots.some((root) => root.raw.equals(one.raw)) && !isSelfSigned(one));
  return { certificate, key, between, roots };
}

/** Whether an authority of ours stands where it would be made now: on its own, or under this CA and these roots. */
export function isUnder(
  { certificate, chain, anchors }: X509Authority,
  upstream: UpstreamAuthority | undefined,
): boolean {
  if (upstream === undefined) return chain.length === 0;
  return (
    chain.length > 0 &&
    certificate.verify(upstream.certificate.publicKey) &&
    sameCertificates(chain.slice(1), upstream.between) &&
    sameCertificates(anchors, upstream.roots)
  );
}

/** Makes an intermediate and proves by a trial SVID that peers take what it signs. Throws CountersignError E_ISSUER_UPSTREAM with
 *  the rule that an SVID would break: a path length of 0, name constraints, an expired root. */
export async function createProvenIntermediate(
  trustDomain: TrustDomain,
  upstream: UpstreamAuthority,
  ttlMs: number,
  nowMs: number,
): Promise<X509Authority> {
  const authority = await createIntermediateAuthority(trustDomain, upstream, ttlMs, nowMs);
  const id = parseSpiffeId(`spiffe://${trustDomain}/trial`);
  const { chainDer } = await issueX509Svid(authority, id, PROBE_TTL_MS, nowMs);
  const chain = splitSequences(chainDer, "certificate").map((der) => ({ der, certificate: new X509Certificate(der) }));
  const anchors = authority.anchors.map(({ raw }) => raw);
  const { problems } = judgeChain(chain, new Map([[trustDomain, makeTrustBundle(trustDomain, anchors)]]), nowMs);
  const [first] = problems;
  if (first === undefined) return authority;
  throw new CountersignError(
    "E_ISSUER_UPSTREAM",
    `SVIDs below the upstream CA would be refused: ${first.code} ${first.reason}`,
  );
}

function readCertificates(file: string): readonly X509Certificate[] {
  try {
    return readCertificatesFile(file).map((der) => new X509Certificate(der));
  } catch (cause) {
    throw problem(
      file,
      cause instanceof CountersignError ? `is not usable: ${cause.message}` : "holds no certificate",
      cause,
    );
  }
}

function readKey(file: string): KeyObject {
  const bytes = readGuardedFile(file, (why, cause) => problem(file, why, cause), { symlinks: true });
  if (bytes === undefined) throw problem(file, "does not exist");
  try {
    return createPrivateKey(bytes);
  } catch {
    // The parser's error may say something of the key.
    throw problem(file, "holds no private key in PEM without passphrase");
  }
}

function isSelfSigned(certificate: X509Certificate): boolean {
  return certificate.checkIssued(certificate) && certificate.verify(certificate.publicKey);
}

function sameCertificates(a: readonly X509Certificate[], b: readonly X509Certificate[]): boolean {
  return a.length === b.length && a.every(({ raw }, i) => b[i]?.raw.equals(raw));
}

function problem(file: string, why: string, cause?: unknown): CountersignError {
  return new CountersignError("E_ISSUER_UPSTREAM", why, { at: { file }, cause });
}
