import { createHash, generateKeyPairSync } from "node:crypto";
import { expect, it } from "vitest";
import { createTestCa, testSvid } from "../../../test/support/cert-factory.ts";
import { makeTrustBundle } from "../../certs/trust-bundle.ts";
import { CountersignError } from "../../core/errors.ts";
import type { IdentitySnapshot, IdentityState } from "../../core/identity.ts";
import { parseTrustDomain } from "../../core/spiffe-id.ts";
import { identityToWire, type WireIdentity } from "./identity-wire.ts";
import { createRelayedIdentity, type RelayedIdentity } from "./relayed-identity.ts";

const domain = parseTrustDomain("example.org");
const ca = createTestCa("example.org");
const issue = (): IdentitySnapshot["svids"][0] =>
  testSvid(ca.issue({ spiffeId: "spiffe://example.org/ns/shop/sa/web" }), "main");
const { publicKey } = generateKeyPairSync("ed25519");

function snapshot(generation: number, svid = issue()): IdentitySnapshot {
  return {
    generation,
    svids: [svid],
    bundles: new Map([[domain, makeTrustBundle(domain, [ca.certificate.raw])]]),
    jwtBundles: new Map([[domain, { trustDomain: domain, keys: [{ keyId: "k", key: publicKey }], version: "1" }]]),
  };
}
/** As a message between threads carries it. */
const posted = (state: IdentityState): WireIdentity => structuredClone(identityToWire(state));
const relay = (state: IdentityState): RelayedIdentity =>
  createRelayedIdentity(posted(state), () => Promise.reject(new CountersignError("E_JWT_SVID_NONE", "none")));
function snapshotOf({ state }: RelayedIdentity): IdentitySnapshot {
  if (!("snapshot" in state)) throw new TypeError("no snapshot");
  return state.snapshot;
}

it("brings certificates, keys and bundles over whole", () => {
  const before = snapshot(7);
  const after = snapshotOf(relay({ kind: "serving", snapshot: before }));
  const [ours] = before.svids;
  const [svid] = after.svids;
  expect({ ...svid, chain: [], key: [] }).toEqual({ ...ours, chain: [], key: [] });
  expect(svid.chain.map(({ raw }) => createHash("sha256").update(raw).digest("hex"))).toEqual([ours.fingerprint]);
  expect(svid.chain[0]?.checkPrivateKey(svid.key)).toBe(true);
  expect(after.bundles.get(domain)?.authorities[0]?.raw.equals(ca.certificate.raw)).toBe(true);
  expect(after.bundles.get(domain)?.version).toBe(before.bundles.get(domain)?.version);
  expect(after.jwtBundles?.get(domain)?.keys[0]?.key.equals(publicKey)).toBe(true);
  expect(after.generation).toBe(7);
});

it("no message holds the bytes of a private key", () => {
  const state: IdentityState = { kind: "serving", snapshot: snapshot(1) };
  const { snapshot: wire } = identityToWire(state) as Extract<WireIdentity, { kind: "serving" }>;
  const values = wire.svids.flatMap((svid) => Object.entries(svid));
  expect(values.filter(([, value]) => typeof value === "string" && value.includes("PRIVATE"))).toEqual([]);
  expect(wire.svids[0]?.key.type).toBe("private");
});

it("keeps what did not change as the same objects, on which TLS contexts hang", () => {
  const svid = issue();
  const identity = relay({ kind: "serving", snapshot: snapshot(1, svid) });
  const first = snapshotOf(identity);
  identity.adopt(posted({ kind: "serving", snapshot: snapshot(2, svid) }));
  const second = snapshotOf(identity);
  expect(second.generation).toBe(2);
  expect(second.svids[0]).toBe(first.svids[0]);
  expect(second.bundles.get(domain)).toBe(first.bundles.get(domain));
  identity.adopt(posted({ kind: "serving", snapshot: snapshot(3) }));
  expect(snapshotOf(identity).svids[0]).not.toBe(first.svids[0]);
});

it("tells of every change, and keeps the code of what is wrong", () => {
  const identity = relay({ kind: "waiting", sinceMs: 5, problem: undefined });
  const seen: string[] = [];
  const unsubscribe = identity.subscribe((state) => {
    const problem = "problem" in state ? state.problem : undefined;
    seen.push(`${state.kind} ${problem?.code} ${problem instanceof CountersignError}`);
  });
  const problem = new CountersignError("E_IDENTITY_EXPIRED", "it ran out");
  identity.adopt(posted({ kind: "stale", snapshot: snapshot(1), problem }));
  identity.adopt(posted({ kind: "expired", problem }));
  unsubscribe();
  identity.adopt(posted({ kind: "serving", snapshot: snapshot(2) }));
  expect(seen).toEqual(["stale E_IDENTITY_EXPIRED true", "expired E_IDENTITY_EXPIRED true"]);
  expect(identity.state.kind).toBe("serving");
});
