import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { parse } from "yaml";
import { createTestCa, type TestCa, type TestIssued } from "../support/cert-factory.ts";
import { ORDERS, startTestSidecar, type TestSidecar, TRUST_DOMAIN, WEB } from "../support/mesh.ts";
import { millisecondsOf, type PolicySet, type Step, type WireCase, type WireRow } from "./authorization/wire-case.ts";
import { type Caller, sendBytes, sendFields, type WireCall } from "./authorization/wire-client.ts";
import { createGate, type Gate } from "./authorization/wire-gate.ts";
import { type CaseApp, startCaseApp, startCaseProvider } from "./authorization/wire-servers.ts";
import { caseTokens } from "./authorization/wire-tokens.ts";

// Runs the cases of authorization/wire-*.yaml through a sidecar on real sockets; authorization/README.md says how they are written.

const folder = mkdtempSync(join(tmpdir(), "countersign-wire-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  // oxlint-disable-next-line no-await-in-loop -- in order
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Who takes part: the sidecar and its callers. */
interface People {
  readonly ca: TestCa;
  readonly partnerCa: TestCa;
  readonly web: TestIssued;
  readonly partner: TestIssued;
}

function issuePeople(nowMs: number): People {
  const ca = createTestCa(TRUST_DOMAIN, { nowMs });
  const partnerCa = createTestCa("partner.org", { nowMs });
  const web = ca.issue({ spiffeId: WEB });
  return { ca, partnerCa, web, partner: partnerCa.issue({ spiffeId: "spiffe://partner.org/ns/shop/sa/web" }) };
}
const people = issuePeople(Date.now());

const SOON = { interval: 2, timeout: 10_000 };

interface World {
  readonly sidecar: TestSidecar;
  /** Where calls begin. */
  readonly front: { readonly sidecar: TestSidecar; readonly port: number };
  readonly people: People;
  readonly app: CaseApp;
  /** What provider and keys answer goes through it. */
  readonly gate: Gate;
  readonly fill: (text: string) => string;
  readonly asked: () => number;
  readonly shown: () => string | null;
  readonly keysFetched: () => number;
  readonly payload: () => string;
  /** The documents of a set; what it does not say is as the case has it. */
  readonly policies: (set: PolicySet) => string;
}

function policiesOf(name: string, action: string, rules: readonly unknown[] | undefined): readonly object[] {
  return rules === undefined ? [] : [{ metadata: { name, namespace: "shop" }, spec: { action, rules } }];
}

function documentText(some: object): string {
  return JSON.stringify({ apiVersion: "security.istio.io/v1", kind: "AuthorizationPolicy", ...some });
}

/** From now on time passes only where a case says so. */
function stopClock(nowMs: number): void {
  const toFake = ["Date", "performance", "setInterval", "clearInterval", "setTimeout", "clearTimeout"] as const;
  vi.useFakeTimers({ toFake: [...toFake], now: nowMs });
  cleanups.push(() => vi.useRealTimers());
}

async function start(one: WireCase): Promise<World> {
  if (one.clock !== undefined) stopClock(Date.parse(one.clock));
  const own = one.clock === undefined ? people : issuePeople(Date.now());
  const gate = createGate();
  const provider = one.provider === undefined ? undefined : await startCaseProvider(one.provider, gate);
  if (provider !== undefined) cleanups.push(() => provider.close());
  const providers = provider === undefined ? "" : `extensionProviders: [${provider.yaml}]`;
  const tokens = one.tokens === undefined ? undefined : await caseTokens(one.tokens, folder, gate);
  if (tokens !== undefined) cleanups.push(() => tokens.close());
  const app = await startCaseApp(one.app ?? "http");
  cleanups.push(() => app.close());
  const policies = (set: PolicySet): string => {
    const { allow = [{}], deny, documents = [] } = { ...one, ...set };
    const all = [...policiesOf("deny", "DENY", deny), ...policiesOf("allow", "ALLOW", allow), ...documents];
    return [...all.map(documentText), ...(tokens === undefined ? [] : [tokens.document])].join("\n---\n");
  };
  const sidecar = await startTestSidecar({
    ca: own.ca,
    trusted: [own.partnerCa],
    svid: own.ca.issue({ spiffeId: ORDERS }),
    policies: policies({}),
    config: `inbound: [{ name: in, listen: "127.0.0.1:0", app: "127.0.0.1:${app.port}", ${one.inbound ?? "protocol: http"} }]
timeouts: { classify: 300ms }
${one.mode === "istio" ? "authorization: { mode: istio }" : ""}
${providers}
${tokens?.config ?? ""}
${one.config ?? ""}`,
  });
  cleanups.push(() => sidecar.sidecar.drain(0));
  const outbound = one.outbound === undefined ? undefined : await startOutbound(one.outbound, sidecar, own, providers);
  return {
    sidecar,
    front: outbound ?? { sidecar, port: sidecar.port("in") },
    people: own,
    app,
    gate,
    fill: (text) =>
      (tokens?.fill(text) ?? text).replaceAll("{app}", String(app.port)).replaceAll("{in}", String(sidecar.port("in"))),
    asked: () => provider?.asked() ?? 0,
    shown: () => provider?.shown() ?? null,
    keysFetched: () => tokens?.keysFetched() ?? 0,
    payload: () => tokens?.payload() ?? "",
    policies,
  };
}

async function startOutbound(
  { listener, documents }: NonNullable<WireCase["outbound"]>,
  inbound: TestSidecar,
  { ca, web }: People,
  providers: string,
): Promise<World["front"]> {
  const keys = listener.replaceAll("{in}", String(inbound.port("in")));
  const sidecar = await startTestSidecar({
    ca,
    svid: web,
    policies: documents.map(documentText).join("\n---\n"),
    config: `outbound: [{ name: out, listen: "127.0.0.1:0", ${keys} }]
${providers}`,
  });
  cleanups.push(() => sidecar.sidecar.drain(0));
  return { sidecar, port: sidecar.port("out") };
}

function callerOf(by: NonNullable<WireRow["by"]>, { web, partner }: People): Caller {
  switch (by) {
    case "web":
      return { tls: true, issued: web };
    case "partner":
      return { tls: true, issued: partner };
    case "nobody":
      return { tls: true };
    case "plaintext":
      return { tls: false };
  }
}

async function ask({ sidecar, front, fill, people: own }: World, row: WireRow): Promise<WireCall> {
  const { port } = front;
  const by = callerOf(row.by ?? (front.sidecar === sidecar ? "web" : "plaintext"), own);
  if (row.fields !== undefined) {
    const fields = row.fields.map(([name, value]) => [name, fill(value)] as const);
    const request = { fields, trailers: row.trailers, tunnelled: row.bytes };
    return sendFields(port, by.issued ?? own.web, row.alpn, request);
  }
  const head = row.send === undefined ? "" : `${row.send.join("\r\n")}\r\n\r\n`;
  const { alpn, sni, before } = row;
  return sendBytes(port, { ...by, alpn, sni, before }, fill(head) + (row.bytes ?? ""));
}

function load({ sidecar, policies }: World, { fails, ...set }: NonNullable<WireRow["load"]>): void {
  if (fails === undefined) sidecar.setPolicies(policies(set));
  else expect(() => sidecar.setPolicies(policies(set))).toThrow(fails);
}

/** What happens once the call waits for an answer; then there is one. */
async function whileItWaits(
  world: World,
  { passes, others, ...set }: NonNullable<WireRow["meanwhile"]>,
): Promise<void> {
  await vi.waitFor(() => expect([world.sidecar.sidecar.activeCalls, world.gate.held]).toEqual([1, 1]), SOON);
  // oxlint-disable-next-line no-await-in-loop -- in order
  for (const row of others ?? []) await check(world, row);
  if (Object.keys(set).length > 0 || others === undefined) load(world, set);
  if (passes !== undefined) vi.advanceTimersByTime(millisecondsOf(passes));
  world.gate.letGo();
}

async function check(world: World, row: WireRow): Promise<void> {
  if (row.load !== undefined) load(world, row.load);
  if (row.passes !== undefined) vi.advanceTimersByTime(millisecondsOf(row.passes));
  const { app } = world;
  const { sidecar } = world.front;
  const [seenBefore, bytesBefore, askedBefore] = [app.seen.length, app.bytes(), world.asked()];
  const recordsBefore = sidecar.audit.ended.length;
  if (row.meanwhile !== undefined) world.gate.hold();
  const asking = ask(world, row);
  if (row.meanwhile !== undefined) await whileItWaits(world, row.meanwhile);
  const call = await asking;
  cleanups.push(call.leave);
  const { what, headers } = call.answer;
  const code = headers["x-countersign-code"];
  const told = row.expect.includes(" ") ? `${what} ${code ?? ""}` : what;
  expect(told, `${row.says}: ${code ?? ""}`).toBe(row.expect);
  expect(headers, row.says).toMatchObject(row.answer ?? {});
  const request = app.seen[seenBefore];
  const isServed = ["200", "101", "bytes"].includes(row.expect);
  // Whatever is refused has not reached the app.
  if (!isServed) expect([app.seen.length, app.bytes()], row.says).toEqual([seenBefore, bytesBefore]);
  if (row.app !== undefined)
    expect(request === undefined ? null : `${request.method} ${request.url}`, row.says).toBe(row.app);
  for (const [name, value] of Object.entries(row.sees ?? {}))
    expect(request?.headers[name] ?? null, `${row.says}: ${name}`).toBe(
      value?.replace("{payload}", world.payload()) ?? null,
    );
  for (const [name, value] of Object.entries(row.seesTrailers ?? {}))
    expect(request?.trailers[name] ?? null, `${row.says}: trailer ${name}`).toBe(value);
  if (row.asked !== undefined) expect(world.asked() - askedBefore, row.says).toBe(row.asked);
  if (row.shown !== undefined) expect(world.shown(), row.says).toBe(row.shown);
  // Keys are also fetched without a call that waits for them.
  if (row.keysFetched !== undefined)
    await vi.waitFor(() => expect(world.keysFetched(), row.says).toBe(row.keysFetched), SOON);
  // oxlint-disable-next-line no-await-in-loop -- in order
  for (const step of row.then ?? []) await goOn(world, call, step, `${row.says}: ${JSON.stringify(step)}`);
  const recorded = () => sidecar.audit.next((some) => sidecar.audit.ended.indexOf(some) >= recordsBefore);
  if (row.record !== undefined) expect(await recorded(), row.says).toMatchObject(row.record);
  call.leave();
  // It is over before the next begins.
  await recorded();
}

/** What becomes of an open call: policy is asked again within the step, so that what is still open then stays. */
async function goOn(world: World, call: WireCall, step: Step, says: string): Promise<void> {
  const { audit, sidecar } = world.sidecar;
  const recordsBefore = audit.ended.length;
  if (step.load !== undefined) load(world, step.load);
  if (step.passes !== undefined) vi.advanceTimersByTime(millisecondsOf(step.passes));
  if (step.is !== "open") expect(await call.ended(), says).toBe(step.is);
  else expect([sidecar.activeCalls, audit.ended.length], says).toEqual([1, recordsBefore]);
}

const tables = join(import.meta.dirname, "authorization");
for (const file of readdirSync(tables).filter((name) => /^wire-.*\.yaml$/.test(name))) {
  const cases = parse(readFileSync(join(tables, file), "utf8")) as readonly WireCase[];
  describe(file, () => {
    it.each(cases)("$spec", async (one) => {
      const world = await start(one);
      // One after the other: what one call does must not change what is said of the next.
      // oxlint-disable-next-line no-await-in-loop
      for (const row of one.calls) await check(world, row);
    });
  });
}
