import { describe, expect, it } from "vitest";
import { CountersignError } from "../../core/errors.ts";
import { Deadlines } from "../deadlines.ts";
import { monotonicMs } from "../monotonic.ts";
import { ResolvedEndpoints } from "./resolved-endpoints.ts";

type Answer = readonly string[] | CountersignError;

interface Names {
  readonly endpoints: ResolvedEndpoints;
  /** Answers the question that is open. */
  answer(answer: Answer, ttlMs?: number): void;
  readonly asked: number;
  /** Each list of addresses that came, as texts. */
  readonly lists: string[];
  readonly problems: string[];
  /** Lets time pass for the deadlines. */
  sweep(afterMs: number): void;
}

const NOT_FOUND = new CountersignError("E_EGRESS_RESOLVE", "payments.shop has no address: ENOTFOUND");

function names(...hosts: readonly string[]): Names {
  const deadlines = new Deadlines();
  const open: { done: (answer: Answer) => void; ttl: (ttlMs: number | undefined) => void }[] = [];
  const ttls: ((ttlMs: number | undefined) => void)[] = [];
  let asked = 0;
  const lists: string[] = [];
  const problems: string[] = [];
  const endpoints = new ResolvedEndpoints({
    endpoints: hosts.map((host) => ({ kind: "tcp", host, port: 1 })),
    ttlOf: (_, done) => ttls.push(done),
    resolve: (_, done) => {
      asked++;
      open.push({ done, ttl: ttls.shift() ?? (() => undefined) });
    },
    deadlines,
    onChange: (all) =>
      lists.push(
        all.map(({ address, name }) => `${address.kind === "tcp" ? address.host : ""}/${name ?? ""}`).join(" "),
      ),
    onProblem: (name, problem) => problems.push(`${name} ${problem?.code ?? "ok"}`),
  });
  endpoints.start();
  return {
    endpoints,
    answer(answer, ttlMs) {
      const question = open.shift();
      question?.ttl(ttlMs);
      question?.done(answer);
    },
    get asked() {
      return asked;
    },
    lists,
    problems,
    sweep: (afterMs) => deadlines.sweep(monotonicMs() + afterMs),
  };
}

describe("endpoints", () => {
  it("that are addresses are there at once", () => {
    const { lists, asked } = names("127.0.0.1", "::1");
    expect(lists).toEqual(["127.0.0.1/ ::1/"]);
    expect(asked).toBe(0);
  });

  it("that are names are all of their addresses", () => {
    const made = names("10.0.0.9", "payments.shop");
    expect(made.lists).toEqual(["10.0.0.9/"]);
    made.answer(["fd00::1", "10.0.0.1"]);
    expect(made.lists.at(-1)).toBe("10.0.0.9/ fd00::1/payments.shop 10.0.0.1/payments.shop");
  });

  it.each([
    ["by the TTL", 5000, 4900, 5001],
    ["after a second at least", 0, 900, 1001],
    ["after an hour at most", 86_400_000, 3_590_000, 3_600_001],
    ["after 30 s where nobody tells", undefined, 29_000, 30_001],
  ])("are resolved again %s", (_, ttlMs, before, after) => {
    const made = names("payments.shop");
    made.answer(["10.0.0.1"], ttlMs);
    made.sweep(before);
    expect(made.asked).toBe(1);
    made.sweep(after);
    expect(made.asked).toBe(2);
    made.answer(["10.0.0.2"], ttlMs);
    expect(made.lists).toEqual(["10.0.0.1/payments.shop", "10.0.0.2/payments.shop"]);
  });

  it("keep their last good answer while the name fails, which is told once", () => {
    const made = names("payments.shop");
    made.answer(["10.0.0.1"], 1000);
    made.sweep(1001);
    made.answer(NOT_FOUND);
    made.sweep(1001);
    made.answer(NOT_FOUND);
    expect(made.lists).toEqual(["10.0.0.1/payments.shop"]);
    expect(made.endpoints.problems).toMatchObject([{ name: "payments.shop", problem: { code: "E_UPSTREAM_RESOLVE" } }]);
    made.sweep(2001);
    made.answer(["10.0.0.1"], 1000);
    expect(made.problems).toEqual(["payments.shop E_UPSTREAM_RESOLVE", "payments.shop ok"]);
    expect(made.endpoints.problems).toEqual([]);
  });

  it("are asked for anew, and once, when somebody wants a name that has failed", () => {
    const made = names("payments.shop");
    made.answer(NOT_FOUND);
    let told = 0;
    made.endpoints.onceAnswered(() => told++);
    made.endpoints.onceAnswered(() => told++);
    expect([made.asked, told]).toEqual([2, 0]);
    made.answer(["10.0.0.1"]);
    expect(told).toBe(2);
  });

  it("tell nothing more once they are closed", () => {
    const made = names("payments.shop");
    let told = 0;
    made.endpoints.onceAnswered(() => told++);
    made.endpoints.close();
    expect(told).toBe(1);
    made.answer(["10.0.0.1"]);
    expect(made.lists).toEqual([]);
  });
});
