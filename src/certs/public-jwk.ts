import { createPublicKey, type KeyObject, type webcrypto } from "node:crypto";

const MIN_RSA_BITS = 2048;
const MAX_EXPONENT = 2n ** 32n - 1n;
/** Of base64url, with room for a zero byte in front and for padding. */
const charsOf = (bits: number): number => Math.ceil((bits / 8 + 1) / 3) * 4;
const MAX_EXPONENT_CHARS = 8;
/** Of P-521, the longest. */
const MAX_COORDINATE_CHARS = charsOf(528);

/** Imports the public key of a JWK (RFC 7518 section 6, RFC 8037 section 2): RSA of 2048 to `maxRsaBits` bits, or EC and OKP on one of `curves`.
 *  undefined for anything else, for a broken key, and for an RSA exponent that is even or has more than 32 bits. What costs
 *  time is refused by its length, before it is imported: both import and verification grow with modulus and exponent. BoringSSL and Windows
 *  take no exponent beyond 33 and 32 bits, Go none beyond 31 (https://www.imperialviolet.org/2012/03/17/rsados.html). */
export function importPublicJwk(
  member: Readonly<Record<string, unknown>>,
  maxRsaBits: number,
  curves: ReadonlySet<unknown>,
): KeyObject | undefined {
  const wanted = publicMembers(member, maxRsaBits, curves);
  if (wanted === undefined) return undefined;
  try {
    const key = createPublicKey({ format: "jwk", key: wanted as webcrypto.JsonWebKey });
    return isSound(key, maxRsaBits) ? key : undefined;
  } catch {
    return undefined;
  }
}

/** These alone are imported: whatever else the member has, no private key. */
function publicMembers(
  { kty, n, e, crv, x, y }: Readonly<Record<string, unknown>>,
  maxRsaBits: number,
  curves: ReadonlySet<unknown>,
): object | undefined {
  switch (kty) {
    case "RSA":
      return isShort(n, charsOf(maxRsaBits)) && isShort(e, MAX_EXPONENT_CHARS) ? { kty, n, e } : undefined;
    case "EC":
    case "OKP":
      if (!curves.has(crv) || !isShort(x, MAX_COORDINATE_CHARS)) return undefined;
      if (kty === "OKP") return { kty, crv, x };
      return isShort(y, MAX_COORDINATE_CHARS) ? { kty, crv, x, y } : undefined;
    default:
      return undefined;
  }
}

function isShort(text: unknown, chars: number): boolean {
  return typeof text === "string" && text.length <= chars;
}

function isSound({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject, maxRsaBits: number): boolean {
  if (asymmetricKeyType !== "rsa") return true;
  const { modulusLength = 0, publicExponent = 0n } = asymmetricKeyDetails ?? {};
  return (
    modulusLength >= MIN_RSA_BITS &&
    modulusLength <= maxRsaBits &&
    publicExponent > 2n &&
    publicExponent <= MAX_EXPONENT &&
    publicExponent % 2n === 1n
  );
}
