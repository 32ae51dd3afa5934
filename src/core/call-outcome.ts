import type { DecisionNotes, NearestRule, RuleId } from "./decision.ts";
import type { Peer } from "./identity.ts";
import type { SpiffeId } from "./spiffe-id.ts";

export type AuditPhase = "start" | "progress" | "end";
export type AuditKind = "request" | "connection" | "refusal" | "identity" | "policy" | "lifecycle";

/** The part of a record that is the same for every call of one connection. Build it once per connection: the audit
 *  room caches its JSON by object identity. */
export interface ConnectionContext {
  readonly direction: "inbound" | "outbound";
  /** Name of the listener. */
  readonly listener: string;
  /** The caller: the verified peer (inbound), or our own SVID (outbound). */
  readonly source: Pick<Peer, "spiffeId" | "serial" | "notAfterMs" | "issuer"> | undefined;
  /** `ip:port` of the TCP peer, or "unix". */
  readonly sourceAddress: string;
  readonly sourceUid: number | undefined;
  readonly sourcePid: number | undefined;
  /** Our own SVID (inbound). Outbound knows its destination per call: see CallOutcome.destination. */
  readonly destination: { readonly spiffeId: SpiffeId; readonly serial: string } | undefined;
  readonly destinationAddress: string;
  readonly appPort: number | undefined;
  readonly tlsVersion: string | undefined;
  readonly tlsCipher: string | undefined;
}

/** Everything that one call leaves behind. Audit, metrics and traces all read this same value (architecture, step 8).
 *  Made once when the call starts, completed in place by the proxy until it is handed over, then never touched again. */
export interface CallOutcome {
  readonly connection: ConnectionContext;
  phase: AuditPhase;
  kind: AuditKind;
  /** Decision id: also given to the caller as x-countersign-id. */
  id: string;
  /** Wall clock at the start, microseconds since the epoch. */
  startedUs: number;
  durationMs: number;
  upstreamMs: number | undefined;
  protocol: "http/1.0" | "http/1.1" | "http/2" | "tcp" | "tls" | "unknown";
  method: string | undefined;
  authority: string | undefined;
  /** As policy saw it, without query. */
  path: string | undefined;
  /** Outbound: the server's verified identity and serial, once known. */
  destination: { readonly spiffeId: SpiffeId; readonly serial: string } | undefined;
  destinationAddress: string | undefined;
  /** The end user that the request's verified token names, as `iss/sub`. */
  principal: string | undefined;
  decision: "allow" | "deny" | "error";
  policyVersion: string | undefined;
  rule: RuleId | undefined;
  /** Stable code (`E_…`) or "rule", "default", "no-policy" for an allow. */
  reason: string | undefined;
  /** One readable line for a deny or error; never a secret. */
  detail: string | undefined;
  nearest: NearestRule | undefined;
  /** What policy said besides its verdict. */
  notes?: DecisionNotes | undefined;
  status: number | undefined;
  /** Of a gRPC call, from its path and its trailers. */
  grpcService: string | undefined;
  grpcMethod: string | undefined;
  grpcStatus: number | undefined;
  bytesIn: number;
  bytesOut: number;
  retries: number;
  /** Why the connection ended, where the call ended with it. */
  close: string | undefined;
  requestId: string | undefined;
  traceId: string | undefined;
}
