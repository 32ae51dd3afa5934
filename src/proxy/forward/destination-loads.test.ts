import { describe, expect, it } from "vitest";
import { CountersignError } from "../../core/errors.ts";
import type { CheckedAddresses } from "../upstream/checked-lookup.ts";
import { newCounts } from "../upstream/endpoint-load.ts";
import type { Destination } from "./destination.ts";
import { DestinationLoads, nextAddress } from "./destination-loads.ts";

const API: Destination = { host: "api.test", isAddress: false, port: 443, mesh: undefined };
const BOTH: CheckedAddresses = ["10.0.0.1", "10.0.0.2"];

function made(): { readonly loads: DestinationLoads; readonly ejected: string[] } {
  const ejected: string[] = [];
  const onEjected = (address: string): void => void ejected.push(address);
  // of two choices the first is the resolver's first
  return { loads: new DestinationLoads(newCounts(), onEjected, () => 0), ejected };
}

function fail(loads: DestinationLoads, destination: Destination, host: string, times: number): void {
  for (let time = 0; time < times; time++) loads.of(destination, host).failed();
}

describe("the addresses of a destination", () => {
  it("stay in the resolver's order until one fails five times in a row, which then comes last", () => {
    const { loads, ejected } = made();
    expect(loads.inOrder(API, BOTH)).toEqual(BOTH);
    fail(loads, API, "10.0.0.1", 4);
    expect(loads.inOrder(API, BOTH)).toEqual(BOTH);
    fail(loads, API, "10.0.0.1", 1);
    expect(loads.inOrder(API, BOTH)).toEqual(["10.0.0.2", "10.0.0.1"]);
    expect(ejected).toEqual(["10.0.0.1:443"]);
  });

  it("are chosen by open calls and latency", () => {
    const { loads } = made();
    loads.inOrder(API, BOTH);
    loads.of(API, "10.0.0.1").begin();
    expect(loads.inOrder(API, BOTH)).toEqual(["10.0.0.2", "10.0.0.1"]);
    loads.of(API, "10.0.0.1").ended();
    expect(loads.inOrder(API, BOTH)).toEqual(BOTH);
  });

  it("are counted all together, and the notable ones are told: in trouble, busy, new", () => {
    const { loads } = made();
    for (let at = 0; at < 2000; at++) loads.inOrder({ ...API, host: `x${at}.test` }, BOTH);
    fail(loads, { ...API, host: "x1990.test" }, "10.0.0.1", 5);
    loads.of({ ...API, host: "x1995.test" }, "10.0.0.2").begin();
    expect(loads.totals).toEqual({ known: 2048, ejected: 1, failures: 5, ejections: 1 });
    expect(loads.notable(3).map(({ destination, host }) => [destination.host, host])).toEqual([
      ["x1990.test", "10.0.0.1"],
      ["x1995.test", "10.0.0.2"],
      ["x1999.test", "10.0.0.2"],
    ]);
    for (let at = 0; at < 1024; at++) loads.inOrder({ ...API, host: `y${at}.test` }, BOTH);
    expect(loads.totals).toEqual({ known: 2048, ejected: 0, failures: 5, ejections: 1 });
  });

  it("are judged among those that the name stands for now", () => {
    const { loads, ejected } = made();
    loads.inOrder(API, [...BOTH, "10.0.0.3"]);
    loads.inOrder(API, ["10.0.0.1"]);
    fail(loads, API, "10.0.0.1", 9);
    expect(ejected).toEqual([]);
  });

  it("of another port or name have a word of their own", () => {
    const { loads } = made();
    loads.inOrder(API, BOTH);
    fail(loads, API, "10.0.0.1", 5);
    for (const other of [
      { ...API, port: 80 },
      { ...API, host: "b.test" },
    ]) {
      expect(loads.inOrder(other, BOTH)).toEqual(BOTH);
    }
  });

  it("are forgotten with the destination that was met first, beyond a thousand", () => {
    const { loads } = made();
    loads.inOrder(API, BOTH);
    fail(loads, API, "10.0.0.1", 5);
    for (let at = 0; at < 1024; at++) loads.inOrder({ ...API, host: `x${at}.test` }, BOTH);
    expect(loads.inOrder(API, BOTH)).toEqual(BOTH);
  });
});

it("the next address is the first that was not tried and that policy lets through, and the first refusal is kept", () => {
  const { loads } = made();
  const members = ["a", "b", "c"].map((host) => ({ host, load: loads.of(API, host) }));
  const refused: { error: CountersignError | undefined } = { error: undefined };
  const judge = (host: string): CountersignError | undefined =>
    host === "c" ? undefined : new CountersignError("E_POLICY_DENIED_BY_DEFAULT", host);
  const next = nextAddress(members, [], judge, refused);
  expect([next?.host, refused.error?.message]).toEqual(["c", "a"]);
  expect(nextAddress(members, next === undefined ? [] : [next], judge, refused)).toBeUndefined();
});
