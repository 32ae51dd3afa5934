import { CountersignError } from "../core/errors.ts";
import type { JwtAuthorityKey } from "../core/identity.ts";
import { readJwtKeys } from "./jwt-svid/jwt-keys.ts";
import { decodeBase64 } from "./pem.ts";
import { JsonError, parseStrictJson } from "./strict-json.ts";

/** A SPIFFE bundle document (SPIFFE Trust Domain and Bundle, section 4). */
export interface SpiffeBundle {
  /** DER; empty when no entry is usable, which revokes the whole trust domain. */
  readonly authorities: readonly Buffer[];
  /** Keys of use jwt-svid; empty: the domain's JWT-SVIDs are refused. */
  readonly jwtKeys: readonly JwtAuthorityKey[];
  /** 64-bit; undefined if the document has none. */
  readonly sequence: bigint | undefined;
  /** Within 30 s and 1 h; 5 min if the document has none. */
  readonly refreshHintMs: number;
}

const keyTypes: ReadonlySet<unknown> = new Set(["EC", "RSA", "OKP"]);
const MIN_REFRESH_MS = 30_000;
const MAX_REFRESH_MS = 3_600_000;
const DEFAULT_REFRESH_MS = 300_000;

/** Reads a bundle document. Entries of an unknown or missing use, of an unknown key type, or without x5c are skipped; of
 *  several x5c the first counts. Throws CountersignError E_BUNDLE_FORMAT. */
export function parseSpiffeBundle(text: string, what: string): SpiffeBundle {
  const refuse = (reason: string, cause?: unknown): CountersignError =>
    new CountersignError("E_BUNDLE_FORMAT", `${what} ${reason}`, { cause });
  let document: unknown;
  try {
    document = parseStrictJson(text);
  } catch (error) {
    if (error instanceof JsonError) throw refuse(error.message, error);
    throw error;
  }
  if (!isRecord(document)) throw refuse("is no JSON object");
  const { keys, spiffe_sequence: sequence, spiffe_refresh_hint: hint } = document;
  if (!Array.isArray(keys)) throw refuse('has no array "keys"');
  const number = sequence === undefined ? undefined : unsigned64(sequence);
  if (sequence !== undefined && number === undefined) throw refuse("has a spiffe_sequence that is no 64-bit number");
  const seconds = hint === undefined ? undefined : unsigned64(hint);
  if (hint !== undefined && seconds === undefined)
    throw refuse("has a spiffe_refresh_hint that is no number of seconds");
  return {
    authorities: keys.flatMap((entry: unknown) => {
      const encoded = x5cOf(entry);
      if (encoded === undefined) return [];
      const der = decodeBase64(encoded);
      if (der === undefined) throw refuse("has an x5c that is no base64");
      return [der];
    }),
    jwtKeys: readJwtKeys(keys, what),
    sequence: number,
    refreshHintMs:
      seconds === undefined
        ? DEFAULT_REFRESH_MS
        : Math.min(Math.max(Number(seconds) * 1000, MIN_REFRESH_MS), MAX_REFRESH_MS),
  };
}

function x5cOf(entry: unknown): string | undefined {
  if (!isRecord(entry)) return undefined;
  const { use, kty, x5c } = entry;
  if (use !== "x509-svid" || !keyTypes.has(kty) || !Array.isArray(x5c)) return undefined;
  const [first] = x5c as unknown[];
  return typeof first === "string" ? first : undefined;
}

function unsigned64(value: unknown): bigint | undefined {
  const isInteger = typeof value === "bigint" || (typeof value === "number" && Number.isSafeInteger(value));
  if (!isInteger) return undefined;
  const exact = BigInt(value);
  return exact >= 0n && exact < 1n << 64n ? exact : undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
