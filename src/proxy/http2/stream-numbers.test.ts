import { describe, expect, it } from "vitest";
import { type Http2Role, StreamNumbers } from "./stream-numbers.ts";

type Act = (numbers: StreamNumbers) => void;

const opened =
  (streams: number): Act =>
  (numbers) => {
    for (let i = 0; i < streams; i++) numbers.open();
  };
const peerOpened =
  (...ids: number[]): Act =>
  (numbers) => {
    for (const id of ids) numbers.notePeer(id);
  };
/** The other side opened 5, and 7 and 9 behind our last GOAWAY. */
const discarded: Act = (numbers) => {
  numbers.notePeer(5);
  numbers.noteDiscarded(7);
  numbers.noteDiscarded(9);
};

function numbersOf(role: Http2Role, acts: readonly Act[], streams = 100): StreamNumbers {
  const numbers = new StreamNumbers(role, streams);
  for (const act of acts) act(numbers);
  return numbers;
}

describe("the numbers of streams", () => {
  it("that a client opens are odd, each once, and do not run out soon", () => {
    const numbers = numbersOf("client", []);
    expect([numbers.open(), numbers.open(), numbers.open()]).toEqual([1, 3, 5]);
    expect(numbers.areSpent).toBe(false);
  });

  const idle: readonly [title: string, role: Http2Role, acts: Act[], id: number, isIdle: boolean][] = [
    ["a caller's that it has not opened yet", "server", [], 1, true],
    ["a caller's that it has opened", "server", [peerOpened(1, 3)], 3, false],
    ["a caller's that it has passed over", "server", [peerOpened(7)], 5, false],
    ["a caller's behind its last", "server", [peerOpened(7)], 9, true],
    ["a caller's that came behind our last GOAWAY", "server", [discarded], 9, false],
    ["a caller's behind what came behind our last GOAWAY", "server", [discarded], 11, true],
    ["a server's own: it opens none", "server", [peerOpened(7)], 2, true],
    ["a client's that it has not opened yet", "client", [], 1, true],
    ["a client's that it has opened", "client", [opened(2)], 3, false],
    ["a client's behind its last", "client", [opened(2)], 5, true],
    ["a server's, as its client sees it: pushes are refused", "client", [opened(2)], 2, true],
  ];
  for (const [title, role, acts, id, isIdle] of idle) {
    it(`${isIdle ? "idle" : "not idle"}: ${title}`, () => {
      expect(numbersOf(role, acts).isIdle(id)).toBe(isIdle);
    });
  }

  const news: readonly [title: string, acts: Act[], id: number, isNew: boolean][] = [
    ["the first", [], 1, true],
    ["the last once more", [peerOpened(3)], 3, false],
    ["one below the last", [peerOpened(3)], 1, false],
    ["one above the last", [peerOpened(3)], 7, true],
    ["one that came behind our last GOAWAY", [discarded], 7, false],
    ["one behind those", [discarded], 11, true],
  ];
  for (const [title, acts, id, isNew] of news) {
    it(`${isNew ? "may" : "may not"} be opened by a caller: ${title}`, () => {
      expect(numbersOf("server", acts).isNew(id)).toBe(isNew);
    });
  }

  it("that came behind our last GOAWAY are not said to have been looked at", () => {
    expect(numbersOf("server", [discarded]).lastPeer).toBe(5);
  });

  const closed: readonly [title: string, acts: Act[], id: number, isClosedByUs: boolean][] = [
    ["one that we have reset", [peerOpened(1, 3), (numbers) => numbers.noteReset(1)], 1, true],
    ["another one", [peerOpened(1, 3), (numbers) => numbers.noteReset(1)], 3, false],
    ["one behind our last GOAWAY", [discarded], 9, true],
    ["one from before it", [discarded], 5, false],
    ["one that was refused early", [(numbers) => numbers.forgivesEarly(201)], 201, true],
    ["one below that", [(numbers) => numbers.forgivesEarly(201)], 151, true],
    ["one above that", [(numbers) => numbers.forgivesEarly(201)], 203, false],
    ["one that no caller opens", [(numbers) => numbers.forgivesEarly(201)], 200, false],
  ];
  for (const [title, acts, id, isClosedByUs] of closed) {
    it(`${isClosedByUs ? "forgives" : "does not forgive"} what still comes on ${title}`, () => {
      expect(numbersOf("server", acts).isClosedByUs(id)).toBe(isClosedByUs);
    });
  }

  const remembered: readonly [streams: number, resets: number][] = [
    [1, 256],
    [256, 256],
    [1000, 1000],
  ];
  for (const [streams, resets] of remembered) {
    it(`remembers the last ${resets} resets where ${streams} streams may be open`, () => {
      const numbers = numbersOf("server", [], streams);
      for (let at = 0; at < resets; at++) numbers.noteReset(2 * at + 1);
      expect(numbers.isClosedByUs(1)).toBe(true);
      numbers.noteReset(2 * resets + 1);
      expect(numbers.isClosedByUs(1)).toBe(false);
      expect(numbers.isClosedByUs(3)).toBe(true);
    });
  }

  it("forgives a thousand streams that were opened before the limit was known, and no more", () => {
    const numbers = numbersOf("server", []);
    for (let at = 0; at < 1000; at++) expect(numbers.forgivesEarly(2 * at + 1)).toBe(true);
    expect(numbers.forgivesEarly(2001)).toBe(false);
    expect(numbers.isClosedByUs(1999)).toBe(true);
    expect(numbers.isClosedByUs(2001)).toBe(false);
  });
});
