import { isToken } from "./byte-classes.ts";

/** The lower-cased protocol of an Upgrade value, or undefined if it is a list, malformed, or a protocol that would put another HTTP
 *  or TLS inside: requests would then pass that nobody judges. RFC 9110 section 7.8. */
export function upgradeToken(value: string): string | undefined {
  const token = value.toLowerCase();
  const slash = token.indexOf("/");
  const name = slash === -1 ? token : token.slice(0, slash);
  if (!isToken(name) || (slash !== -1 && !isToken(token.slice(slash + 1)))) return undefined;
  return name.startsWith("h2") || name.startsWith("http") || name.startsWith("tls") ? undefined : token;
}
