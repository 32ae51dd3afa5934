// What an agent can do wrong, as scripts: after each step the state that the sidecar must be in.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createTestCa, type TestCa, type TestIssued } from "../../../test/support/cert-factory.ts";
import { eventually } from "../../../test/support/eventually.ts";
import { type FakeClock, fakeClock } from "../../../test/support/fake-clock.ts";
import {
  type AgentCall,
  type ScriptedAgent,
  startScriptedAgent,
  svidMessage,
} from "../../../test/support/scripted-agent.ts";
import { type SocketRelay, startSocketRelay } from "../../../test/support/socket-relay.ts";
import type { ErrorCode } from "../../core/error-codes.ts";
import type { IdentitySnapshot, IdentitySource, IdentityState } from "../../core/identity.ts";
import type { IdentityLogEntry } from "../identity-log.ts";
import { createWorkloadApiSource, type WorkloadApiOptions } from "./client-source.ts";
import type { X509SvidMessage } from "./proto.ts";

const SECOND = 1000;
const HOUR = 3_600_000;
const GRACE = 30 * SECOND;
const DENIED = 7;
const UNAVAILABLE = 14;

let dir = "";
let clock: FakeClock;
let ca: TestCa;
let partner: TestCa;
let agent: ScriptedAgent;
let relay: SocketRelay;
let source: IdentitySource;
let log: IdentityLogEntry[] = [];

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), "countersign-faults-"));
  clock = fakeClock();
  ca = createTestCa("example.org", { nowMs: clock.nowMs() });
  partner = createTestCa("partner.org", { nowMs: clock.nowMs() });
  agent = await startScriptedAgent(join(dir, "agent.sock"));
  relay = await startSocketRelay(join(dir, "relay.sock"), join(dir, "agent.sock"));
  log = [];
});
afterEach(() => {
  source.close();
  relay.close();
  agent.stop();
  rmSync(dir, { recursive: true, force: true });
});

function begin(options: Partial<WorkloadApiOptions> = {}): void {
  const address = `unix://${join(dir, "relay.sock")}`;
  source = createWorkloadApiSource({ address, hint: "", revocationGraceMs: GRACE, ...options }, clock, (entry) =>
    log.push(entry),
  );
}
const issue = (options: Parameters<TestCa["issue"]>[0] = {}): TestIssued =>
  ca.issue({ notBefore: clock.nowMs() - 60 * SECOND, notAfter: clock.nowMs() + HOUR, ...options });
const message = (issued: TestIssued, rest: Partial<X509SvidMessage> = {}): X509SvidMessage =>
  svidMessage(issued, ca, rest);
const serialIn = ({ certificate }: TestIssued): string => certificate.serialNumber.toLowerCase().replace(/^0+/, "");

const snapshotOf = (state: IdentityState): IdentitySnapshot => {
  if (state.kind !== "serving" && state.kind !== "stale") throw new TypeError(`no snapshot: ${state.kind}`);
  return state.snapshot;
};
/** Waits until the state is this one: its kind, its problem's code, the default SVID. */
async function expectState(kind: IdentityState["kind"], code?: ErrorCode, issued?: TestIssued): Promise<void> {
  await eventually(() => {
    const { state } = source;
    expect(state.kind).toBe(kind);
    expect("problem" in state ? state.problem?.code : undefined).toBe(code);
    if (issued !== undefined) expect(snapshotOf(state).svids[0].serial).toBe(serialIn(issued));
  });
}
/** Lets time pass, and waits for the call that it brings. */
async function nextCallAfter(ms: number): Promise<AgentCall> {
  clock.advance(ms - 1);
  expect(agent.waitingCalls).toBe(0);
  clock.advance(1);
  return agent.nextCall();
}
async function answerNextCall(issued: TestIssued): Promise<void> {
  const call = await agent.nextCall();
  call.send({ svids: [message(issued)] });
}
async function beginServing(
  options: Partial<WorkloadApiOptions> = {},
): Promise<{ call: AgentCall; issued: TestIssued }> {
  begin(options);
  const call = await agent.nextCall();
  const issued = issue();
  call.send({ svids: [message(issued)] });
  await expectState("serving", undefined, issued);
  return { call, issued };
}

const scripts: Readonly<Record<string, () => Promise<void>>> = {
  "a reset before the first message": async () => {
    begin();
    await agent.nextCall();
    relay.cut();
    await expectState("waiting", "E_WORKLOAD_API_UNAVAILABLE");
    const call = await nextCallAfter(SECOND);
    const issued = issue();
    call.send({ svids: [message(issued)] });
    await expectState("serving", undefined, issued);
  },
  "a reset after an SVID": async () => {
    const { issued } = await beginServing();
    const { generation } = snapshotOf(source.state);
    relay.cut();
    await expectState("stale", "E_WORKLOAD_API_UNAVAILABLE", issued);
    const call = await nextCallAfter(SECOND);
    await expectState("stale", "E_WORKLOAD_API_UNAVAILABLE", issued);
    call.send({ svids: [message(issued)] });
    await expectState("serving", undefined, issued);
    expect(snapshotOf(source.state).generation).toBe(generation);
  },
  "connections that end at once": async () => {
    relay.mode = "close";
    begin();
    await expectState("waiting", "E_WORKLOAD_API_UNAVAILABLE");
    relay.mode = "relay";
    (await nextCallAfter(SECOND)).send({ svids: [message(issue())] });
    await expectState("serving");
  },
  "something that is no gRPC": async () => {
    relay.mode = { text: "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" };
    begin();
    await expectState("waiting", "E_WORKLOAD_API_UNAVAILABLE");
    relay.mode = "relay";
    (await nextCallAfter(SECOND)).send({ svids: [message(issue())] });
    await expectState("serving");
  },
  "an agent that takes the connection and says nothing": async () => {
    relay.mode = "silence";
    begin();
    clock.advance(60 * SECOND);
    await expectState("waiting", "E_IDENTITY_TIMEOUT");
    relay.mode = "relay";
    (await nextCallAfter(SECOND)).send({ svids: [message(issue())] });
    await expectState("serving");
  },
  "an agent that takes the call and says nothing": async () => {
    begin();
    await agent.nextCall();
    clock.advance(60 * SECOND);
    await expectState("waiting", "E_IDENTITY_TIMEOUT");
    expect("problem" in source.state && source.state.problem?.message).toContain("has not answered");
    (await nextCallAfter(SECOND)).send({ svids: [message(issue())] });
    await expectState("serving");
  },
  "silence after a reconnection": async () => {
    const { issued } = await beginServing();
    relay.cut();
    await expectState("stale", "E_WORKLOAD_API_UNAVAILABLE", issued);
    await nextCallAfter(SECOND);
    clock.advance(60 * SECOND);
    await expectState("stale", "E_WORKLOAD_API_UNAVAILABLE", issued);
    (await nextCallAfter(2 * SECOND)).send({ svids: [message(issued)] });
    await expectState("serving", undefined, issued);
  },
  "silence after an SVID, which is an agent with nothing to say": async () => {
    const { issued } = await beginServing();
    clock.advance(40 * 60 * SECOND);
    await expectState("serving", undefined, issued);
    expect(agent.waitingCalls).toBe(0);
  },
  "no successor when an SVID comes to its end": async () => {
    const { issued } = await beginServing(); // valid from -60 s to 3600 s: 80 % are over at 2868 s
    const again = await nextCallAfter(2868 * SECOND);
    expect(log.at(-1)).toMatchObject({ event: "identity.warning", fields: { code: "W_IDENTITY_OVERDUE" } });
    again.send({ svids: [message(issued)] });
    await expectState("serving", undefined, issued);
    const third = await nextCallAfter(366 * SECOND);
    const next = issue();
    third.send({ svids: [message(next)] });
    await expectState("serving", undefined, next);
  },
  "bytes that are no message": async () => {
    const { call, issued } = await beginServing();
    call.sendRaw(Buffer.from("ff".repeat(20), "hex"));
    await expectState("stale", "E_WORKLOAD_API_UNAVAILABLE", issued);
    (await nextCallAfter(SECOND)).send({ svids: [message(issued)] });
    await expectState("serving", undefined, issued);
  },
  "a message of more than 4 MiB": async () => {
    const { call, issued } = await beginServing();
    call.sendRaw(Buffer.alloc(4 * 1024 * 1024 + 1));
    await expectState("stale", "E_WORKLOAD_API_UNAVAILABLE", issued);
    (await nextCallAfter(SECOND)).send({ svids: [message(issued)] });
    await expectState("serving", undefined, issued);
  },
  "an empty set": async () => {
    const { call, issued } = await beginServing();
    call.send({ svids: [] });
    await expectState("stale", "E_WORKLOAD_API_MESSAGE", issued);
    call.send({ svids: [message(issued)] });
    await expectState("serving", undefined, issued);
    expect(agent.waitingCalls).toBe(0);
  },
  "an empty set at first": async () => {
    begin();
    const call = await agent.nextCall();
    call.send({ svids: [] });
    await expectState("waiting", "E_WORKLOAD_API_MESSAGE");
    call.send({ svids: [message(issue())] });
    await expectState("serving");
  },
  "an SVID beside the default one that is no longer sent": async () => {
    const { call, issued } = await beginServing();
    call.send({ svids: [message(issued), message(issue(), { hint: "other" })] });
    await eventually(() => expect(snapshotOf(source.state).svids).toHaveLength(2));
    call.send({ svids: [message(issued)] });
    await eventually(() => expect(snapshotOf(source.state).svids).toHaveLength(1));
    await expectState("serving", undefined, issued);
  },
  "the default SVID that is no longer sent": async () => {
    begin();
    const call = await agent.nextCall();
    const [first, second] = [issue(), issue({ spiffeId: "spiffe://example.org/second" })];
    call.send({ svids: [message(first), message(second)] });
    await expectState("serving", undefined, first);
    call.send({ svids: [message(second)] });
    await expectState("serving", undefined, second);
  },
  "the configured hint that nobody has any more": async () => {
    begin({ hint: "internal" });
    const call = await agent.nextCall();
    const issued = issue();
    call.send({ svids: [message(issue()), message(issued, { hint: "internal" })] });
    await expectState("serving", undefined, issued);
    call.send({ svids: [message(issue())] });
    await expectState("revoked", "E_IDENTITY_HINT");
    call.send({ svids: [message(issued, { hint: "internal" })] });
    await expectState("serving", undefined, issued);
  },
  "PermissionDenied at first": async () => {
    begin();
    (await agent.nextCall()).end(DENIED, "no identity issued");
    await expectState("waiting", "E_WORKLOAD_API_DENIED");
    const again = await nextCallAfter(SECOND);
    again.end(DENIED, "still none");
    await eventually(() => expect("problem" in source.state && source.state.problem?.message).toContain("still none"));
    (await nextCallAfter(2 * SECOND)).send({ svids: [message(issue())] });
    await expectState("serving");
  },
  "PermissionDenied after an SVID, and the entry comes back": async () => {
    const { call, issued } = await beginServing();
    call.end(DENIED, "no identity issued");
    await expectState("stale", "E_WORKLOAD_API_DENIED", issued);
    clock.advance(GRACE - 1);
    await expectState("stale", "E_WORKLOAD_API_DENIED", issued);
    clock.advance(1);
    await expectState("revoked", "E_IDENTITY_REVOKED");
    const next = issue();
    (await agent.nextCall()).send({ svids: [message(next)] });
    await expectState("serving", undefined, next);
  },
  "PermissionDenied after an SVID, without a grace": async () => {
    const { call } = await beginServing({ revocationGraceMs: 0 });
    call.end(DENIED, "no identity issued");
    await expectState("revoked", "E_IDENTITY_REVOKED");
  },
  "PermissionDenied for a moment": async () => {
    const { call, issued } = await beginServing();
    call.end(DENIED, "still attesting");
    await expectState("stale", "E_WORKLOAD_API_DENIED", issued);
    (await nextCallAfter(SECOND)).send({ svids: [message(issued)] });
    await expectState("serving", undefined, issued);
    clock.advance(2 * GRACE);
    await expectState("serving", undefined, issued);
  },
  "InvalidArgument after an SVID": async () => {
    const { call, issued } = await beginServing();
    call.end(3, "security header missing from request");
    await expectState("stale", "E_WORKLOAD_API_REFUSED", issued);
    clock.advance(HOUR - 1);
    expect(agent.waitingCalls).toBe(0);
    await expectState("stale", "E_WORKLOAD_API_REFUSED", issued);
    clock.advance(1);
    await expectState("expired", "E_IDENTITY_EXPIRED");
  },
  "Unimplemented: another program's socket": async () => {
    begin();
    (await agent.nextCall()).end(12, "unknown service");
    await expectState("waiting", "E_WORKLOAD_API_REFUSED");
    clock.advance(59 * SECOND);
    expect(agent.waitingCalls).toBe(0);
  },
  "a stream that ends without error": async () => {
    const { call, issued } = await beginServing();
    call.end(0);
    await expectState("stale", "E_WORKLOAD_API_UNAVAILABLE", issued);
    (await nextCallAfter(SECOND)).send({ svids: [message(issued)] });
    await expectState("serving", undefined, issued);
  },
  "a new bundle only": async () => {
    const { call, issued } = await beginServing();
    const { generation, svids } = snapshotOf(source.state);
    const next = createTestCa("example.org", { nowMs: clock.nowMs(), commonName: "next root" });
    call.send({ svids: [message(issued, { bundle: Buffer.concat([ca.der, next.der]) })] });
    await eventually(() => expect(snapshotOf(source.state).generation).toBe(generation + 1));
    expect(snapshotOf(source.state).svids[0]).toBe(svids[0]);
    expect(log.map(({ event }) => event)).not.toContain("identity.rotated");
  },
  "a new CRL only, and none again": async () => {
    const { call, issued } = await beginServing();
    const crls = (): number | undefined => [...snapshotOf(source.state).bundles.values()][0]?.crls.length;
    call.send({ svids: [message(issued)], crl: [ca.crl({ serials: [5n] })] });
    await eventually(() => expect(crls()).toBe(1));
    call.send({ svids: [message(issued)] });
    await eventually(() => expect(crls()).toBe(0));
    await expectState("serving", undefined, issued);
  },
  "a federated bundle that comes and goes": async () => {
    const { call, issued } = await beginServing();
    const domains = (): string[] => [...snapshotOf(source.state).bundles.keys()];
    call.send({ svids: [message(issued)], federatedBundles: { "spiffe://partner.org": partner.der } });
    await eventually(() => expect(domains()).toEqual(["example.org", "partner.org"]));
    call.send({ svids: [message(issued)], federatedBundles: { "spiffe://partner.org": Buffer.alloc(0) } });
    await eventually(() => expect([...snapshotOf(source.state).bundles.values()][1]?.authorities).toEqual([]));
    call.send({ svids: [message(issued)] });
    await eventually(() => expect(domains()).toEqual(["example.org"]));
  },
  "a federated bundle that is broken beside a good SVID": async () => {
    const { call, issued } = await beginServing();
    call.send({ svids: [message(issue())], federatedBundles: { "spiffe://partner.org": partner.der.subarray(0, 50) } });
    await expectState("stale", "E_WORKLOAD_API_MESSAGE", issued);
  },
  "an SVID that has expired already": async () => {
    const { call, issued } = await beginServing();
    call.send({ svids: [message(issue({ notBefore: clock.nowMs() - HOUR, notAfter: clock.nowMs() - 1 }))] });
    await expectState("stale", "E_CERT_EXPIRED", issued);
  },
  "an SVID from the future, of an agent whose clock is ahead": async () => {
    begin();
    const call = await agent.nextCall();
    const issued = issue({ notBefore: clock.nowMs() + 60 * SECOND });
    call.send({ svids: [message(issued)] });
    await expectState("waiting", "E_CERT_NOT_YET_VALID");
  },
  "an SVID whose trust domain's bundle is missing": async () => {
    const { call, issued } = await beginServing();
    call.send({ svids: [message(issue({ spiffeId: "spiffe://other.org/web" }), { bundle: Buffer.alloc(0) })] });
    await expectState("stale", "E_WORKLOAD_API_MESSAGE", issued);
  },
  "a hundred updates at once": async () => {
    const { call } = await beginServing();
    const all = Array.from({ length: 100 }, () => issue());
    for (const one of all) call.send({ svids: [message(one)] });
    await expectState("serving", undefined, all.at(-1));
  },
  "an agent that restarts on the same path": async () => {
    const { issued } = await beginServing();
    agent.stop();
    await expectState("stale", "E_WORKLOAD_API_UNAVAILABLE", issued);
    agent = await startScriptedAgent(join(dir, "agent.sock"));
    const next = issue();
    void answerNextCall(next);
    await eventually(() => {
      clock.advance(SECOND);
      expect(snapshotOf(source.state).svids[0].serial).toBe(serialIn(next));
    });
    await expectState("serving", undefined, next);
  },
  "an agent that is gone until the SVID has expired, and comes back": async () => {
    const { issued } = await beginServing();
    relay.mode = "close";
    relay.cut();
    await expectState("stale", "E_WORKLOAD_API_UNAVAILABLE", issued);
    clock.advance(HOUR - 1);
    await expectState("stale", "E_WORKLOAD_API_UNAVAILABLE", issued);
    clock.advance(1);
    await expectState("expired", "E_IDENTITY_EXPIRED");
    relay.mode = "relay";
    const next = issue();
    void answerNextCall(next);
    await eventually(() => {
      clock.advance(SECOND);
      expect(source.state.kind).toBe("serving");
    });
    await expectState("serving", undefined, next);
  },
  "an agent that comes back after long: it is not waited for": async () => {
    const { issued } = await beginServing();
    relay.close();
    await expectState("stale", "E_WORKLOAD_API_UNAVAILABLE", issued);
    for (const seconds of [1, 2, 3, 4, 5, 6, 7, 8]) {
      const before = clock.pending;
      clock.advance(seconds * SECOND);
      // oxlint-disable-next-line no-await-in-loop -- one try after the other
      await eventually(() => expect(clock.pending).toBe(before));
    }
    relay = await startSocketRelay(join(dir, "relay.sock"), join(dir, "agent.sock"));
    clock.advance(500); // of the nine seconds until the next try
    (await agent.nextCall()).send({ svids: [message(issued)] });
    await expectState("serving", undefined, issued);
  },
  "Unavailable over and over": async () => {
    begin();
    let call = await agent.nextCall();
    for (const seconds of [1, 2, 3, 4, 5]) {
      call.end(UNAVAILABLE, `try ${seconds}`);
      // oxlint-disable-next-line no-await-in-loop -- one try after the other
      await eventually(() =>
        expect("problem" in source.state && source.state.problem?.message).toContain(`try ${seconds}`),
      );
      // oxlint-disable-next-line no-await-in-loop -- one try after the other
      call = await nextCallAfter(seconds * SECOND);
    }
    call.send({ svids: [message(issue())] });
    await expectState("serving");
  },
};

test.each(Object.entries(scripts))("%s", async (_name, script) => {
  await script();
});
