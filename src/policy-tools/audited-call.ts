import { canonicalIpAddress } from "../core/ip-address.ts";
import { parseSpiffeId, type SpiffeId } from "../core/spiffe-id.ts";
import type { AskedCall, AskedRequest } from "./asked-call.ts";

/** A call of the audit log that policy has decided about. */
export interface AuditedCall {
  readonly id: string;
  /** RFC 3339, as in the record. */
  readonly time: string;
  /** What the record holds of the call: no headers, no server name, no client behind proxies. */
  readonly call: AskedCall;
  /** What policy said. A call that was allowed and then failed is allowed. */
  readonly decision: "allow" | "deny";
  readonly rule: string | undefined;
  readonly reason: string | undefined;
  readonly policyVersion: string;
}

type Json = Readonly<Record<string, unknown>>;

/** Reads the final record of a call. undefined: another kind of record, or one that policy was not asked about. */
export function auditedCall(record: unknown): AuditedCall | undefined {
  const phase = text(record, "phase");
  const kind = text(record, "kind");
  const policyVersion = text(record, "policy.version");
  if (phase !== "end" || policyVersion === undefined || (kind !== "request" && kind !== "connection")) return undefined;
  const reason = text(record, "reason");
  const decided = text(record, "decision");
  const isDenial = decided === "deny";
  // Refused for another reason than policy, after policy had a say.
  if (isDenial && reason?.startsWith("E_POLICY_DENIED") !== true) return undefined;
  const direction = text(record, "direction");
  if (direction !== "inbound" && direction !== "outbound") return undefined;
  const source = identity(record, "source.spiffe_id");
  const destination = identity(record, "destination.spiffe_id");
  if (source === "bad" || destination === "bad") return undefined;
  // A tunnel of the egress proxy is a connection that was asked for by a request.
  const request = kind === "connection" && text(record, "method") !== "CONNECT" ? undefined : requestOf(record);
  if (kind === "request" && request === undefined) return undefined;
  const timeMs = Date.parse(text(record, "time") ?? "");
  return {
    id: text(record, "id") ?? "",
    time: text(record, "time") ?? "",
    call: {
      direction,
      source: { spiffeId: source, ip: addressOf(text(record, "source.address")), remoteIp: undefined },
      destination: {
        spiffeId: destination,
        ip: addressOf(text(record, "destination.address")),
        port: direction === "inbound" ? number(record, "app.port") : portOf(text(record, "destination.address")),
      },
      sni: "",
      timeMs: Number.isNaN(timeMs) ? undefined : timeMs,
      request,
    },
    decision: isDenial ? "deny" : "allow",
    rule: text(record, "rule"),
    reason,
    policyVersion,
  };
}

function requestOf(record: unknown): AskedRequest | undefined {
  const method = text(record, "method");
  const path = text(record, "path") ?? (method === "CONNECT" ? "" : undefined);
  if (method === undefined || path === undefined) return undefined;
  const principal = text(record, "request.principal");
  const slash = principal?.lastIndexOf("/") ?? -1;
  return {
    method,
    host: text(record, "authority"),
    path,
    headers: [],
    claims:
      principal === undefined || slash === -1
        ? undefined
        : { iss: principal.slice(0, slash), sub: principal.slice(slash + 1) },
  };
}

/** Of `10.0.0.7:51234` or `[2001:db8::1]:80`; "" for a Unix socket. */
function addressOf(address: string | undefined): string {
  const host = /^\[?([^\]]*?)\]?:\d+$/.exec(address ?? "")?.[1];
  return host === undefined ? "" : (canonicalIpAddress(host) ?? "");
}

function portOf(address: string | undefined): number | undefined {
  const port = /:(\d{1,5})$/.exec(address ?? "")?.[1];
  return port === undefined || Number(port) > 65_535 ? undefined : Number(port);
}

function identity(record: unknown, path: string): SpiffeId | "bad" | undefined {
  const id = text(record, path);
  if (id === undefined) return undefined;
  try {
    return parseSpiffeId(id);
  } catch {
    return "bad";
  }
}

function at(record: unknown, path: string): unknown {
  let value = record;
  for (const name of path.split(".")) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return undefined;
    value = (value as Json)[name];
  }
  return value;
}

function text(record: unknown, path: string): string | undefined {
  const value = at(record, path);
  return typeof value === "string" ? value : undefined;
}

function number(record: unknown, path: string): number | undefined {
  const value = at(record, path);
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= 65_535 ? value : undefined;
}
