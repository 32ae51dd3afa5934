import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { callOutcome, connectionContext } from "../../test/support/call-outcome.ts";
import { serialiseEvent, serialiseOutcome } from "../../test/support/serialise-record.ts";
import type { CallOutcome } from "../core/call-outcome.ts";
import type { RuleId } from "../core/decision.ts";
import type { SpiffeId } from "../core/spiffe-id.ts";
import { RECORD_BYTES_MAX } from "./record-limits.ts";

const longs = fc.tuple(fc.constantFrom("a", '"', "é", "\u0001", "😀"), fc.integer({ min: 25, max: 5000 }));
const text = fc.oneof(
  { weight: 8, arbitrary: fc.string({ unit: "binary", maxLength: 40 }) },
  { weight: 8, arbitrary: fc.string({ unit: "grapheme-ascii", maxLength: 40 }) },
  {
    weight: 2,
    arbitrary: fc
      .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 40 })
      .map((units) => String.fromCharCode(...units)),
  },
  { weight: 1, arbitrary: longs.map(([unit, size]) => unit.repeat(size)) },
);
const maybe = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(arbitrary, { nil: undefined });
const odd = fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -1, -0, 0.5, 1e21);
const mostly = (usual: fc.Arbitrary<number>): fc.Arbitrary<number> =>
  fc.oneof({ weight: 12, arbitrary: usual }, { weight: 1, arbitrary: odd });
const whole = mostly(fc.nat({ max: 2 ** 40 }));
const duration = mostly(
  fc.oneof(
    fc.nat({ max: 10_000_000 }).map((n) => n / 1000),
    fc.double({ min: 0, max: 1e9, noNaN: true }),
  ),
);
const spiffeId = fc.stringMatching(/^[a-z0-9-]{1,20}$/).map((name) => `spiffe://example.org/sa/${name}` as SpiffeId);
const ruleId = text.map((id) => id as RuleId);

const outcomes: fc.Arbitrary<CallOutcome> = fc.record({
  connection: fc.record({
    direction: fc.constantFrom("inbound" as const, "outbound" as const),
    listener: text,
    source: maybe(
      fc.record({ spiffeId, serial: text, notAfterMs: mostly(fc.nat({ max: 4_000_000_000_000 })), issuer: text }),
    ),
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
  startedUs: fc.oneof(
    { weight: 12, arbitrary: fc.integer({ min: 0, max: 4_000_000_000_000_000 }) },
    { weight: 1, arbitrary: fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, 1e300) },
  ),
  durationMs: duration,
  upstreamMs: maybe(duration),
  protocol: fc.constantFrom("http/1.0", "http/1.1", "http/2", "tcp", "tls", "unknown"),
  method: maybe(text),
  authority: maybe(text),
  path: maybe(text),
  destination: maybe(fc.record({ spiffeId, serial: text })),
  destinationAddress: maybe(text),
  principal: maybe(text),
  decision: fc.constantFrom("allow", "deny", "error"),
  policyVersion: maybe(text),
  rule: maybe(ruleId),
  reason: maybe(text),
  detail: maybe(text),
  nearest: maybe(fc.record({ rule: ruleId, field: text, expected: text, actual: text })),
  notes: maybe(
    fc.record({
      auditRule: maybe(ruleId),
      dryRun: maybe(fc.record({ verdict: fc.constantFrom("allow", "deny"), rule: maybe(ruleId), reason: text })),
      conditionFaults: fc.array(fc.record({ rule: ruleId, message: text }), { maxLength: 6 }),
    }),
  ),
  status: maybe(mostly(fc.integer({ min: 0, max: 1000 }))),
  bytesIn: whole,
  bytesOut: whole,
  retries: mostly(fc.nat({ max: 10 })),
  close: maybe(text),
  requestId: maybe(text),
  traceId: maybe(text),
  grpcService: maybe(text),
  grpcMethod: maybe(text),
  grpcStatus: maybe(mostly(fc.nat({ max: 16 }))),
});

const cut = (value: string | undefined, max: number): string | undefined =>
  value === undefined || value.length <= max ? value : `${value.slice(0, max)}…[+${value.length - max}]`;
const number = (value: number | undefined): number | undefined => (Number.isFinite(value) ? value : undefined);
const milliseconds = (value: number | undefined): number | undefined =>
  value !== undefined && Number.isFinite(value * 1000) ? Math.round(value * 1000) / 1000 : undefined;
const count = (value: number): number | null => number(value) ?? null;
/** An object without any member is left out. */
const some = (value: object): object | undefined =>
  Object.values(value).some((member) => member !== undefined) ? value : undefined;

function expectedTime({ startedUs, durationMs }: CallOutcome): string {
  const us = startedUs + (Number.isFinite(durationMs) ? durationMs * 1000 : 0);
  if (!(Math.abs(us) < 8.64e18)) return "1970-01-01T00:00:00.000000Z";
  const second = Math.floor(us / 1_000_000);
  const micro = String(Math.floor(us - second * 1_000_000)).padStart(6, "0");
  return `${new Date(second * 1000).toISOString().slice(0, -5)}.${micro}Z`;
}

/** The record's shape, written the slow and obvious way. */
function expected(o: CallOutcome, seq: number): object {
  const c = o.connection;
  const destination = o.destination ?? c.destination;
  const notAfterMs = number(c.source?.notAfterMs);
  const faults = o.notes?.conditionFaults.slice(0, 4);
  return {
    time: expectedTime(o),
    phase: o.phase,
    id: cut(o.id || undefined, 128),
    kind: o.kind,
    direction: c.direction,
    listener: cut(c.listener, 256),
    source: some({
      spiffe_id: c.source?.spiffeId,
      svid: c.source && {
        serial: cut(c.source.serial, 128),
        not_after: notAfterMs === undefined || notAfterMs > 8.64e15 ? undefined : new Date(notAfterMs).toISOString(),
        issuer: cut(c.source.issuer, 512),
      },
      address: cut(c.sourceAddress || undefined, 300),
      local: some({ uid: number(c.sourceUid), pid: number(c.sourcePid) }),
    }),
    destination: some({
      spiffe_id: destination?.spiffeId,
      svid: destination && { serial: cut(destination.serial, 128) },
      address: cut((o.destinationAddress ?? c.destinationAddress) || undefined, 300),
    }),
    app: some({ port: c.appPort }),
    tls: some({ version: cut(c.tlsVersion, 128), cipher: cut(c.tlsCipher, 128) }),
    protocol: o.protocol,
    method: cut(o.method, 64),
    authority: cut(o.authority, 1024),
    path: cut(o.path, 4096),
    request: some({ principal: cut(o.principal, 1024) }),
    grpc: some({ service: cut(o.grpcService, 1024), method: cut(o.grpcMethod, 256), status: number(o.grpcStatus) }),
    decision: o.decision === "allow" && o.notes?.dryRun?.verdict === "deny" ? "would-deny" : o.decision,
    policy: some({ version: cut(o.policyVersion, 128) }),
    rule: cut(o.rule, 768),
    reason: cut(o.reason, 128),
    detail: cut(o.detail, 1024),
    nearest: o.nearest && {
      rule: cut(o.nearest.rule, 768),
      field: cut(o.nearest.field, 256),
      expected: cut(o.nearest.expected, 256),
      actual: cut(o.nearest.actual, 256),
    },
    audit_rule: cut(o.notes?.auditRule, 768),
    dry_run: o.notes?.dryRun && {
      decision: o.notes.dryRun.verdict,
      rule: cut(o.notes.dryRun.rule, 768),
      reason: cut(o.notes.dryRun.reason, 1024),
    },
    condition_faults:
      faults === undefined || faults.length === 0
        ? undefined
        : faults.map(({ rule, message }) => ({ rule: cut(rule, 768), message: cut(message, 256) })),
    status: number(o.status),
    bytes: { in: count(o.bytesIn), out: count(o.bytesOut) },
    duration_ms: milliseconds(o.durationMs),
    upstream_ms: milliseconds(o.upstreamMs),
    retries: count(o.retries),
    close: cut(o.close, 256),
    request_id: cut(o.requestId, 128),
    trace_id: cut(o.traceId, 128),
    seq,
  };
}

/** JSON whose texts are of printable ASCII, without any short escape but of quotes and backslashes. */
function printed(value: unknown): string {
  if (typeof value === "string")
    return `"${value.replace(/[^ !#-[\]-~]/g, (unit) =>
      unit === '"' || unit === "\\" ? `\\${unit}` : `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
    )}"`;
  if (Array.isArray(value)) return `[${value.map(printed).join(",")}]`;
  if (typeof value === "object" && value !== null)
    return `{${Object.entries(value)
      .filter(([, member]) => member !== undefined)
      .map(([name, member]) => `"${name}":${printed(member)}`)
      .join(",")}}`;
  return JSON.stringify(value);
}

describe("serialiseOutcome", () => {
  it("gives one line of printable ASCII JSON that parses back to the same values, for any outcome", () => {
    fc.assert(
      fc.property(outcomes, fc.nat(), (outcome, seq) => {
        const line = serialiseOutcome(outcome, seq);
        expect(line).toBe(`${printed(expected(outcome, seq))}\n`);
        expect(line).toMatch(/^\{[\x20-\x7e]*\}\n$/);
        expect(JSON.parse(line)).toEqual(JSON.parse(JSON.stringify(expected(outcome, seq))));
        // From the connection's cache the second one is the same.
        expect(serialiseOutcome(outcome, seq)).toBe(line);
      }),
      { numRuns: 300 },
    );
  });

  it.each(["call-1", 'a"b', "x".repeat(200)])(
    "writes the id %j also as the id of a request that brought none",
    (id) => {
      const outcome = callOutcome({ id, requestId: id });
      expect(serialiseOutcome(outcome, 1)).toBe(`${printed(expected(outcome, 1))}\n`);
    },
  );

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
        notes: {
          auditRule: long as RuleId,
          dryRun: { verdict: "deny", rule: long as RuleId, reason: long },
          conditionFaults: Array.from({ length: 9 }, () => ({ rule: long as RuleId, message: long })),
        },
        principal: long,
        grpcService: long,
        grpcMethod: long,
        grpcStatus: -Number.MAX_VALUE,
        status: -Number.MAX_VALUE,
        bytesIn: -Number.MAX_VALUE,
        bytesOut: -Number.MAX_VALUE,
        retries: -Number.MAX_VALUE,
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
