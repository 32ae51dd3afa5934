import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { callOutcome, connectionContext } from "../../test/support/call-outcome.ts";
import type { CallOutcome } from "../core/call-outcome.ts";
import type { RuleId } from "../core/decision.ts";
import type { SpiffeId } from "../core/spiffe-id.ts";
import { RECORD_BYTES_MAX, serialiseEvent, serialiseOutcome } from "./serialise-record.ts";

const text = fc.string({ unit: "binary", maxLength: 40 });
const maybe = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(arbitrary, { nil: undefined });
const whole = fc.nat({ max: 2 ** 40 });
const thousandths = fc.nat({ max: 10_000_000 }).map((n) => n / 1000);
const spiffeId = fc.stringMatching(/^[a-z0-9-]{1,20}$/).map((name) => `spiffe://example.org/sa/${name}` as SpiffeId);

const outcomes: fc.Arbitrary<CallOutcome> = fc.record({
  connection: fc.record({
    direction: fc.constantFrom("inbound" as const, "outbound" as const),
    listener: text,
    source: maybe(fc.record({ spiffeId, serial: text, notAfterMs: fc.nat({ max: 4_000_000_000_000 }), issuer: text })),
    sourceAddress: text,
    sourceUid: maybe(whole),
    sourcePid: maybe(whole),
    destination: maybe(fc.record({ spiffeId, serial: text })),
    destinationAddress: text,
    appPort: maybe(fc.nat({ max: 65_535 })),
    tlsVersion: maybe(text),
    tlsCipher: maybe(text),
  }),
  phase: fc.constantFrom("start", "progress", "end"),
  kind: fc.constantFrom("request", "connection", "refusal"),
  id: text,
  startedUs: fc.integer({ min: 0, max: 4_000_000_000_000_000 }),
  durationMs: thousandths,
  upstreamMs: maybe(thousandths),
  protocol: fc.constantFrom("http/1.0", "http/1.1", "http/2", "tcp", "tls", "unknown"),
  method: maybe(text),
  authority: maybe(text),
  path: maybe(text),
  destination: maybe(fc.record({ spiffeId, serial: text })),
  destinationAddress: maybe(text),
  principal: maybe(text),
  decision: fc.constantFrom("allow", "deny", "error"),
  policyVersion: maybe(text),
  rule: maybe(text.map((id) => id as RuleId)),
  reason: maybe(text),
  detail: maybe(text),
  nearest: maybe(fc.record({ rule: text.map((id) => id as RuleId), field: text, expected: text, actual: text })),
  status: maybe(fc.integer({ min: 100, max: 599 })),
  bytesIn: whole,
  bytesOut: whole,
  retries: fc.nat({ max: 10 }),
  close: maybe(text),
  requestId: maybe(text),
  traceId: maybe(text),
  grpcService: maybe(text),
  grpcMethod: maybe(text),
  grpcStatus: maybe(fc.nat({ max: 16 })),
});

/** The record's shape, written the slow and obvious way. */
function expected(o: CallOutcome, seq: number): unknown {
  const c = o.connection;
  const dropEmpty = (value: object): object | undefined =>
    Object.values(value).some((member) => member !== undefined) ? value : undefined;
  const destination = o.destination ?? c.destination;
  const iso = new Date(Math.floor((o.startedUs + o.durationMs * 1000) / 1000)).toISOString().slice(0, -1);
  const micro = String(Math.floor(o.startedUs + o.durationMs * 1000) % 1000).padStart(3, "0");
  return JSON.parse(
    JSON.stringify({
      time: `${iso}${micro}Z`,
      phase: o.phase,
      id: o.id || undefined,
      kind: o.kind,
      direction: c.direction,
      listener: c.listener,
      source: dropEmpty({
        spiffe_id: c.source?.spiffeId,
        svid: c.source && {
          serial: c.source.serial,
          not_after: new Date(c.source.notAfterMs).toISOString(),
          issuer: c.source.issuer,
        },
        address: c.sourceAddress || undefined,
        local: dropEmpty({ uid: c.sourceUid, pid: c.sourcePid }),
      }),
      destination: dropEmpty({
        spiffe_id: destination?.spiffeId,
        svid: destination && { serial: destination.serial },
        address: (o.destinationAddress ?? c.destinationAddress) || undefined,
      }),
      app: dropEmpty({ port: c.appPort }),
      tls: dropEmpty({ version: c.tlsVersion, cipher: c.tlsCipher }),
      protocol: o.protocol,
      method: o.method,
      authority: o.authority,
      path: o.path,
      request: dropEmpty({ principal: o.principal }),
      grpc: dropEmpty({ service: o.grpcService, method: o.grpcMethod, status: o.grpcStatus }),
      decision: o.decision,
      policy: dropEmpty({ version: o.policyVersion }),
      rule: o.rule,
      reason: o.reason,
      detail: o.detail,
      nearest: o.nearest,
      status: o.status,
      bytes: { in: o.bytesIn, out: o.bytesOut },
      duration_ms: o.durationMs,
      upstream_ms: o.upstreamMs,
      retries: o.retries,
      close: o.close,
      request_id: o.requestId,
      trace_id: o.traceId,
      seq,
    }),
  );
}

describe("serialiseOutcome", () => {
  it("gives one line of printable ASCII JSON that parses back to the same values, for any outcome", () => {
    fc.assert(
      fc.property(outcomes, fc.nat(), (outcome, seq) => {
        const line = serialiseOutcome(outcome, seq);
        expect(line).toMatch(/^\{[\x20-\x7e]*\}\n$/);
        expect(JSON.parse(line)).toEqual(expected(outcome, seq));
        expect(Object.keys(JSON.parse(line))).toEqual(Object.keys(expected(outcome, seq) as object));
        // From the connection's cache the second one is the same.
        expect(serialiseOutcome(outcome, seq)).toBe(line);
      }),
    );
  });

  it("follows an outbound connection from one destination to the next and back", () => {
    const connection = connectionContext({ direction: "outbound", destination: undefined, destinationAddress: "" });
    const to = (name: string): unknown =>
      JSON.parse(
        serialiseOutcome(
          callOutcome({
            connection,
            destination: { spiffeId: `spiffe://example.org/sa/${name}` as SpiffeId, serial: name },
            destinationAddress: `10.0.0.1:${name.length}`,
          }),
          1,
        ),
      ).destination;
    expect(to("a")).toEqual({ spiffe_id: "spiffe://example.org/sa/a", svid: { serial: "a" }, address: "10.0.0.1:1" });
    expect(to("bb")).toEqual({
      spiffe_id: "spiffe://example.org/sa/bb",
      svid: { serial: "bb" },
      address: "10.0.0.1:2",
    });
    expect(to("a")).toEqual({ spiffe_id: "spiffe://example.org/sa/a", svid: { serial: "a" }, address: "10.0.0.1:1" });
    expect(JSON.parse(serialiseOutcome(callOutcome({ connection }), 1)).destination).toBeUndefined();
  });

  it.each([
    ["a forged second record in the path", { path: '/x"}\n{"decision":"allow","seq":99}' }],
    ["terminal escapes in the authority", { authority: "\u001b]0;owned\u0007\u009b31m" }],
    ["a carriage return in the method", { method: "GET\r\nX" }],
    ["a bidirectional override in the detail", { detail: "\u202etxt.exe" }],
  ])("keeps %s inside its one string", (_name, over) => {
    const line = serialiseOutcome(callOutcome(over), 5);
    expect(line.slice(0, -1)).toMatch(/^[\x20-\x7e]*$/);
    expect(line.split("\n")).toHaveLength(2);
    expect(JSON.parse(line)).toMatchObject({ ...over, seq: 5 });
  });

  it("keeps a hostile identity text of a refused certificate inside its string", () => {
    const connection = connectionContext({
      source: { spiffeId: 'spiffe://x/"}\n{' as SpiffeId, serial: "\u001b", notAfterMs: 0, issuer: 'CN="\u2028' },
    });
    const line = serialiseOutcome(callOutcome({ connection }), 1);
    expect(line).toMatch(/^[\x20-\x7e]*\n$/);
    expect(JSON.parse(line).source.svid).toMatchObject({ serial: "\u001b", issuer: 'CN="\u2028' });
  });

  it("bounds the line whatever a peer sends", () => {
    const long = "\u0001".repeat(1_000_000);
    const line = serialiseOutcome(
      callOutcome({
        connection: connectionContext({
          listener: long,
          source: { spiffeId: long as SpiffeId, serial: long, notAfterMs: Number.NaN, issuer: long },
          sourceAddress: long,
          destination: { spiffeId: long as SpiffeId, serial: long },
          destinationAddress: long,
          tlsVersion: long,
          tlsCipher: long,
        }),
        id: long,
        method: long,
        authority: long,
        path: long,
        policyVersion: long,
        rule: long as RuleId,
        reason: long,
        detail: long,
        nearest: { rule: long as RuleId, field: long, expected: long, actual: long },
        close: long,
        requestId: long,
        traceId: long,
      }),
      Number.MAX_SAFE_INTEGER,
    );
    expect(line.length).toBeLessThan(RECORD_BYTES_MAX);
    expect(JSON.parse(line).path).toMatch(/…\[\+995904\]$/);
  });

  it("leaves out durations that are no number instead of writing bad JSON", () => {
    const line = serialiseOutcome(callOutcome({ durationMs: Number.NaN, upstreamMs: Number.POSITIVE_INFINITY }), 1);
    expect(JSON.parse(line)).not.toHaveProperty("duration_ms");
    expect(JSON.parse(line)).not.toHaveProperty("upstream_ms");
  });

  it("writes the time of the phase in UTC with microseconds", () => {
    const startedUs = Date.UTC(2030, 0, 1, 0, 0, 59, 999) * 1000 + 7;
    expect(JSON.parse(serialiseOutcome(callOutcome({ startedUs }), 1)).time).toBe("2030-01-01T00:00:59.999007Z");
    expect(JSON.parse(serialiseOutcome(callOutcome({ startedUs, durationMs: 1.5 }), 1)).time).toBe(
      "2030-01-01T00:01:00.000507Z",
    );
  });
});

describe("serialiseEvent", () => {
  it("writes an event that is no call", () => {
    const event = {
      kind: "identity",
      reason: "identity.rotated",
      detail: "line\nfeed",
      source: { spiffeId: "spiffe://example.org/sa/web" as SpiffeId, serial: "1f", notAfterMs: 0, issuer: "CN=x" },
      count: 2,
    } as const;
    expect(JSON.parse(serialiseEvent(event, Date.UTC(2030, 0, 1) + 0.25, 3))).toEqual({
      time: "2030-01-01T00:00:00.000250Z",
      phase: "end",
      kind: "identity",
      source: {
        spiffe_id: "spiffe://example.org/sa/web",
        svid: { serial: "1f", not_after: "1970-01-01T00:00:00.000Z", issuer: "CN=x" },
      },
      reason: "identity.rotated",
      detail: "line\nfeed",
      count: 2,
      seq: 3,
    });
  });

  it("writes what an issuer attested, bounded and on one line", () => {
    const record = JSON.parse(
      serialiseEvent(
        {
          kind: "identity",
          reason: "svid.issued.jwt",
          decision: "allow",
          source: { spiffeId: "spiffe://example.org/sa/web" as SpiffeId, notAfterMs: 0 },
          local: { uid: 1001, gid: 100, pid: 7 },
          selectors: Array.from({ length: 20 }, () => `unix:path:/\u001b[31m${"x".repeat(5000)}`),
        },
        0,
        1,
      ),
    ) as { source: object; selectors: string[] };
    expect(record.source).toEqual({
      spiffe_id: "spiffe://example.org/sa/web",
      svid: { not_after: "1970-01-01T00:00:00.000Z" },
      local: { uid: 1001, gid: 100, pid: 7 },
    });
    expect(record.selectors).toHaveLength(16);
    expect(JSON.stringify(record).length).toBeLessThan(RECORD_BYTES_MAX);
  });
});

describe("calls of one connection", () => {
  it("are written as each would be alone, whatever the one before it was", () => {
    const short = fc.constantFrom(undefined, "a", "b");
    const call = fc.record({
      method: short,
      authority: short,
      decision: fc.constantFrom("allow" as const, "deny" as const, "error" as const),
      policyVersion: short,
      reason: short,
      rule: short.map((value) => value as RuleId | undefined),
      destinationAddress: short,
    });
    fc.assert(
      fc.property(fc.array(call, { maxLength: 12 }), (calls) => {
        const shared = connectionContext();
        for (const over of calls) {
          const together = serialiseOutcome(callOutcome({ ...over, connection: shared }), 1);
          expect(together).toBe(serialiseOutcome(callOutcome({ ...over, connection: connectionContext() }), 1));
        }
      }),
    );
  });
});
