import { describe, expect, it } from "vitest";
import { FakeEventLoop } from "../../test/support/fake-event-loop.ts";
import { FairTurns, TurnShare } from "./fair-turns.ts";

/** A connection with so many pieces of work, each of so long; `log` gets its name for each. */
function worker(loop: FakeEventLoop, turns: FairTurns, log: string[], name: string, pieces: number, ms: number) {
  let left = pieces;
  const go = (): void => {
    share.begin();
    let isSpent = false;
    while (left > 0 && !isSpent) {
      left--;
      log.push(name);
      loop.work(ms);
      isSpent = share.isSpent();
    }
    if (left > 0) share.wait();
  };
  const share = new TurnShare(turns, go);
  return go;
}

function setUp() {
  const loop = new FakeEventLoop();
  const turns = new FairTurns(loop);
  const log: string[] = [];
  /** What each turn did. */
  const play = (): string[] => {
    const played: string[] = [];
    while (loop.endTurn()) {
      if (log.length > 0) played.push(log.splice(0).join(""));
    }
    return played;
  };
  return { loop, turns, log, play };
}

describe("FairTurns", () => {
  it("gives a connection a millisecond of a turn, and the rest in later turns", () => {
    const { loop, turns, log, play } = setUp();
    worker(loop, turns, log, "a", 10, 0.25)();
    expect(log.splice(0)).toEqual(["a", "a", "a", "a"]);
    expect(play()).toEqual(["aaaa", "aa"]);
  });

  it("lets the events of one more turn pass before a share is given again", () => {
    const { loop, turns, log } = setUp();
    worker(loop, turns, log, "a", 2, 1)();
    loop.endTurn();
    expect(log).toEqual(["a"]);
    loop.endTurn();
    expect(log).toEqual(["a", "a"]);
  });

  it("serves in turn those that wait, and a turn never holds more than two shares, however many wait", () => {
    const { loop, turns, log, play } = setUp();
    for (const name of ["a", "b", "c", "d", "e"]) worker(loop, turns, log, name, 3, 1)();
    expect(log.splice(0).join("")).toBe("abcde");
    expect(play()).toEqual(["ab", "cd", "ea", "bc", "de"]);
  });

  it("does not let a connection with much work before one with little that came later", () => {
    const { loop, turns, log, play } = setUp();
    worker(loop, turns, log, "A", 9, 1)();
    worker(loop, turns, log, "b", 2, 1)();
    log.length = 0;
    expect(play().join("")).toMatch(/^Ab/);
  });

  it("counts several reads of a turn as one share, and a turn's rest is not kept for the next", () => {
    const { loop, turns } = setUp();
    const share = new TurnShare(turns, () => undefined);
    const read = (ms: number): boolean => {
      share.begin();
      loop.work(ms);
      return share.isSpent();
    };
    expect([read(0.5), read(0.25), read(0.25)]).toEqual([false, false, true]);
    loop.endTurn();
    expect([read(0.75), read(0.25)]).toEqual([false, true]);
  });

  it("charges what a call makes others do later to the share under which it began, and to no other", () => {
    const { turns } = setUp();
    const first = new TurnShare(turns, () => undefined);
    const second = new TurnShare(turns, () => undefined);
    first.begin();
    turns.owe(1);
    expect(first.isSpent()).toBe(true);
    turns.owe(5);
    second.begin();
    expect(second.isSpent()).toBe(false);
  });

  it("queues a connection once, whatever often it asks", () => {
    const { turns, loop } = setUp();
    let granted = 0;
    const share = new TurnShare(turns, () => {
      granted++;
    });
    share.wait();
    share.wait();
    while (loop.endTurn());
    expect(granted).toBe(1);
    expect(share.waits).toBe(false);
  });

  it("tidies up in order, half a millisecond of each turn, and at least one thing", () => {
    const { loop, turns, log, play } = setUp();
    for (const [name, ms] of [
      ["a", 0.25],
      ["b", 0.25],
      ["c", 3],
      ["d", 0],
    ] as const) {
      turns.tidy(() => {
        log.push(name);
        loop.work(ms);
      });
    }
    expect(play()).toEqual(["ab", "c", "d"]);
  });
});
