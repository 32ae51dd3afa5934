import { expect, test } from "vitest";
import { createTestCa } from "../../test/support/cert-factory.ts";
import { type ControlledIdentity, controlledIdentity } from "../../test/support/controlled-identity.ts";
import { CountersignError } from "../core/errors.ts";
import type { IdentityState } from "../core/identity.ts";
import { createSwappableSource, type SwappableSource } from "./swappable-source.ts";

const ca = createTestCa("example.org");

function begin(): { first: ControlledIdentity; source: SwappableSource; states: IdentityState[]; closed: string[] } {
  const closed: string[] = [];
  const first = tracked("first", closed);
  first.serve(ca.issue(), [ca]);
  const source = createSwappableSource(first);
  const states: IdentityState[] = [];
  source.subscribe((state) => states.push(state));
  return { first, source, states, closed };
}
function tracked(name: string, closed: string[]): ControlledIdentity {
  const identity = controlledIdentity();
  const { close } = identity;
  return Object.assign(identity, {
    description: name,
    close() {
      closed.push(name);
      close();
    },
  });
}
const serialOf = ({ state }: SwappableSource): string | undefined =>
  "snapshot" in state ? state.snapshot.svids[0].serial : undefined;
const generationOf = ({ state }: SwappableSource): number | undefined =>
  "snapshot" in state ? state.snapshot.generation : undefined;

test("the old source serves until the new one has an SVID, and its own changes still count", () => {
  const { first, source, states, closed } = begin();
  const second = tracked("second", closed);
  source.replace(second);
  expect([source.description, source.pending?.description, source.state.kind]).toEqual(["first", "second", "serving"]);
  const rotated = ca.issue();
  first.serve(rotated, [ca]);
  expect(serialOf(source)).toBe(rotated.certificate.serialNumber.toLowerCase().replace(/^0+/, ""));
  const problem = new CountersignError("E_WORKLOAD_API_DENIED", "no entry");
  second.set({ kind: "waiting", sinceMs: 0, problem });
  expect(source.pending?.problem).toBe(problem);
  expect(closed).toEqual([]);
  const next = ca.issue({ spiffeId: "spiffe://example.org/next" });
  second.serve(next, [ca]);
  expect([source.description, source.pending, closed]).toEqual(["second", undefined, ["first"]]);
  expect(states.at(-1)).toMatchObject({
    kind: "serving",
    snapshot: { svids: [{ spiffeId: "spiffe://example.org/next" }] },
  });
  first.serve(ca.issue(), [ca]);
  expect(states.at(-1)).toMatchObject({ snapshot: { svids: [{ spiffeId: "spiffe://example.org/next" }] } });
});

test("a source that has an SVID already takes over at once, and generations go on rising", () => {
  const { first, source, closed } = begin();
  first.serve(ca.issue(), [ca]);
  first.serve(ca.issue(), [ca]);
  expect(generationOf(source)).toBe(3);
  const second = tracked("second", closed);
  second.serve(ca.issue(), [ca]);
  source.replace(second);
  expect([source.description, generationOf(source), closed]).toEqual(["second", 4, ["first"]]);
  second.serve(ca.issue(), [ca]);
  expect(generationOf(source)).toBe(5);
});

test("a second replacement closes the one that still waits", () => {
  const { source, closed } = begin();
  source.replace(tracked("second", closed));
  const third = tracked("third", closed);
  source.replace(third);
  expect([source.pending?.description, closed]).toEqual(["third", ["second"]]);
  third.serve(ca.issue(), [ca]);
  expect([source.description, closed]).toEqual(["third", ["second", "first"]]);
});

test("an identity that is lost stays lost until the new source has one", () => {
  const { first, source, closed } = begin();
  const second = tracked("second", closed);
  source.replace(second);
  first.set({ kind: "expired", problem: new CountersignError("E_IDENTITY_EXPIRED", "expired") });
  expect(source.state.kind).toBe("expired");
  second.serve(ca.issue(), [ca]);
  expect(source.state.kind).toBe("serving");
});

test("closing closes both", () => {
  const { source, closed } = begin();
  source.replace(tracked("second", closed));
  source.close();
  expect(closed).toEqual(["second", "first"]);
});
