import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createTestCa, type TestCa, type TestIssued } from "../../../test/support/cert-factory.ts";
import { type FakeClock, fakeClock } from "../../../test/support/fake-clock.ts";
import {
  type AgentCall,
  type ScriptedAgent,
  startScriptedAgent,
  svidMessage,
} from "../../../test/support/scripted-agent.ts";
import type { IdentitySource, IdentityState } from "../../core/identity.ts";
import { createWorkloadApiSource, type WorkloadApiOptions } from "./client-source.ts";
import type { X509SvidResponse } from "./proto.ts";

const GRACE_MS = 30_000;
const status = { INVALID_ARGUMENT: 3, PERMISSION_DENIED: 7, UNIMPLEMENTED: 12, INTERNAL: 13, UNAVAILABLE: 14 } as const;

let clock: FakeClock = fakeClock();
let ca: TestCa = createTestCa("example.org");
let agent: ScriptedAgent;
const sources: IdentitySource[] = [];

beforeEach(async () => {
  clock = fakeClock();
  ca = createTestCa("example.org", { nowMs: clock.nowMs() });
  agent = await startScriptedAgent();
});
afterEach(() => {
  for (const source of sources.splice(0)) source.close();
  agent.stop();
});

function start(options: Partial<WorkloadApiOptions> = {}): IdentitySource {
  const source = createWorkloadApiSource(
    { address: agent.address, hint: "", revocationGraceMs: GRACE_MS, ...options },
    clock,
    () => undefined,
  );
  sources.push(source);
  return source;
}

/** The first state, now or later, that the test waits for. */
function until(source: IdentitySource, isIt: (state: IdentityState) => boolean): Promise<IdentityState> {
  if (isIt(source.state)) return Promise.resolve(source.state);
  return new Promise((resolve) => {
    const stop = source.subscribe((state) => {
      if (!isIt(state)) return;
      stop();
      resolve(state);
    });
  });
}
const untilProblem = (source: IdentitySource, code: string): Promise<IdentityState> =>
  until(source, (state) => "problem" in state && state.problem?.code === code);
const untilSerial = (source: IdentitySource, issued: TestIssued): Promise<IdentityState> =>
  until(source, (state) => state.kind === "serving" && state.snapshot.svids[0].serial === serialIn(issued));
const serialIn = (issued: TestIssued): string => issued.certificate.serialNumber.toLowerCase().replace(/^0+/, "");

/** Ends a call, waits until the client has noticed and armed its retry, and moves time on to it. */
async function endAndRedial(
  source: IdentitySource,
  call: AgentCall,
  code: number,
  delayMs: number,
): Promise<AgentCall> {
  const details = `ended at ${clock.nowMs()}`;
  const seen = until(source, (state) => "problem" in state && (state.problem?.message.includes(details) ?? false));
  call.end(code, details);
  await seen;
  clock.advance(delayMs - 1);
  expect(agent.waitingCalls).toBe(0);
  clock.advance(1);
  return agent.nextCall();
}

async function startServing(
  options: Partial<WorkloadApiOptions> = {},
): Promise<{ source: IdentitySource; call: AgentCall; issued: TestIssued }> {
  const source = start(options);
  const call = await agent.nextCall();
  const issued = ca.issue();
  call.send({ svids: [svidMessage(issued, ca)] });
  await untilSerial(source, issued);
  return { source, call, issued };
}

describe("the stream", () => {
  test("carries the security header and serves what it is sent", async () => {
    const partner = createTestCa("partner.org", { nowMs: clock.nowMs() });
    const source = start();
    expect(source.state).toMatchObject({ kind: "waiting", problem: undefined });
    const call = await agent.nextCall();
    expect(call.securityHeader).toEqual(["true"]);
    const issued = ca.intermediate().issue({ spiffeId: "spiffe://example.org/web" });
    call.send({
      svids: [svidMessage(issued, ca, { hint: "main" })],
      federatedBundles: { "spiffe://partner.org": partner.der, "bare.org": partner.der },
    });
    const state = await untilSerial(source, issued);
    if (state.kind !== "serving") throw new TypeError("not serving");
    expect(state.snapshot.svids).toMatchObject([
      { spiffeId: "spiffe://example.org/web", hint: "main", chainPem: issued.chainPem },
    ]);
    expect([...state.snapshot.bundles.keys()]).toEqual(["example.org", "partner.org", "bare.org"]);
    expect(state.snapshot.generation).toBe(1);
  });

  test("stays open: each message is the whole state, what it lacks is unloaded", async () => {
    const partner = createTestCa("partner.org", { nowMs: clock.nowMs() });
    const source = start();
    const call = await agent.nextCall();
    const [first, second] = [ca.issue(), ca.issue()];
    call.send({
      svids: [svidMessage(first, ca), svidMessage(ca.issue(), ca, { hint: "other" })],
      federatedBundles: { "spiffe://partner.org": partner.der },
      crl: [ca.crl({ serials: [5n] })],
    });
    await untilSerial(source, first);
    call.send({ svids: [svidMessage(second, ca)] });
    const state = await untilSerial(source, second);
    if (state.kind !== "serving") throw new TypeError("not serving");
    expect(state.snapshot.svids).toHaveLength(1);
    expect([...state.snapshot.bundles.values()].map(({ trustDomain, crls }) => [trustDomain, crls.length])).toEqual([
      ["example.org", 0],
    ]);
    expect(state.snapshot.generation).toBe(2);
  });

  test("is dialled again after 1, 2, 3 … 30 s, and after 1 s again once a message came", async () => {
    const source = start();
    let call = await agent.nextCall();
    for (let n = 1; n <= 32; n++)
      call = await endAndRedial(
        source,
        call,
        n % 2 === 0 ? status.PERMISSION_DENIED : status.UNAVAILABLE,
        Math.min(n, 30) * 1000,
      );
    const issued = ca.issue({ notAfter: clock.nowMs() + 3_600_000 });
    call.send({ svids: [svidMessage(issued, ca)] });
    await untilSerial(source, issued);
    await endAndRedial(source, call, status.INTERNAL, 1000);
  });

  test("that the agent ends without error is dialled again", async () => {
    const { source, call } = await startServing();
    call.end(0);
    await untilProblem(source, "E_WORKLOAD_API_UNAVAILABLE");
    expect(source.state.kind).toBe("stale");
    clock.advance(1000);
    await agent.nextCall();
  });

  test.each([
    ["INVALID_ARGUMENT", status.INVALID_ARGUMENT],
    ["UNIMPLEMENTED", status.UNIMPLEMENTED],
  ])("is not dialled again after %s, and the state says why", async (name, code) => {
    const source = start();
    (await agent.nextCall()).end(code, "because");
    const state = await untilProblem(source, "E_WORKLOAD_API_REFUSED");
    expect("problem" in state && state.problem?.message).toContain(`${name}: because`);
    clock.advance(59_000);
    expect(agent.waitingCalls).toBe(0);
  });

  test("ends with the source", async () => {
    const { source } = await startServing();
    source.close();
    expect(clock.pending).toBe(0);
  });

  test("is not even opened for a source that was closed at once", async () => {
    start().close();
    start();
    await agent.nextCall();
    expect(agent.waitingCalls).toBe(0);
  });

  test("to an agent that is not there is retried for ever", async () => {
    const address = agent.address;
    agent.stop();
    const source = start({ address });
    const state = await untilProblem(source, "E_WORKLOAD_API_UNAVAILABLE");
    expect(state).toMatchObject({ kind: "waiting" });
  });
});

describe("without a first SVID", () => {
  test("the state says E_IDENTITY_TIMEOUT after 60 s with the agent's last answer, and keeps waiting", async () => {
    const source = start();
    (await agent.nextCall()).end(status.PERMISSION_DENIED, "no identity issued");
    await untilProblem(source, "E_WORKLOAD_API_DENIED");
    clock.advance(59_999);
    expect(source.state).toMatchObject({ problem: { code: "E_WORKLOAD_API_DENIED" } });
    clock.advance(1);
    expect(source.state).toMatchObject({ kind: "waiting", problem: { code: "E_IDENTITY_TIMEOUT" } });
    expect("problem" in source.state && source.state.problem?.message).toContain(
      "PERMISSION_DENIED: no identity issued",
    );
    const call = await agent.nextCall();
    const issued = ca.issue({ notAfter: clock.nowMs() + 3_600_000 });
    call.send({ svids: [svidMessage(issued, ca)] });
    await untilSerial(source, issued);
  });

  test("an agent that is silent is said to be", async () => {
    const source = start();
    await agent.nextCall();
    clock.advance(60_000);
    expect(source.state).toMatchObject({
      kind: "waiting",
      problem: { message: expect.stringContaining("has not answered") },
    });
  });
});

describe("PermissionDenied after an SVID", () => {
  test("drops it after the grace, and a later message brings identity back", async () => {
    const { source, call } = await startServing();
    call.end(status.PERMISSION_DENIED, "entry gone");
    await untilProblem(source, "E_WORKLOAD_API_DENIED");
    expect(source.state.kind).toBe("stale");
    clock.advance(GRACE_MS - 1);
    expect(source.state.kind).toBe("stale");
    clock.advance(1);
    expect(source.state).toMatchObject({ kind: "revoked", problem: { code: "E_IDENTITY_REVOKED" } });
    const again = ca.issue();
    (await agent.nextCall()).send({ svids: [svidMessage(again, ca)] });
    await untilSerial(source, again);
  });

  test("drops it at once with a grace of 0", async () => {
    const { source, call } = await startServing({ revocationGraceMs: 0 });
    const revoked = until(source, ({ kind }) => kind === "revoked");
    call.end(status.PERMISSION_DENIED);
    await revoked;
  });

  test("is forgiven by a message within the grace", async () => {
    const { source, call, issued } = await startServing();
    const next = await endAndRedial(source, call, status.PERMISSION_DENIED, 1000);
    next.send({ svids: [svidMessage(issued, ca)] });
    await untilSerial(source, issued);
    clock.advance(GRACE_MS * 2);
    expect(source.state.kind).toBe("serving");
  });

  test("is not forgiven by an agent that goes away meanwhile", async () => {
    const { source, call } = await startServing();
    const next = await endAndRedial(source, call, status.PERMISSION_DENIED, 1000);
    await endAndRedial(source, next, status.UNAVAILABLE, 2000);
    clock.advance(GRACE_MS - 3000);
    expect(source.state.kind).toBe("revoked");
  });
});

test("an agent that goes away leaves the SVID in use until it expires", async () => {
  const { source, call } = await startServing();
  call.end(status.UNAVAILABLE);
  await untilProblem(source, "E_WORKLOAD_API_UNAVAILABLE");
  clock.advance(3_600_000 - 1);
  expect(source.state.kind).toBe("stale");
  clock.advance(1);
  expect(source.state).toMatchObject({ kind: "expired", problem: { code: "E_IDENTITY_EXPIRED" } });
});

test("an SVID beside the default one leaves the snapshot at its own expiry", async () => {
  const source = start();
  const [first, second] = [ca.issue(), ca.issue({ notAfter: clock.nowMs() + 60_000 })];
  (await agent.nextCall()).send({ svids: [svidMessage(first, ca), svidMessage(second, ca, { hint: "short" })] });
  await untilSerial(source, first);
  clock.advance(59_999);
  expect(source.state).toMatchObject({ snapshot: { generation: 1, svids: [{}, { hint: "short" }] } });
  clock.advance(1);
  expect(source.state).toMatchObject({ kind: "serving", snapshot: { generation: 2 } });
  expect("snapshot" in source.state && source.state.snapshot.svids).toHaveLength(1);
  clock.advance(3_600_000);
  expect(source.state.kind).toBe("expired");
});

describe("hints", () => {
  test("the configured one names the default SVID, the first of equals counts", async () => {
    const source = start({ hint: "internal" });
    const [a, b, c] = [ca.issue(), ca.issue(), ca.issue()];
    (await agent.nextCall()).send({
      svids: [svidMessage(a, ca), svidMessage(b, ca, { hint: "internal" }), svidMessage(c, ca, { hint: "internal" })],
    });
    const state = await untilSerial(source, b);
    if (state.kind !== "serving") throw new TypeError("not serving");
    expect(state.snapshot.svids.map(({ serial }) => serial)).toEqual([serialIn(b), serialIn(a)]);
  });

  test("one that nobody has is a problem, and one that is gone takes the identity with it", async () => {
    const source = start({ hint: "internal" });
    const call = await agent.nextCall();
    const issued = ca.issue();
    call.send({ svids: [svidMessage(issued, ca)] });
    expect((await untilProblem(source, "E_IDENTITY_HINT")).kind).toBe("waiting");
    call.send({ svids: [svidMessage(issued, ca, { hint: "internal" })] });
    await untilSerial(source, issued);
    call.send({ svids: [svidMessage(issued, ca)] });
    expect((await untilProblem(source, "E_IDENTITY_HINT")).kind).toBe("revoked");
  });
});

describe("a message is reported and dropped, and the last good one stays", () => {
  const other = createTestCa("example.org", { nowMs: fakeClock().nowMs() });
  const rows: readonly (readonly [string, string, (issued: TestIssued) => Partial<X509SvidResponse>])[] = [
    ["without SVIDs", "E_WORKLOAD_API_MESSAGE", () => ({})],
    [
      "without certificate",
      "E_WORKLOAD_API_MESSAGE",
      (issued) => ({ svids: [svidMessage(issued, ca, { x509Svid: Buffer.alloc(0) })] }),
    ],
    [
      "without key",
      "E_WORKLOAD_API_MESSAGE",
      (issued) => ({ svids: [svidMessage(issued, ca, { x509SvidKey: Buffer.alloc(0) })] }),
    ],
    [
      "without bundle",
      "E_WORKLOAD_API_MESSAGE",
      (issued) => ({ svids: [svidMessage(issued, ca, { bundle: Buffer.alloc(0) })] }),
    ],
    ["without SPIFFE ID", "E_SPIFFE_ID", (issued) => ({ svids: [svidMessage(issued, ca, { spiffeId: "" })] })],
    [
      "with another SPIFFE ID than the certificate's",
      "E_WORKLOAD_API_MESSAGE",
      (issued) => ({ svids: [svidMessage(issued, ca, { spiffeId: "spiffe://example.org/other" })] }),
    ],
    [
      "with two bundles for one domain",
      "E_WORKLOAD_API_MESSAGE",
      (issued) => ({ svids: [svidMessage(issued, ca)], federatedBundles: { "example.org": other.der } }),
    ],
    [
      "with a bundle for an ID with a path",
      "E_WORKLOAD_API_MESSAGE",
      (issued) => ({ svids: [svidMessage(issued, ca)], federatedBundles: { "spiffe://partner.org/x": other.der } }),
    ],
    [
      "with a bundle for no domain",
      "E_TRUST_DOMAIN",
      (issued) => ({ svids: [svidMessage(issued, ca)], federatedBundles: { "Partner.org": other.der } }),
    ],
    [
      "with bytes that are no certificates",
      "E_WORKLOAD_API_MESSAGE",
      (issued) => ({ svids: [svidMessage(issued, ca, { x509Svid: Buffer.from("nonsense") })] }),
    ],
    [
      "with half a certificate",
      "E_WORKLOAD_API_MESSAGE",
      (issued) => ({ svids: [svidMessage(issued, ca, { x509Svid: issued.der.subarray(0, 200) })] }),
    ],
    [
      "with a key that is none",
      "E_IDENTITY_KEY",
      (issued) => ({ svids: [svidMessage(issued, ca, { x509SvidKey: Buffer.from("key") })] }),
    ],
    [
      "with another certificate's key",
      "E_IDENTITY_KEY_MISMATCH",
      (issued) => ({
        svids: [svidMessage(issued, ca, { x509SvidKey: svidMessage(other.issue(), other).x509SvidKey })],
      }),
    ],
    ["with an SVID of another CA", "E_CHAIN_SIGNATURE", (issued) => ({ svids: [svidMessage(issued, other)] })],
    [
      "with a CRL that is none",
      "E_CRL_FORMAT",
      (issued) => ({ svids: [svidMessage(issued, ca)], crl: [Buffer.from("crl")] }),
    ],
    [
      "with our own SVID revoked",
      "E_PEER_REVOKED",
      (issued) => ({
        svids: [svidMessage(issued, ca)],
        crl: [ca.crl({ serials: [BigInt(`0x${issued.certificate.serialNumber}`)] })],
      }),
    ],
    [
      "with one bad SVID beside a good one",
      "E_WORKLOAD_API_MESSAGE",
      (issued) => ({
        svids: [svidMessage(issued, ca), svidMessage(issued, ca, { hint: "x", x509SvidKey: Buffer.alloc(0) })],
      }),
    ],
  ];
  test.each(rows)("%s: %s", async (_what, code, make) => {
    const { source, call, issued } = await startServing();
    call.send(make(ca.issue()));
    const state = await untilProblem(source, code);
    expect(state).toMatchObject({ kind: "stale", snapshot: { svids: [{ serial: serialIn(issued) }] } });
    const next = ca.issue();
    call.send({ svids: [svidMessage(next, ca)] });
    await untilSerial(source, next);
  });
});
