import { cidrSet } from "../core/cidr-set.ts";
import { parseCidr, parseIpAddress } from "../core/ip-address.ts";
import type { SeenCall } from "../policy-tools/ask-policy.ts";
import type { AskedCall } from "../policy-tools/asked-call.ts";
import { clientAddress } from "../proxy/client-address.ts";
import { parseConnection } from "../proxy/http1/connection-options.ts";
import { scanRequestFields } from "../proxy/request-fields.ts";

/** What the proxy shows policy of a request, by the proxy's own code: header fields that are ours alone, that Connection names, or that only a
 *  trusted proxy may send are gone, and the client behind trusted proxies is found. */
export function seenBy(trustedProxies: readonly string[]): (call: AskedCall) => SeenCall {
  const trusted = cidrSet(trustedProxies.map(parseCidr).filter((block) => block !== undefined));
  return ({ source, request }) => {
    const ip = parseIpAddress(source.ip);
    const isTrusted = ip !== undefined && trusted.has(ip);
    if (request === undefined) return { headers: [], remoteIp: source.remoteIp ?? source.ip };
    const raw = [...request.headers];
    const lower = raw.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase());
    const { kept, forwardedFor } = scanRequestFields({ raw, lower }, namedByConnection(raw, lower), isTrusted);
    const found = isTrusted && forwardedFor !== undefined ? clientAddress(source.ip, forwardedFor, trusted) : source.ip;
    return { headers: kept.raw, remoteIp: source.remoteIp ?? found };
  };
}

/** Names that the Connection fields take away, but for those that it may not. */
function namedByConnection(raw: readonly string[], lower: readonly string[]): readonly string[] {
  const values = lower.flatMap((name, i) => (name === "connection" ? [raw[i * 2 + 1] ?? ""] : []));
  if (values.length === 0) return [];
  const read = parseConnection(values.join(","));
  return "names" in read ? read.names : [];
}
