import { describe, expect, it } from "vitest";
import { chooseEndpoint } from "./choose-endpoint.ts";
import { EJECT_AFTER, Ejection } from "./ejection.ts";
import { EndpointLoad, newCounts } from "./endpoint-load.ts";
import { RetryBudget } from "./retry-budget.ts";

interface World {
  nowMs: number;
  readonly all: { readonly load: EndpointLoad }[];
  readonly ejected: string[];
}

function world(size: number): World {
  const made: World = { nowMs: 1_000_000, all: [], ejected: [] };
  const ejection = new Ejection({
    loads: () => made.all.map(({ load }) => load),
    nowMs: () => made.nowMs,
    onEjected: ({ address }, forMs) => made.ejected.push(`${address} ${forMs}`),
  });
  const counts = newCounts();
  for (let at = 0; at < size; at++) made.all.push({ load: new EndpointLoad(`e${at}`, counts, ejection) });
  return made;
}

function load(made: World, at: number): EndpointLoad {
  const one = made.all[at];
  if (one === undefined) throw new TypeError("no such endpoint");
  return one.load;
}

const fail = (one: EndpointLoad, times = EJECT_AFTER): void => {
  for (let at = 0; at < times; at++) one.failed();
};

/** How often each of them is chosen. */
function choices(made: World, times = 1000): Record<string, number> {
  const chosen: Record<string, number> = {};
  for (let at = 0; at < times; at++) {
    const address = chooseEndpoint(made.all, undefined, made.nowMs, Math.random)?.load.address ?? "none";
    chosen[address] = (chosen[address] ?? 0) + 1;
  }
  return chosen;
}

/** A call that took this long. */
function call(made: World, at: number, tookMs: number, status = 200): void {
  const one = load(made, at);
  one.answered(one.begin() - tookMs, status);
  one.ended();
}

describe("an address", () => {
  it("is chosen less the slower it answers, and again once that is long ago", () => {
    const made = world(2);
    call(made, 0, 10);
    call(made, 1, 500);
    made.nowMs = performance.now();
    expect(choices(made)).toEqual({ e0: 1000 });
    // the slow one was measured long ago, the fast one just now
    made.nowMs += 120_000;
    expect(load(made, 1).cost(made.nowMs)).toBeLessThan(1);
  });

  it("is chosen less the more calls are open on it", () => {
    const made = world(2);
    call(made, 0, 10);
    call(made, 1, 10);
    for (let at = 0; at < 5; at++) load(made, 0).begin();
    made.nowMs = performance.now();
    expect(choices(made)).toEqual({ e1: 1000 });
  });

  it("that never answered is asked by one call, and by the next only where all are as busy", () => {
    const made = world(2);
    call(made, 0, 50);
    made.nowMs = performance.now();
    expect(choices(made)).toEqual({ e1: 1000 });
    load(made, 1).begin();
    expect(choices(made)).toEqual({ e0: 1000 });
  });

  it("shares the calls evenly with others like it", () => {
    const made = world(4);
    const chosen = choices(made, 4000);
    for (const address of ["e0", "e1", "e2", "e3"]) expect(chosen[address] ?? 0).toBeGreaterThan(600);
  });

  it.each([
    [500, 0],
    [404, 0],
    [200, 0],
    [502, 1],
    [503, 1],
    [504, 1],
  ])("answering %i counts %i failures", (status, failures) => {
    const made = world(1);
    call(made, 0, 1, status);
    expect(load(made, 0)).toMatchObject({ failures, failuresInRow: failures, outstanding: 0 });
  });
});

describe("ejection", () => {
  it("comes after five failures in a row and lasts 30 s, longer each time", () => {
    const made = world(2);
    fail(load(made, 0), 4);
    load(made, 0).succeeded();
    fail(load(made, 0), 4);
    expect(made.ejected).toEqual([]);
    load(made, 0).failed();
    expect(made.ejected).toEqual(["e0 30000"]);
    expect(choices(made)).toEqual({ e1: 1000 });
    made.nowMs += 30_001;
    // on trial: one more failure is enough
    load(made, 0).failed();
    made.nowMs += 60_001;
    load(made, 0).failed();
    expect(made.ejected).toEqual(["e0 30000", "e0 60000", "e0 90000"]);
  });

  it("never lasts longer than five minutes, and is forgiven with time", () => {
    const made = world(2);
    for (let at = 0; at < 15; at++) {
      fail(load(made, 0));
      made.nowMs = load(made, 0).ejectedUntilMs + 1;
    }
    expect(made.ejected.at(-1)).toBe("e0 300000");
    load(made, 0).succeeded();
    made.nowMs += 3_600_000;
    fail(load(made, 0));
    expect(made.ejected.at(-1)).toBe("e0 30000");
  });

  it.each([
    [1, 0],
    [2, 1],
    [3, 1],
    [4, 2],
    [5, 2],
  ])("of %i addresses takes at most %i", (size, most) => {
    const made = world(size);
    for (const one of made.all) fail(one.load, 20);
    expect(made.ejected).toHaveLength(most);
  });

  it("leaves what fails and can't be ejected as the last choice of a pair", () => {
    const made = world(3);
    fail(load(made, 0));
    fail(load(made, 1), 20);
    expect(made.ejected).toEqual(["e0 30000"]);
    call(made, 2, 100);
    expect(choices(made)).toEqual({ e2: 1000 });
  });

  it("gives calls to ejected ones where there is no other", () => {
    const made = world(2);
    fail(load(made, 0));
    const second = made.all[1];
    expect(chooseEndpoint(made.all, (one) => one === second, made.nowMs, Math.random)?.load.address).toBe("e0");
  });
});

describe("the retry budget", () => {
  function spend(budget: RetryBudget): number {
    let taken = 0;
    while (budget.take()) taken++;
    return taken;
  }

  it("has ten at the start, and then one for each five calls", () => {
    const budget = new RetryBudget(() => 0);
    expect(spend(budget)).toBe(10);
    for (let at = 0; at < 1000; at++) budget.deposit();
    expect(spend(budget)).toBeGreaterThanOrEqual(199);
    expect(spend(budget)).toBe(0);
  });

  it("fills by one a second up to ten, and by calls up to five hundred", () => {
    let nowMs = 0;
    const budget = new RetryBudget(() => nowMs);
    spend(budget);
    nowMs = 3000;
    expect(spend(budget)).toBe(3);
    nowMs = 1_000_000;
    expect(spend(budget)).toBe(10);
    for (let at = 0; at < 100_000; at++) budget.deposit();
    expect(spend(budget)).toBe(500);
  });
});
