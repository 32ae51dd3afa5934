import { describe, expect, it } from "vitest";
import { fakeClock } from "../../../test/support/fake-clock.ts";
import { inTurns } from "./check-turns.ts";
import type { AuthorizationProvider, CheckAnswer, CheckQuestion } from "./provider.ts";

const PARTY = { ip: "127.0.0.1", port: 1, principal: "" };
const TIMEOUT_MS = 5000;
const AT_ONCE = 2;

interface UnderWay {
  readonly question: CheckQuestion;
  answer(): void;
}

interface Call {
  /** What came of its newest check: "allow", or the code. */
  result: string | undefined;
  check(): void;
  abort(): void;
}

interface Bench {
  readonly provider: AuthorizationProvider;
  readonly clock: ReturnType<typeof fakeClock>;
  /** Checks that the provider has been asked and not answered, in order. */
  readonly underWay: UnderWay[];
  /** An open call, which is not asked about yet. */
  call(): Call;
  open(count: number): Call[];
  /** The check of a new call. */
  fresh(): { readonly result: () => string | undefined };
  /** Answers the oldest checks. */
  answer(count: number): Promise<void>;
}

function bench(timeoutMs = TIMEOUT_MS): Bench {
  const clock = fakeClock();
  const underWay: UnderWay[] = [];
  const asked: AuthorizationProvider = {
    name: "p",
    service: { host: "127.0.0.1", port: 1 },
    statusOnError: 403,
    bodyInCheck: undefined,
    openAtOnce: AT_ONCE,
    check: (question, signal) =>
      new Promise((resolve) => {
        const one: UnderWay = { question, answer: () => end({ kind: "allow", changes: undefined }) };
        const end = (answer: CheckAnswer): void => {
          underWay.splice(underWay.indexOf(one), 1);
          resolve(answer);
        };
        underWay.push(one);
        signal.addEventListener("abort", () => end({ kind: "deny", status: 403, fields: [], body: Buffer.alloc(0) }));
      }),
    close: () => undefined,
  };
  const provider = inTurns(asked, timeoutMs, clock);
  const check = (openCall: object | undefined, tell: (result: string) => void): AbortController => {
    const controller = new AbortController();
    const ends = {
      source: PARTY,
      destination: PARTY,
      sni: "",
      startedUs: 0,
      clientCert: undefined,
      request: undefined,
    };
    void provider.check({ ...ends, openCall }, controller.signal).then((answer) => {
      if (!controller.signal.aborted) tell(answer.kind === "failed" ? answer.error.code : answer.kind);
    });
    return controller;
  };
  const made: Bench = {
    provider,
    clock,
    underWay,
    call() {
      const identity = {};
      let controller = new AbortController();
      const call: Call = {
        result: undefined,
        check() {
          // as a call does it: the newer check is there before the older one is let go of
          const newer = check(identity, (result) => (call.result = result));
          controller.abort();
          controller = newer;
        },
        abort: () => controller.abort(),
      };
      return call;
    },
    open: (count) =>
      Array.from({ length: count }, () => {
        const call = made.call();
        call.check();
        return call;
      }),
    fresh() {
      let result: string | undefined;
      check(undefined, (given) => (result = given));
      return { result: () => result };
    },
    async answer(count) {
      for (let at = 0; at < count; at++) {
        underWay[0]?.answer();
        // oxlint-disable-next-line no-await-in-loop -- the next begins only then
        await settle();
      }
    },
  };
  return made;
}

async function settle(): Promise<void> {
  for (let at = 0; at < 20; at++) {
    // oxlint-disable-next-line no-await-in-loop -- promises that hang on each other
    await Promise.resolve();
  }
}

const results = (calls: readonly Call[]): unknown[] => calls.map(({ result }) => result);

describe("open calls", () => {
  it("are asked about in turn, so many at a time, and every one in the end", async () => {
    const b = bench();
    const calls = b.open(2000);
    expect(b.underWay).toHaveLength(AT_ONCE);
    await b.answer(1999);
    expect(b.underWay).toHaveLength(1);
    await b.answer(1);
    expect(new Set(results(calls))).toEqual(new Set(["allow"]));
    expect(b.clock.pending).toBeLessThanOrEqual(1);
  });

  it("take nothing from new ones, nor do these from them", async () => {
    const b = bench();
    const [first] = b.open(100);
    const fresh = Array.from({ length: 1025 }, () => b.fresh());
    await settle();
    expect(b.underWay).toHaveLength(AT_ONCE + 1024);
    expect([fresh[0]?.result(), fresh[1024]?.result()]).toEqual([undefined, "E_EXT_AUTHZ_FAILED"]);
    await b.answer(1);
    expect([first?.result, b.underWay.length]).toEqual(["allow", AT_ONCE + 1024]);
  });

  it.each([
    ["the provider's timeout", TIMEOUT_MS, 5000],
    ["a second, if that is longer", 200, 1000],
  ])("that have no turn within %s have failed", async (_, timeoutMs, waitMs) => {
    const b = bench(timeoutMs);
    const calls = b.open(4);
    b.clock.advance(waitMs - 1);
    await settle();
    expect(results(calls)).toEqual([undefined, undefined, undefined, undefined]);
    b.clock.advance(1);
    await settle();
    expect(results(calls)).toEqual([undefined, undefined, "E_EXT_AUTHZ_TIMEOUT", "E_EXT_AUTHZ_TIMEOUT"]);
  });

  it("each wait as long, whenever they began to", async () => {
    const b = bench();
    b.open(AT_ONCE);
    const [early] = b.open(1);
    b.clock.advance(1000);
    const [later] = b.open(1);
    b.clock.advance(4000);
    await settle();
    expect([early?.result, later?.result]).toEqual(["E_EXT_AUTHZ_TIMEOUT", undefined]);
    b.clock.advance(1000);
    await settle();
    expect([later?.result, b.clock.pending]).toEqual(["E_EXT_AUTHZ_TIMEOUT", 0]);
  });

  it("that leave have no turn", async () => {
    const b = bench();
    const calls = b.open(4);
    calls[2]?.abort();
    await b.answer(2);
    expect(b.underWay).toHaveLength(1);
    await b.answer(1);
    expect(results(calls)).toEqual(["allow", "allow", undefined, "allow"]);
  });

  it("are 32768 at most: further ones have failed at once", async () => {
    const b = bench();
    const calls = b.open(AT_ONCE + 32_769);
    await settle();
    expect([calls.at(-2)?.result, calls.at(-1)?.result]).toEqual([undefined, "E_EXT_AUTHZ_FAILED"]);
    calls.at(-2)?.abort();
    calls.at(-1)?.check();
    await settle();
    b.provider.close();
  });

  it("have failed when their provider is configured no more", async () => {
    const b = bench();
    const calls = b.open(3);
    b.provider.close();
    await settle();
    expect([results(calls), b.clock.pending]).toEqual([[undefined, undefined, "E_EXT_AUTHZ_FAILED"], 0]);
  });
});

describe("open calls that are asked about anew before there is an answer", () => {
  it("end all the same, however often that happens", async () => {
    const b = bench();
    const calls = b.open(4);
    for (let at = 0; at < 4; at++) {
      b.clock.advance(1000);
      for (const call of calls) call.check();
      // oxlint-disable-next-line no-await-in-loop -- one change after the other
      await settle();
    }
    expect(results(calls)).toEqual([undefined, undefined, undefined, undefined]);
    b.clock.advance(1000);
    for (const call of calls) call.check();
    await settle();
    expect(new Set(results(calls))).toEqual(new Set(["E_EXT_AUTHZ_TIMEOUT"]));
  });

  it("go before others", async () => {
    const b = bench();
    b.open(AT_ONCE);
    const [old] = b.open(1);
    b.clock.advance(1000);
    const [young] = b.open(1);
    old?.check();
    await b.answer(2);
    expect(b.underWay).toHaveLength(AT_ONCE);
    await b.answer(1);
    expect([old?.result, young?.result]).toEqual(["allow", undefined]);
  });

  it("have all their time again once there was an answer, or a policy that asked nobody", async () => {
    const b = bench();
    const [answered, released] = b.open(2);
    await b.answer(1);
    released?.abort();
    await settle();
    b.clock.advance(4900);
    await settle();
    answered?.check();
    released?.check();
    b.clock.advance(4900);
    await settle();
    answered?.check();
    released?.check();
    await settle();
    await b.answer(2);
    expect([answered?.result, released?.result]).toEqual(["allow", "allow"]);
  });
});
