import type { CidrSet } from "../core/cidr-set.ts";
import { canonicalIpAddress, parseIpAddress } from "../core/ip-address.ts";

/** The client behind trusted hops: all x-forwarded-for entries walked from the right, the first that is no trusted proxy. A malformed
 *  entry ends the walk at the last good one. `source` is the TCP peer, already known to be trusted. */
export function clientAddress(source: string, forwardedFor: string, trusted: CidrSet): string {
  let client = source;
  let end = forwardedFor.length;
  while (end >= 0) {
    const comma = forwardedFor.lastIndexOf(",", end - 1);
    const entry = forwardedFor.slice(comma + 1, end).trim();
    const canonical = canonicalIpAddress(entry);
    if (canonical === undefined) return client;
    client = canonical;
    const parsed = parseIpAddress(canonical);
    if (parsed === undefined || !trusted.has(parsed)) return client;
    if (comma <= 0) return client;
    end = comma;
  }
  return client;
}
