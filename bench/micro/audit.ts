// Cost of one audit record: serialised into a batch and copied into bytes, as the audit log does off the call's path;
// and what audit and metrics cost on that path.

import { Writable } from "node:stream";
import { createAuditLog } from "../../src/audit/audit-log.ts";
import { putEnd, putOutcome } from "../../src/audit/serialise-record.ts";
import type { CallOutcome, ConnectionContext } from "../../src/core/call-outcome.ts";
import type { Clock } from "../../src/core/clock.ts";
import { parseSpiffeId } from "../../src/core/spiffe-id.ts";
import { createTelemetry } from "../../src/telemetry/telemetry.ts";

function connection(serial: string): ConnectionContext {
  return {
    direction: "inbound",
    listener: "web",
    source: {
      spiffeId: parseSpiffeId("spiffe://example.org/ns/shop/sa/web"),
      serial,
      notAfterMs: Date.UTC(2030, 0, 1),
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
  };
}

function outcome(shared: ConnectionContext, i: number): CallOutcome {
  return {
    connection: shared,
    phase: "end",
    kind: "request",
    id: `01JZX4N0Q8W3-${i}`,
    startedUs: Date.UTC(2029, 0, 1) * 1000 + i * 37,
    durationMs: 1.234 + (i % 100) / 1000,
    upstreamMs: 0.9 + (i % 77) / 1000,
    protocol: "http/1.1",
    method: "GET",
    authority: "orders.shop:8080",
    path: `/orders/${i}`,
    destination: undefined,
    destinationAddress: undefined,
    principal: undefined,
    decision: "allow",
    policyVersion: "b9c1d2e3",
    rule: undefined,
    reason: "rule",
    detail: undefined,
    nearest: undefined,
    status: 200,
    bytesIn: 0,
    bytesOut: 512 + (i % 1000),
    retries: 0,
    close: undefined,
    requestId: "f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
    traceId: undefined,
    grpcService: undefined,
    grpcMethod: undefined,
    grpcStatus: undefined,
  };
}

function measure(name: string, round: () => number): void {
  let best = Number.POSITIVE_INFINITY;
  let bytes = 0;
  for (let i = 0; i < 60; i++) {
    const start = performance.now();
    bytes = round();
    best = Math.min(best, performance.now() - start);
  }
  const perRecord = ((best / COUNT) * 1e6).toFixed(0).padStart(6);
  console.log(
    `${name.padEnd(34)} ${perRecord} ns/record${bytes > 0 ? `  ${Math.round(bytes / COUNT)} bytes/record` : ""}`,
  );
}

const COUNT = 1000;
const target = Buffer.allocUnsafe(4 * 1024 * 1024);
function batch(outcomes: readonly CallOutcome[]): number {
  let at = 0;
  let seq = 0;
  for (const one of outcomes) at = putEnd(target, putOutcome(target, at, one), ++seq);
  return at;
}

const kept = connection("7f3a");
const shared = Array.from({ length: COUNT }, (_, i) => outcome(kept, i));
measure("serialise, kept connection", () => batch(shared));
measure("serialise, new connection a record", () => {
  const fresh = shared.map((one) => ({ ...one, connection: { ...kept } }));
  return batch(fresh);
});
const mixed = shared.map((one, i) => ({ ...one, method: i % 2 === 0 ? "GET" : "POST" }));
measure("serialise, methods in turn", () => batch(mixed));
const hostile = shared.map((one) => ({ ...one, path: "/orders/\u001b[2J\u202e/x" }));
measure("serialise, path with controls", () => batch(hostile));

const idle: Clock = { nowMs: () => 0, monotonicMs: () => 0, after: () => () => undefined };
const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };
const queue = COUNT * 61;
const log = createAuditLog(
  { sinks: [{ kind: "stdout" }], onFailure: "block", queue, refusalsQueue: 1 },
  idle,
  quiet,
  new Writable({ write: (_chunk, _encoding, done) => done() }),
);
measure("reserve and complete, on the call", () => {
  for (const one of shared) {
    const slot = log.reserve();
    if (slot !== undefined) log.complete(slot, one);
  }
  return 0;
});
const telemetry = createTelemetry();
measure("telemetry, on the call", () => {
  for (const one of shared) telemetry.recordCall(one);
  return 0;
});
