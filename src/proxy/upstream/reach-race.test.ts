import { describe, expect, it } from "vitest";
import type { ErrorCode } from "../../core/error-codes.ts";
import { CountersignError } from "../../core/errors.ts";
import { Deadlines } from "../deadlines.ts";
import { monotonicMs } from "../monotonic.ts";
import type { HasLoad } from "./choose-endpoint.ts";
import { EndpointLoad, newCounts } from "./endpoint-load.ts";
import { ReachRace } from "./reach-race.ts";

const NONE = new CountersignError("E_UPSTREAM_RESOLVE", "no address");

interface Course {
  /** Addresses that are being tried or were, in order. */
  readonly tried: string[];
  readonly results: string[];
  /** An attempt's end; returns whether it was wanted. */
  end(address: string, result: string): boolean;
  /** Lets the delay before the next attempt pass. */
  wait(): void;
  readonly outstanding: number;
  readonly waitingDeadlines: number;
}

function race(...addresses: readonly string[]): Course {
  const deadlines = new Deadlines();
  const observer = { onFailure: () => undefined };
  const members = addresses.map((address): HasLoad => ({ load: new EndpointLoad(address, newCounts(), observer) }));
  const ends = new Map<string, (result: string | CountersignError) => boolean>();
  const tried: string[] = [];
  const results: string[] = [];
  const running = new ReachRace<HasLoad, string>({
    deadlines,
    next: (before) => members.find((member) => !before.includes(member)),
    reach: ({ load }, done) => {
      tried.push(load.address);
      ends.set(load.address, done);
    },
    done: (result) => results.push(result instanceof CountersignError ? result.code : result) > 0,
  });
  running.start(NONE);
  return {
    tried,
    results,
    end: (address, result) =>
      ends.get(address)?.(result.startsWith("E_") ? new CountersignError(result as ErrorCode, "failed") : result) ??
      false,
    wait: () => deadlines.sweep(monotonicMs() + 250),
    get outstanding() {
      return members.reduce((sum, { load }) => sum + load.outstanding, 0);
    },
    get waitingDeadlines() {
      return deadlines.size;
    },
  };
}

describe("a race of addresses", () => {
  it("tries the next at once where one fails, and tells the last failure if all do", () => {
    const course = race("a", "b");
    course.end("a", "E_UPSTREAM_CONNECT");
    expect(course.tried).toEqual(["a", "b"]);
    course.end("b", "E_PEER_WRONG_IDENTITY");
    expect(course.results).toEqual(["E_PEER_WRONG_IDENTITY"]);
    expect([course.outstanding, course.waitingDeadlines]).toEqual([0, 0]);
  });

  it("tries the next beside one that takes long; the first that is reached wins, the other is not wanted", () => {
    const course = race("a", "b", "c");
    course.wait();
    expect(course.tried).toEqual(["a", "b"]);
    expect(course.end("b", "reached b")).toBe(true);
    course.wait();
    expect(course.end("a", "reached a")).toBe(false);
    expect(course.tried).toEqual(["a", "b"]);
    expect(course.results).toEqual(["reached b"]);
    expect([course.outstanding, course.waitingDeadlines]).toEqual([0, 0]);
  });

  it("waits for those under way when there is no other to try", () => {
    const course = race("a", "b");
    course.wait();
    course.end("b", "E_UPSTREAM_CONNECT");
    course.wait();
    expect(course.results).toEqual([]);
    course.end("a", "reached a");
    expect(course.results).toEqual(["reached a"]);
  });

  it.each<ErrorCode>(["E_UPSTREAM_LIMIT", "E_IDENTITY_EXPIRED", "E_UPSTREAM_NOT_HTTP2"])(
    "ends with %s at once: no other address changes that",
    (code) => {
      const course = race("a", "b");
      course.end("a", code);
      expect([course.tried, course.results]).toEqual([["a"], [code]]);
    },
  );

  it("without any address ends with why there is none", () => {
    expect(race().results).toEqual(["E_UPSTREAM_RESOLVE"]);
  });

  it("tries sixteen addresses at most", () => {
    const course = race(...Array.from({ length: 40 }, (_, at) => `a${at}`));
    for (let at = 0; at < 40; at++) course.end(`a${at}`, "E_UPSTREAM_CONNECT");
    expect(course.tried).toHaveLength(16);
    expect(course.results).toEqual(["E_UPSTREAM_CONNECT"]);
  });
});
