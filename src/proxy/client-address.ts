import type { CidrSet } from "../core/cidr-set.ts";
import { formatIpAddress, parseIpAddress } from "../core/ip-address.ts";

/** The client behind trusted hops: all x-forwarded-for entries walked from the right, the first that is no trusted proxy. A malformed
 *  entry ends the walk at the last good one. `source` is the TCP peer, already known to be trusted. */
export function clientAddress(source: string, forwardedFor: string, trusted: CidrSet): string {
  let client = source;
  let end = forwardedFor.length;
  while (end >= 0) {
    const comma = forwardedFor.lastIndexOf(",", end - 1);
    const entry = forwardedFor.slice(comma + 1, end).trim();
    // a zone (RFC 4007) means something on one machine alone: no proxy's client has one
    const address = parseIpAddress(entry);
    if (address === undefined) return client;
    client = formatIpAddress(address);
    if (!trusted.has(address) || comma <= 0) return client;
    end = comma;
  }
  return client;
}
