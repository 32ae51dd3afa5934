import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
import { CountersignError } from "../core/errors.ts";
import type { JwtBundle, TrustBundle } from "../core/identity.ts";
import type { TrustDomain } from "../core/spiffe-id.ts";
import { makeJwtBundle } from "./jwt-svid/jwt-keys.ts";
import { parsePemCertificates } from "./pem.ts";
import { parseSpiffeBundle } from "./spiffe-bundle.ts";
import { makeTrustBundle } from "./trust-bundle.ts";

const MAX_FILE_BYTES = 1024 * 1024;
const DER_SEQUENCE = 0x30;

/** Reads one trust domain's bundle from PEM or from a SPIFFE bundle document. Throws CountersignError. */
export function readBundleFile(trustDomain: TrustDomain, path: string): TrustBundle {
  return readBundles(trustDomain, path).bundle;
}

/** The same with its JWT authorities, which PEM has none of. */
export function readBundles(
  trustDomain: TrustDomain,
  path: string,
): { readonly bundle: TrustBundle; readonly jwtBundle: JwtBundle | undefined } {
  const text = readFile(path).bytes.toString("utf8");
  if (!text.trimStart().startsWith("{"))
    return { bundle: makeTrustBundle(trustDomain, parsePemCertificates(text, path)), jwtBundle: undefined };
  const { authorities, jwtKeys } = parseSpiffeBundle(text, path);
  return { bundle: makeTrustBundle(trustDomain, authorities), jwtBundle: makeJwtBundle(trustDomain, jwtKeys) };
}

/** A chain from a file of PEM or of one DER certificate. Throws CountersignError. */
export function readCertificatesFile(path: string): Buffer[] {
  const { bytes } = readFile(path);
  return bytes[0] === DER_SEQUENCE ? [bytes] : parsePemCertificates(bytes.toString("utf8"), path);
}

/** Reads a regular file of at most 1 MiB. Not blocking on a pipe that somebody put there. */
export function readFile(path: string): { readonly bytes: Buffer; readonly mode: number } {
  try {
    const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const { size, mode } = statOf(fd, path);
      if (size > MAX_FILE_BYTES)
        throw new CountersignError("E_IDENTITY_FILE", `${path} is larger than ${MAX_FILE_BYTES} bytes`);
      return { bytes: readFileSync(fd), mode };
    } finally {
      closeSync(fd);
    }
  } catch (cause) {
    if (cause instanceof CountersignError) throw cause;
    const reason = cause instanceof Error && "code" in cause ? String(cause.code) : "unreadable";
    throw new CountersignError("E_IDENTITY_FILE", `${path} cannot be read: ${reason}`, { cause });
  }
}

function statOf(fd: number, path: string): { readonly size: number; readonly mode: number } {
  const stat = fstatSync(fd);
  if (!stat.isFile()) throw new CountersignError("E_IDENTITY_FILE", `${path} is no regular file`);
  return stat;
}
