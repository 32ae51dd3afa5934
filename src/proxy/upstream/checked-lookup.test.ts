import { describe, expect, it } from "vitest";
import { createDialRules } from "../../core/dial-rules.ts";
import { CountersignError } from "../../core/errors.ts";
import { parseCidr } from "../../core/ip-address.ts";
import { type CheckedAddresses, type CheckedLookup, createCheckedLookup } from "./checked-lookup.ts";
import type { ResolveName } from "./system-resolve.ts";

const blocks = (texts: readonly string[]) => texts.flatMap((text) => parseCidr(text) ?? []);
const rules = (allowed: readonly string[] = []) =>
  createDialRules({ ownAddresses: [], ownListeners: [], allowed: blocks(allowed) });

/** A resolver that gives these answers, one a question, and counts the questions. */
function scripted(...answers: readonly (readonly string[] | CountersignError)[]) {
  const asked: string[] = [];
  const resolve: ResolveName = (name, done) => {
    const answer = answers[Math.min(asked.length, answers.length - 1)] ?? [];
    asked.push(name);
    queueMicrotask(() => done(answer));
  };
  return { asked, resolve };
}

function find(
  lookup: CheckedLookup,
  host: string,
  allowed: readonly string[] = [],
): Promise<CheckedAddresses | string> {
  return new Promise((done) =>
    lookup(host, 443, rules(allowed), (result) => done(result instanceof CountersignError ? result.message : result)),
  );
}

describe("a name", () => {
  it("that changes what it stands for is held against the rules each time it is resolved", async () => {
    let now = 0;
    const { asked, resolve } = scripted(["1.1.1.1"], ["127.0.0.1"], ["169.254.169.254"], ["1.1.1.1"]);
    const lookup = createCheckedLookup(resolve, () => now);
    expect(await find(lookup, "rebind.test")).toEqual(["1.1.1.1"]);
    now += 6000;
    expect(await find(lookup, "rebind.test")).toBe("rebind.test: 127.0.0.1 is loopback, and not in forward.addresses");
    now += 6000;
    expect(await find(lookup, "rebind.test")).toContain("a cloud's metadata service");
    now += 6000;
    expect(await find(lookup, "rebind.test")).toEqual(["1.1.1.1"]);
    expect(asked).toHaveLength(4);
  });

  it("is asked once in a while, and its remembered answer is held against the rules of now", async () => {
    const { asked, resolve } = scripted(["10.0.0.1"]);
    const lookup = createCheckedLookup(resolve, () => 0);
    expect(await find(lookup, "db.test", ["10.0.0.0/8"])).toEqual(["10.0.0.1"]);
    expect(await find(lookup, "db.test")).toContain("10.0.0.1 is a private range");
    expect(asked).toHaveLength(1);
  });

  it.each([
    ["until its TTL has passed", 60_000, 59_000, 61_000],
    ["for five seconds where nobody tells a TTL", undefined, 4_000, 6_000],
    ["for a second at least", 0, 900, 1_100],
    ["for an hour at most", 86_400_000, 3_599_000, 3_601_000],
  ])("is used again %s", async (_name, ttlMs, before, after) => {
    let now = 0;
    const { asked, resolve } = scripted(["1.1.1.1"], ["1.1.1.2"]);
    const told: (() => void)[] = [];
    const ttlOf = (_host: string, done: (ms: number | undefined) => void) => void told.push(() => done(ttlMs));
    const lookup = createCheckedLookup(resolve, () => now, ttlOf);
    expect(await find(lookup, "a.test")).toEqual(["1.1.1.1"]);
    // DNS may take longer to tell it than the resolver to answer
    told[0]?.();
    now = before;
    expect(await find(lookup, "a.test")).toEqual(["1.1.1.1"]);
    now = after;
    expect(await find(lookup, "a.test")).toEqual(["1.1.1.2"]);
    expect(asked).toHaveLength(2);
  });

  it("that leads to a listener of our own is refused without advice that would not help", async () => {
    const own = { address: undefined, port: 443 };
    const closed = createDialRules({ ownAddresses: [], ownListeners: [own], allowed: blocks(["127.0.0.0/8"]) });
    const lookup = createCheckedLookup(scripted(["127.0.0.1"]).resolve, () => 0);
    const result = await new Promise((done) => lookup("me.test", 443, closed, done));
    expect(result).toMatchObject({ message: "me.test: 127.0.0.1:443 is a listener of this sidecar" });
  });

  it("that many ask for at once is asked once", async () => {
    const { asked, resolve } = scripted(["1.1.1.1"]);
    const lookup = createCheckedLookup(resolve, () => 0);
    const all = await Promise.all([find(lookup, "a.test"), find(lookup, "a.test"), find(lookup, "a.test")]);
    expect(all).toEqual([["1.1.1.1"], ["1.1.1.1"], ["1.1.1.1"]]);
    expect(asked).toHaveLength(1);
  });

  it("without an address is asked again the next time", async () => {
    const { resolve } = scripted(new CountersignError("E_EGRESS_RESOLVE", "no"), ["1.1.1.1"]);
    const lookup = createCheckedLookup(resolve, () => 0);
    expect(await find(lookup, "a.test")).toBe("no");
    expect(await find(lookup, "a.test")).toEqual(["1.1.1.1"]);
  });

  it("keeps its open addresses, in one spelling, and loses the others", async () => {
    const { resolve } = scripted(["10.0.0.1", "::ffff:9.9.9.9", "fe80::1%eth0", "2001:DB8:0::1", "nonsense"]);
    expect(
      await find(
        createCheckedLookup(resolve, () => 0),
        "mixed.test",
      ),
    ).toEqual(["9.9.9.9", "2001:db8::1"]);
  });

  it("with very many addresses has the first sixteen looked at", async () => {
    const { resolve } = scripted(Array.from({ length: 40 }, (_, index) => `1.1.1.${index}`));
    expect(
      await find(
        createCheckedLookup(resolve, () => 0),
        "many.test",
      ),
    ).toHaveLength(16);
  });

  it("does not fill the memory", async () => {
    const { asked, resolve } = scripted(["1.1.1.1"]);
    const lookup = createCheckedLookup(resolve, () => 0);
    for (let i = 0; i < 1100; i++) await find(lookup, `n${i}.test`);
    await find(lookup, "n1099.test");
    expect(asked).toHaveLength(1100);
    await find(lookup, "n0.test");
    expect(asked).toHaveLength(1101);
  });
});

describe("an address", () => {
  it("is not resolved, and checked all the same", async () => {
    const { asked, resolve } = scripted();
    const lookup = createCheckedLookup(resolve, () => 0);
    expect(await find(lookup, "1.1.1.1")).toEqual(["1.1.1.1"]);
    expect(await find(lookup, "::1")).toBe("::1 is loopback, and not in forward.addresses");
    expect(asked).toEqual([]);
  });

  it("of a destination that the configuration names by it passes without rules", () => {
    const results: unknown[] = [];
    createCheckedLookup(scripted().resolve, () => 0)("127.0.0.1", 1, undefined, (result) => results.push(result));
    expect(results).toEqual([["127.0.0.1"]]);
  });
});
