import type { JwtRuleModel } from "../../authz/authentication-model.ts";
import type { JwtClaims } from "../../certs/jwt/verify-jwt.ts";
import { VALUE_BYTE } from "../http1/byte-classes.ts";

/** The headers that a verified token gives to the app: name, value, name, value … Of claims only texts, booleans and whole numbers become
 *  headers, as in Istio; one that cannot be a header's value becomes none. */
export function claimHeaders(rule: JwtRuleModel, token: string, claims: JwtClaims): string[] {
  const fields: string[] = [];
  if (rule.outputPayloadToHeader !== undefined) {
    fields.push(rule.outputPayloadToHeader, (token.split(".")[1] ?? "").replaceAll("=", ""));
  }
  for (const { header, claim } of rule.outputClaimToHeaders) {
    const value = headerValue(claimAt(claims, claim));
    if (value !== undefined) fields.push(header, value);
  }
  return fields;
}

/** `.` parts nested names. */
function claimAt(claims: JwtClaims, path: string): unknown {
  let at: unknown = claims;
  for (const name of path.split(".")) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, name)) return undefined;
    at = (at as Readonly<Record<string, unknown>>)[name];
  }
  return at;
}

function headerValue(claim: unknown): string | undefined {
  if (typeof claim === "boolean") return String(claim);
  if (typeof claim === "number") return Number.isSafeInteger(claim) ? String(claim) : undefined;
  if (typeof claim !== "string") return undefined;
  const bytes = Buffer.from(claim, "utf8");
  if (!bytes.every((byte) => VALUE_BYTE[byte] === 1)) return undefined;
  // a field's text has one character a byte
  const value = bytes.toString("latin1");
  return value.trim() === value ? value : undefined;
}
