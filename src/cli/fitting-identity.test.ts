import { expect, it } from "vitest";
import { createTestCa, testSvid } from "../../test/support/cert-factory.ts";
import { controlledIdentity } from "../../test/support/controlled-identity.ts";
import { createSwappableSource } from "../certs/swappable-source.ts";
import { CountersignError } from "../core/errors.ts";
import type { IdentityState } from "../core/identity.ts";
import { parseTrustDomain, type TrustDomain } from "../core/spiffe-id.ts";
import { createFittingIdentity } from "./fitting-identity.ts";

const ours = parseTrustDomain("example.org");
const others = parseTrustDomain("other.example");

function serving(trustDomain: TrustDomain, generation: number): IdentityState {
  const svid = testSvid(createTestCa(trustDomain).issue({ spiffeId: `spiffe://${trustDomain}/ns/shop/sa/orders` }));
  return { kind: "serving", snapshot: { generation, svids: [svid], bundles: new Map() } };
}

it("has no SVID before the policies are made for its trust domain, and never one that they are not made for", () => {
  const source = controlledIdentity();
  const first = serving(ours, 1);
  source.set(first);
  let madeFor: TrustDomain | undefined;
  const fitting = createFittingIdentity(createSwappableSource(source), () => madeFor, 7);
  const heard: string[] = [];
  fitting.subscribe((state) => heard.push(state.kind));

  fitting.look();
  expect(fitting.state).toEqual({ kind: "waiting", sinceMs: 7, problem: undefined });
  madeFor = ours;
  fitting.look();
  fitting.look();
  expect([fitting.state, heard]).toEqual([first, ["serving"]]);

  source.set(serving(others, 2));
  fitting.look();
  expect([fitting.state, heard.length]).toEqual([first, 1]);
  madeFor = others;
  fitting.look();
  expect([fitting.state, heard.length]).toEqual([source.state, 2]);

  // what ends an identity fits any policies
  source.set({ kind: "revoked", problem: new CountersignError("E_IDENTITY_NONE", "no identity any more") });
  fitting.look();
  expect(heard).toEqual(["serving", "serving", "revoked"]);
});
