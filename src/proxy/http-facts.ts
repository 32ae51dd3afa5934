import type { ConnectionFacts, HeaderList } from "../core/call-facts.ts";
import { parseIpAddress } from "../core/ip-address.ts";
import { clientAddress } from "./client-address.ts";
import type { PreparedCall } from "./http-service.ts";
import type { RequestHead } from "./http1/http1-events.ts";
import type { ScannedFields } from "./request-fields.ts";
import type { PolicyInForce } from "./runtime.ts";

/** The facts of one request; `target` is what the upstream gets, `scheme` counts where the request names none, `authority` is what policy compares, `written` what the app gets from us. Without trusted proxies, the usual case, the connection's facts serve all its calls. */
export function requestFacts(
  connection: ConnectionFacts,
  inForce: PolicyInForce,
  head: RequestHead,
  path: string,
  target: string,
  scanned: ScannedFields,
  sourceTrusted: boolean,
  // apps ask in plaintext
  scheme: "http" | "https" = "http",
  authority: string = head.authority,
  written?: HeaderList,
): PreparedCall {
  const facts =
    sourceTrusted && scanned.forwardedFor !== undefined
      ? { ...connection, remoteIp: clientAddress(connection.remoteIp, scanned.forwardedFor, inForce.trustedProxies) }
      : connection;
  return {
    connection: facts,
    request: {
      method: head.method,
      authority,
      path,
      target,
      scheme: head.sentScheme ?? (head.scheme === "" ? scheme : head.scheme),
      headers: scanned.kept.raw,
      lowerNames: scanned.kept.lower,
      written,
    },
    scanned,
    target,
    edited: undefined,
    responseFields: undefined,
  };
}

/** Whether the TCP peer is a proxy whose x-forwarded-for is believed. Asked once per connection. */
export function isTrustedProxy(sourceIp: string, inForce: PolicyInForce): boolean {
  const parsed = parseIpAddress(sourceIp);
  return parsed !== undefined && inForce.trustedProxies.has(parsed);
}
