import { generateKeyPairSync } from "node:crypto";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createTestCa, type TestCa } from "../../../test/support/cert-factory.ts";
import { eventually } from "../../../test/support/eventually.ts";
import { type FakeClock, fakeClock } from "../../../test/support/fake-clock.ts";
import { jwtSvid, TOKEN_ID } from "../../../test/support/jwt-svids.ts";
import {
  type AgentCall,
  type ScriptedAgent,
  startScriptedAgent,
  svidMessage,
} from "../../../test/support/scripted-agent.ts";
import type { IdentitySource } from "../../core/identity.ts";
import type { IdentityLogEntry } from "../identity-log.ts";
import { createWorkloadApiSource } from "./client-source.ts";
import type { JwtSvidRequest } from "./proto.ts";

let clock: FakeClock;
let ca: TestCa;
let agent: ScriptedAgent;
let source: IdentitySource;
let log: IdentityLogEntry[] = [];

beforeEach(async () => {
  clock = fakeClock();
  ca = createTestCa("example.org", { nowMs: clock.nowMs() });
  agent = await startScriptedAgent();
  log = [];
});
afterEach(() => {
  source.close();
  agent.stop();
});

async function begin(): Promise<AgentCall> {
  source = createWorkloadApiSource(
    { address: agent.address, hint: "", revocationGraceMs: 0, jwtBundles: true },
    clock,
    (entry) => log.push(entry),
  );
  const call = await agent.nextCall();
  call.send({
    svids: [
      svidMessage(ca.issue({ spiffeId: TOKEN_ID }), ca),
      svidMessage(ca.issue({ spiffeId: "spiffe://example.org/b" }), ca, { hint: "b" }),
    ],
  });
  await eventually(() => expect(source.state.kind).toBe("serving"));
  return call;
}
const keyIds = (): unknown =>
  source.state.kind === "serving"
    ? Array.from(source.state.snapshot.jwtBundles ?? [], ([domain, { keys }]) => [
        domain,
        keys.map(({ keyId }) => keyId),
      ])
    : source.state.kind;
const jwks = (kid: string): Buffer => {
  const { publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return Buffer.from(JSON.stringify({ keys: [{ ...publicKey.export({ format: "jwk" }), kid }] }));
};

test("JWT bundles are the whole state of a stream of their own, and change nothing else", async () => {
  await begin();
  agent.serveJwtBundles({ "spiffe://example.org": jwks("a"), "spiffe://partner.org": jwks("p") });
  await eventually(() =>
    expect(keyIds()).toEqual([
      ["example.org", ["a"]],
      ["partner.org", ["p"]],
    ]),
  );
  agent.serveJwtBundles({ "spiffe://example.org": jwks("b") });
  await eventually(() => expect(keyIds()).toEqual([["example.org", ["b"]]]));
  expect(log.map(({ event }) => event)).toEqual(["identity.loaded"]);
});

test("JWT bundles that came before the SVID are there with it, and after a rotation still", async () => {
  agent.serveJwtBundles({ "spiffe://example.org": jwks("a") });
  const call = await begin();
  await eventually(() => expect(keyIds()).toEqual([["example.org", ["a"]]]));
  call.send({ svids: [svidMessage(ca.issue({ spiffeId: TOKEN_ID }), ca)] });
  await eventually(() => expect(log.map(({ event }) => event)).toContain("identity.rotated"));
  expect(keyIds()).toEqual([["example.org", ["a"]]]);
});

test("a broken JWT bundle is reported and dropped; our SVID is as good as before", async () => {
  await begin();
  agent.serveJwtBundles({ "spiffe://example.org": jwks("a") });
  await eventually(() => expect(keyIds()).toEqual([["example.org", ["a"]]]));
  agent.serveJwtBundles({ "spiffe://example.org": Buffer.from("{") });
  await eventually(() =>
    expect(log.at(-1)).toMatchObject({ event: "identity.problem", fields: { code: "E_BUNDLE_FORMAT" } }),
  );
  expect(keyIds()).toEqual([["example.org", ["a"]]]);
});

test("a JWT-SVID is fetched for the SVID that the hint names", async () => {
  await begin();
  const requests: JwtSvidRequest[] = [];
  agent.jwtSvid = (request) => {
    requests.push(request);
    const { spiffeId, audience } = request;
    const token = jwtSvid(clock.nowMs(), { claims: { sub: spiffeId, aud: audience } });
    return { svids: [{ spiffeId, svid: token, hint: "" }] };
  };
  expect(await source.fetchJwtSvid?.("payments", "")).toMatchObject({
    spiffeId: TOKEN_ID,
    expiresMs: clock.nowMs() + 300_000,
  });
  expect(await source.fetchJwtSvid?.("payments", "b")).toMatchObject({ spiffeId: "spiffe://example.org/b" });
  expect(requests).toEqual([
    { audience: ["payments"], spiffeId: TOKEN_ID },
    { audience: ["payments"], spiffeId: "spiffe://example.org/b" },
  ]);
  await expect(source.fetchJwtSvid?.("payments", "nobody")).rejects.toMatchObject({ code: "E_JWT_SVID_NONE" });
});

test.each<[string, string, () => ReturnType<ScriptedAgent["jwtSvid"]>]>([
  ["PermissionDenied", "E_WORKLOAD_API_DENIED", () => ({ code: 7, details: "no identity issued" })],
  ["Unimplemented", "E_WORKLOAD_API_REFUSED", () => ({ code: 12, details: "" })],
  ["Unavailable", "E_WORKLOAD_API_UNAVAILABLE", () => ({ code: 14, details: "" })],
  ["no SVID", "E_WORKLOAD_API_MESSAGE", () => ({ svids: [] })],
  ["no token", "E_WORKLOAD_API_MESSAGE", () => answer("")],
  ["another audience", "E_WORKLOAD_API_MESSAGE", () => answer(jwtSvid(clock.nowMs(), { claims: { aud: ["other"] } }))],
  [
    "another identity",
    "E_WORKLOAD_API_MESSAGE",
    () => answer(jwtSvid(clock.nowMs(), { claims: { aud: ["payments"], sub: "spiffe://example.org/admin" } })),
  ],
  [
    "a token that has expired",
    "E_WORKLOAD_API_MESSAGE",
    () => answer(jwtSvid(clock.nowMs(), { claims: { aud: ["payments"], exp: clock.nowMs() / 1000 } })),
  ],
])("an agent that answers %s: %s, and no word of a token", async (_what, code, jwtAnswer) => {
  await begin();
  agent.jwtSvid = jwtAnswer;
  const error: unknown = await source.fetchJwtSvid?.("payments", "").catch((reason: unknown) => reason);
  expect(error).toMatchObject({ code });
  expect(String(error)).not.toMatch(/ey[A-Za-z0-9]{8}/);
});

const answer = (svid: string): ReturnType<ScriptedAgent["jwtSvid"]> => ({
  svids: [{ spiffeId: TOKEN_ID, svid, hint: "" }],
});

test("before the first SVID there is nobody to fetch one for", async () => {
  source = createWorkloadApiSource({ address: agent.address, hint: "", revocationGraceMs: 0 }, clock, (entry) =>
    log.push(entry),
  );
  await expect(source.fetchJwtSvid?.("payments", "")).rejects.toMatchObject({ code: "E_JWT_SVID_NONE" });
});
