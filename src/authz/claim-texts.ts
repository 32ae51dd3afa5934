import type { RequestIdentity } from "../core/call-facts.ts";

/** Top-level claims that are lists parted by spaces in any token. */
const SPACE_DELIMITED = ["scope", "permission"];
const NONE: readonly string[] = [];

/** The texts of the claim at a path, from the claims set inward: a text, its parts where it is a list parted by spaces, or the texts of a list.
 *  Numbers and booleans are no texts, as in Istio. */
export function claimTexts(identity: RequestIdentity, path: readonly string[]): readonly string[] {
  const value = claimAt(identity.claims, path);
  if (typeof value === "string") return isSpaceDelimited(path, identity) ? value.split(" ") : [value];
  return Array.isArray(value) ? value.filter((one) => typeof one === "string") : NONE;
}

function isSpaceDelimited(path: readonly string[], identity: RequestIdentity): boolean {
  const [name = ""] = path;
  if (path.length !== 1) return false;
  return SPACE_DELIMITED.includes(name) || (identity.spaceDelimitedClaims?.includes(name) ?? false);
}

function claimAt(claims: Readonly<Record<string, unknown>>, path: readonly string[]): unknown {
  let value: unknown = claims;
  for (const name of path) {
    if (typeof value !== "object" || value === null || Array.isArray(value) || !Object.hasOwn(value, name))
      return undefined;
    value = (value as Readonly<Record<string, unknown>>)[name];
  }
  return value;
}
