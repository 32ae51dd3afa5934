import { CountersignError } from "../../core/errors.ts";
import type { JwtBundle, TrustBundle } from "../../core/identity.ts";
import type { TrustDomain } from "../../core/spiffe-id.ts";
import { readFile } from "../identity-file.ts";
import { makeJwtBundle } from "../jwt-svid/jwt-keys.ts";
import { parsePemCertificates } from "../pem.ts";
import { parseSpiffeBundle } from "../spiffe-bundle.ts";
import { makeTrustBundle } from "../trust-bundle.ts";

/** A partner's trust bundle. Immutable. */
export interface FederatedBundle {
  readonly trustDomain: TrustDomain;
  /** Empty: the partner has revoked its whole trust domain. */
  readonly trustBundle: TrustBundle;
  readonly jwtBundle: JwtBundle;
  /** spiffe_sequence, 64-bit; undefined if the document has none. */
  readonly sequence: bigint | undefined;
  /** Within 30 s and 1 h. */
  readonly refreshHintMs: number;
  /** What it was read from: a SPIFFE bundle document, or PEM for a bootstrap bundle. */
  readonly document: string;
}

const DEFAULT_REFRESH_MS = 300_000;

/** Reads a SPIFFE bundle document. Throws CountersignError E_BUNDLE_FORMAT. */
export function readFederatedBundle(trustDomain: TrustDomain, document: string, what: string): FederatedBundle {
  const { authorities, jwtKeys, sequence, refreshHintMs } = parseSpiffeBundle(document, what);
  return {
    trustDomain,
    trustBundle: makeTrustBundle(trustDomain, authorities),
    jwtBundle: makeJwtBundle(trustDomain, jwtKeys),
    sequence,
    refreshHintMs,
    document,
  };
}

/** Reads a bootstrap bundle: a SPIFFE bundle document, or PEM. Throws CountersignError. */
export function readBootstrapBundle(trustDomain: TrustDomain, path: string): FederatedBundle {
  return parseBundle(trustDomain, readFile(path).bytes.toString("utf8"), path);
}

/** The same of a given text. */
export function parseBundle(trustDomain: TrustDomain, document: string, what: string): FederatedBundle {
  if (document.trimStart().startsWith("{")) return readFederatedBundle(trustDomain, document, what);
  return {
    trustDomain,
    trustBundle: makeTrustBundle(trustDomain, parsePemCertificates(document, what)),
    jwtBundle: makeJwtBundle(trustDomain, []),
    sequence: undefined,
    refreshHintMs: DEFAULT_REFRESH_MS,
    document,
  };
}

/** Refuses a bundle that goes back behind the one in use, or that drops its sequence and could so. An equal sequence is
 *  taken: not every issuer counts. Throws CountersignError E_FEDERATION_SEQUENCE. */
export function checkSequence(current: FederatedBundle | undefined, next: FederatedBundle, what: string): void {
  const before = current?.sequence;
  if (before === undefined) return;
  if (next.sequence === undefined)
    throw new CountersignError("E_FEDERATION_SEQUENCE", `${what} has no sequence, and the bundle in use has ${before}`);
  if (next.sequence < before)
    throw new CountersignError(
      "E_FEDERATION_SEQUENCE",
      `${what} has sequence ${next.sequence}, below the ${before} of the bundle in use`,
    );
}

/** Whether verification would see a difference. */
export function isSameBundle(a: FederatedBundle | undefined, b: FederatedBundle | undefined): boolean {
  return a?.trustBundle.version === b?.trustBundle.version && a?.jwtBundle.version === b?.jwtBundle.version;
}
