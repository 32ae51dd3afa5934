import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import { startExtAuthzServer } from "../../../test/support/ext-authz-server.ts";
import { fakeClock } from "../../../test/support/fake-clock.ts";
import { inTurns } from "./check-turns.ts";
import { createGrpcProvider } from "./grpc-provider.ts";
import type { AuthorizationProvider, CheckAnswer, CheckQuestion } from "./provider.ts";

const PARTY = { ip: "127.0.0.1", port: 1, principal: "" };
/** What is asked about, but for whether it is an open call. */
const CONNECTION = {
  source: PARTY,
  destination: PARTY,
  sni: "",
  startedUs: 0,
  clientCert: undefined,
  request: undefined,
};
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
  /** How many it was asked and then told that nobody waits. */
  readonly cancelled: () => number;
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
  let cancelled = 0;
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
        signal.addEventListener("abort", () => {
          cancelled++;
          end({ kind: "deny", status: 403, fields: [], body: Buffer.alloc(0) });
        });
      }),
    close: () => undefined,
  };
  const provider = inTurns(asked, timeoutMs, clock);
  const check = (openCall: object | undefined, tell: (result: string) => void): AbortController => {
    const controller = new AbortController();
    void provider.check({ ...CONNECTION, openCall }, controller.signal).then((answer) => {
      if (!controller.signal.aborted) tell(answer.kind === "failed" ? answer.error.code : answer.kind);
    });
    return controller;
  };
  const made: Bench = {
    provider,
    clock,
    underWay,
    cancelled: () => cancelled,
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
    // it runs out
    await b.answer(1);
    b.clock.advance(4900);
    await settle();
    answered?.check();
    released?.check();
    b.clock.advance(4900);
    await settle();
    answered?.check();
    released?.check();
    await settle();
    // the older checks have their answers first
    await b.answer(4);
    expect([answered?.result, released?.result]).toEqual(["allow", "allow"]);
  });
});

describe("checks of open calls that nobody waits for any more", () => {
  it("run out at the provider, in their turn, and their answers count for nothing", async () => {
    const b = bench();
    const calls = b.open(3);
    for (let at = 0; at < 50; at++) for (const call of calls) call.check();
    await settle();
    expect([b.underWay.length, b.cancelled()]).toEqual([AT_ONCE, 0]);
    await b.answer(AT_ONCE);
    expect(results(calls)).toEqual([undefined, undefined, undefined]);
    await b.answer(3);
    expect([results(calls), b.underWay.length]).toEqual([["allow", "allow", "allow"], 0]);
  });

  it("are over at once for who asked, so that no further provider is asked", async () => {
    const b = bench();
    const controller = new AbortController();
    const answer = b.provider.check({ ...CONNECTION, openCall: {} }, controller.signal);
    controller.abort();
    expect((await answer).kind).toBe("failed");
    expect(b.underWay).toHaveLength(1);
  });

  it("leave a gRPC provider's connection as it is, however often policies change", async () => {
    let isHeld = true;
    let release = (): void => undefined;
    const held = new Promise<void>((resolve) => (release = resolve));
    const server = await startExtAuthzServer(async () => {
      if (isHeld) await held;
      return { status: { code: 0 } };
    });
    const failures: unknown[] = [];
    const config = { kind: "grpc", name: "p", host: "127.0.0.1", port: server.port, timeoutMs: 20_000 } as const;
    const grpc = createGrpcProvider({ ...config, statusOnError: 403, body: undefined, at: { file: "" } }, true);
    const provider = inTurns(grpc, 20_000, fakeClock());
    const calls = Array.from({ length: 64 }, () => ({}));
    let before = new AbortController();
    let answers: Promise<CheckAnswer>[] = [];
    // each change would cancel 64 of them; Node's server ends a connection at the thousandth
    for (let change = 0; change < 40; change++) {
      before.abort();
      before = new AbortController();
      const { signal } = before;
      answers = calls.map(async (openCall) => {
        const answer = await provider.check({ ...CONNECTION, openCall }, signal);
        if (answer.kind === "failed" && !signal.aborted) failures.push(answer.error.message);
        return answer;
      });
      // oxlint-disable-next-line no-await-in-loop -- one change after the other, each seen by the server
      for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
    }
    isHeld = false;
    release();
    const kinds = (await Promise.all(answers)).map(({ kind }) => kind);
    provider.close();
    server.close();
    expect([new Set(failures), new Set(kinds)]).toEqual([new Set(), new Set(["allow"])]);
  });
});

it("what has left the line while nobody had a turn is not kept", async () => {
  const b = bench();
  b.open(AT_ONCE);
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const left: WeakRef<object>[] = [];
  const comeAndLeave = (): void => {
    const controllers = Array.from({ length: 200 }, () => {
      const controller = new AbortController();
      const question: CheckQuestion = { ...CONNECTION, openCall: {} };
      left.push(new WeakRef(question));
      void b.provider.check(question, controller.signal);
      return controller;
    });
    for (const controller of controllers) controller.abort();
  };
  // somebody has to have waited before
  for (let at = 0; at < 10; at++) {
    comeAndLeave();
    // oxlint-disable-next-line no-await-in-loop -- one change after the other
    await new Promise(setImmediate);
  }
  await new Promise(setImmediate);
  collect();
  expect(left.filter((one) => one.deref() !== undefined)).toHaveLength(0);
});
