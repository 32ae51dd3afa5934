import { describe, expect, it } from "vitest";
import { FakeEventLoop } from "../../test/support/fake-event-loop.ts";
import { FairTurns, TurnShare } from "./fair-turns.ts";
import { WaitingCalls } from "./waiting-calls.ts";

/** Calls named by number, of which each takes `ms` to begin; `begun` tells which have. */
function connection(calls: number, ms: number) {
  const loop = new FakeEventLoop();
  const begun: number[] = [];
  const share = new TurnShare(new FairTurns(loop), () => {
    share.begin();
    waiting.begin();
  });
  const waiting = new WaitingCalls(share);
  const all = Array.from({ length: calls }, (_, at) => ({
    start() {
      begun.push(at);
      loop.work(ms);
    },
  }));
  share.begin();
  return { loop, begun, share, waiting, all };
}

describe("calls that wait for the end of a read", () => {
  it("begin in order as far as the share goes, and the others with the next shares", () => {
    const { loop, begun, waiting, all } = connection(5, 0.5);
    for (const call of all) waiting.add(call);
    expect(begun).toEqual([]);
    waiting.begin();
    expect(begun).toEqual([0, 1]);
    while (loop.endTurn());
    expect(begun).toEqual([0, 1, 2, 3, 4]);
  });

  it("begin one at least, however long it takes", () => {
    const { begun, waiting, all } = connection(2, 50);
    for (const call of all) waiting.add(call);
    waiting.begin();
    expect(begun).toEqual([0]);
  });

  it("begin with the read where their body follows their head, 16 of them at most", () => {
    const { begun, waiting, all } = connection(20, 0);
    for (const call of all) {
      waiting.add(call);
      waiting.bodyCame(call);
    }
    expect(begun).toHaveLength(16);
    waiting.nextRead();
    waiting.bodyCame(all.at(-1));
    expect(begun.slice(16)).toEqual([19]);
    waiting.begin();
    expect(begun.slice(17)).toEqual([16, 17, 18]);
  });

  it("wait on where the body is of another call, or a share is waited for", () => {
    const { begun, share, waiting, all } = connection(2, 0);
    for (const call of all) waiting.add(call);
    waiting.bodyCame(all[0]);
    waiting.bodyCame(undefined);
    share.wait();
    waiting.bodyCame(all[1]);
    expect(begun).toEqual([]);
  });

  it("never begin once the connection has ended", () => {
    const { begun, waiting, all } = connection(2, 0);
    for (const call of all) waiting.add(call);
    waiting.clear();
    waiting.begin();
    expect(begun).toEqual([]);
  });
});
