// Cost of one audit record: serialised into a batch and copied into bytes, as the audit log does off the call's path.

import { serialiseOutcome } from "../../src/audit/serialise-record.ts";
import type { CallOutcome, ConnectionContext } from "../../src/core/call-outcome.ts";
import { parseSpiffeId } from "../../src/core/spiffe-id.ts";

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
  };
}

function measure(name: string, outcomes: readonly CallOutcome[]): void {
  const bytes = Buffer.allocUnsafe(4 * 1024 * 1024);
  let best = Number.POSITIVE_INFINITY;
  let total = 0;
  for (let round = 0; round < 60; round++) {
    const start = performance.now();
    let batch = "";
    for (let i = 0; i < outcomes.length; i++) {
      const one = outcomes[i];
      if (one !== undefined) batch += serialiseOutcome(one, i);
    }
    total = bytes.write(batch, 0, "latin1");
    best = Math.min(best, performance.now() - start);
  }
  const perRecord = ((best / outcomes.length) * 1e6).toFixed(0);
  console.log(
    `${name.padEnd(34)} ${perRecord.padStart(6)} ns/record  ${Math.round(total / outcomes.length)} bytes/record`,
  );
}

const COUNT = 1000;
const one = connection("7f3a");
const shared = Array.from({ length: COUNT }, (_, i) => outcome(one, i));
measure("kept connection", shared);
measure(
  "new connection a record",
  Array.from({ length: COUNT }, (_, i) => outcome(connection(i.toString(16)), i)),
);
for (const dirty of shared) dirty.path = "/orders/\u001b[2J\u202e/x";
measure("path with controls", shared);
