import { CountersignError } from "../../core/errors.ts";
import type { JwtSvid } from "../../core/identity.ts";
import type { SpiffeId } from "../../core/spiffe-id.ts";
import { JwtSvidError, parseJwtSvid } from "./parse-jwt-svid.ts";

/** Reads a JWT-SVID of ours as the identity source handed it over. Its signature is the source's affair; that it is ours,
 *  for this audience and still good is checked, since whoever gets it will. Throws CountersignError E_WORKLOAD_API_MESSAGE,
 *  without a word of the token. */
export function readOwnJwtSvid(
  token: string,
  spiffeId: SpiffeId | undefined,
  audience: string,
  nowMs: number,
): JwtSvid {
  try {
    const parsed = parseJwtSvid(token);
    if (spiffeId !== undefined && parsed.spiffeId !== spiffeId)
      throw unusable(`is for ${parsed.spiffeId}, not ${spiffeId}`);
    if (!parsed.audience.includes(audience)) throw unusable("is for another audience than the one asked for");
    if (nowMs >= parsed.expiresMs) throw unusable("has expired already");
    return { spiffeId: parsed.spiffeId, token, issuedAtMs: parsed.issuedAtMs ?? nowMs, expiresMs: parsed.expiresMs };
  } catch (error) {
    if (error instanceof JwtSvidError) throw unusable(`breaks its standard: ${error.code} ${error.message}`);
    throw error;
  }
}

function unusable(reason: string): CountersignError {
  return new CountersignError("E_WORKLOAD_API_MESSAGE", `a JWT-SVID of the Workload API ${reason}`);
}
