import type { CallOutcome, ConnectionContext } from "../../src/core/call-outcome.ts";
import { parseSpiffeId } from "../../src/core/spiffe-id.ts";

/** A verified inbound connection of web to orders; `over` replaces what a test is about. */
export function connectionContext(over: Partial<ConnectionContext> = {}): ConnectionContext {
  return {
    direction: "inbound",
    listener: "web",
    source: {
      spiffeId: parseSpiffeId("spiffe://example.org/ns/shop/sa/web"),
      serial: "7f3a",
      notAfterMs: Date.UTC(2030, 0, 1, 1),
      issuer: "CN=example.org",
    },
    sourceAddress: "10.0.0.7:51234",
    sourceUid: undefined,
    sourcePid: undefined,
    destination: { spiffeId: parseSpiffeId("spiffe://example.org/ns/shop/sa/orders"), serial: "4c1f" },
    destinationAddress: "10.0.0.8:15006",
    appPort: 8080,
    tlsVersion: "TLSv1.3",
    tlsCipher: "TLS_AES_128_GCM_SHA256",
    ...over,
  };
}

/** An allowed GET that ended well. */
export function callOutcome(over: Partial<CallOutcome> = {}): CallOutcome {
  return {
    connection: connectionContext(),
    phase: "end",
    kind: "request",
    id: "call-1",
    startedUs: Date.UTC(2030, 0, 1, 12, 34, 56, 789) * 1000,
    durationMs: 0,
    upstreamMs: undefined,
    protocol: "http/1.1",
    method: "GET",
    authority: "orders.shop",
    path: "/orders/7",
    destination: undefined,
    destinationAddress: undefined,
    principal: undefined,
    decision: "allow",
    policyVersion: "v1",
    rule: undefined,
    reason: "default",
    detail: undefined,
    nearest: undefined,
    status: 200,
    bytesIn: 0,
    bytesOut: 12,
    retries: 0,
    close: undefined,
    requestId: undefined,
    traceId: undefined,
    grpcService: undefined,
    grpcMethod: undefined,
    grpcStatus: undefined,
    ...over,
  };
}
