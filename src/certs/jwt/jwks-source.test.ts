import { describe, expect, it } from "vitest";
import { fakeClock } from "../../../test/support/fake-clock.ts";
import { jwkSet, tokenKey } from "../../../test/support/token-issuer.ts";
import { CountersignError } from "../../core/errors.ts";
import { createJwksSource, type FetchedDocument, type JwksLocation, type JwksSource } from "./jwks-source.ts";

const first = jwkSet(tokenKey("ES256", "first"));
const second = jwkSet(tokenKey("ES256", "second"));
const URI = "https://idp.example.org/jwks";
const MINUTE = 60_000;

interface Bench {
  readonly source: JwksSource;
  readonly clock: ReturnType<typeof fakeClock>;
  /** URLs asked for. */
  readonly asked: string[];
  readonly failures: string[];
  /** By how much the wall clock is ahead of the other: what the machine has slept, or what was set back. */
  sleptMs: number;
  /** Answers of the next fetches; the last one stays. */
  answers: ((url: string, signal: AbortSignal) => Promise<FetchedDocument>)[];
  /** Waits for what is under way. */
  settle(): Promise<void>;
}

const gives = (text: string, maxAgeMs?: number) => () => Promise.resolve({ text, maxAgeMs });
const fails = () => Promise.reject(new CountersignError("E_JWKS_FETCH", "no connection"));
/** As a fetcher does: silent until the signal says that time is over. */
const hangs = (_: string, signal: AbortSignal): Promise<FetchedDocument> =>
  new Promise((_resolve, reject) => {
    const late = (): void => reject(new CountersignError("E_JWKS_FETCH", "no complete answer in time"));
    signal.addEventListener("abort", late, { once: true });
  });

function bench(answers: Bench["answers"], location: JwksLocation = { kind: "uri", uri: URI }): Bench {
  const clock = fakeClock();
  const asked: string[] = [];
  const failures: string[] = [];
  const made = { clock, asked, failures, answers, sleptMs: 0 } as Bench;
  const source = createJwksSource({
    location,
    clock: { ...clock, nowMs: () => clock.nowMs() + made.sleptMs },
    timeoutMs: () => 5000,
    random: () => 0,
    fetch: (url, signal) => {
      asked.push(url);
      const answer = made.answers.length > 1 ? made.answers.shift() : made.answers[0];
      return (answer ?? fails)(url, signal);
    },
    onLoaded: () => undefined,
    onFailed: ({ code }) => failures.push(code),
  });
  return Object.assign(made, {
    source,
    async settle() {
      await source.pending;
      await Promise.resolve();
    },
  });
}

const kids = ({ source }: Bench): unknown => source.current?.keys.map(({ kid }) => kid);

describe("a source of keys", () => {
  it("fetches at once, and again ahead of need while the old keys still serve", async () => {
    const b = bench([gives(first), gives(second)]);
    expect([kids(b), b.source.pending === undefined]).toEqual([undefined, false]);
    await b.settle();
    expect([kids(b), b.source.state.keys, b.source.state.loadedAtMs]).toEqual([["first"], 1, b.clock.nowMs()]);
    b.clock.advance(16 * MINUTE - 1);
    expect(b.asked).toHaveLength(1);
    b.clock.advance(1);
    expect([b.asked.length, kids(b)]).toEqual([2, ["first"]]);
    await b.settle();
    expect(kids(b)).toEqual(["second"]);
  });

  it.each([
    ["a minute at the least", 0, MINUTE],
    ["what the issuer says", 10 * MINUTE, 10 * MINUTE],
    ["an hour at most", 48 * 60 * MINUTE, 60 * MINUTE],
  ])("keeps them for %s", async (_, maxAgeMs, keptMs) => {
    const b = bench([gives(first, maxAgeMs)]);
    await b.settle();
    b.clock.advance(keptMs * 0.8 - 1);
    expect(b.asked).toHaveLength(1);
    b.clock.advance(1);
    expect(b.asked).toHaveLength(2);
  });

  it("keeps the last good keys through failures, tries again ever more slowly, and says so", async () => {
    const b = bench([gives(first), fails]);
    await b.settle();
    b.clock.advance(16 * MINUTE);
    await b.settle();
    expect(b.source.state).toMatchObject({ keys: 1, fetches: 2, failures: 1, problem: { code: "E_JWKS_FETCH" } });
    for (const waitMs of [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]) {
      const before = b.asked.length;
      b.clock.advance(waitMs - 1);
      expect(b.asked).toHaveLength(before);
      b.clock.advance(1);
      expect(b.asked).toHaveLength(before + 1);
      // oxlint-disable-next-line no-await-in-loop -- one after the other
      await b.settle();
    }
    expect([kids(b), b.failures.length]).toEqual([["first"], 9]);
    b.answers = [gives(second)];
    b.clock.advance(MINUTE);
    await b.settle();
    expect([kids(b), b.source.state.problem]).toEqual([["second"], undefined]);
  });

  it("trusts no keys for longer than a day without a good fetch", async () => {
    const b = bench([gives(first), hangs]);
    await b.settle();
    b.clock.advance(24 * 60 * MINUTE);
    expect(kids(b)).toEqual(["first"]);
    b.clock.advance(1);
    expect(kids(b)).toBeUndefined();
  });

  it("ends a fetch that hangs after its timeout", async () => {
    const b = bench([hangs]);
    b.clock.advance(4999);
    expect(b.failures).toEqual([]);
    b.clock.advance(1);
    await b.settle();
    expect(b.failures).toEqual(["E_JWKS_FETCH"]);
  });

  it("keeps the old keys when the new set is no set", async () => {
    const b = bench([gives(first), gives('{"keys":[]}')]);
    await b.settle();
    b.clock.advance(16 * MINUTE);
    await b.settle();
    expect([kids(b), b.failures]).toEqual([["first"], ["E_JWKS_CONTENT"]]);
  });

  it("asks at most every 30 seconds for a key that is missing, however often", async () => {
    const b = bench([gives(first), gives(second)]);
    await b.settle();
    await b.source.missing();
    expect(b.asked).toHaveLength(1);
    b.clock.advance(30_000);
    await Promise.all([b.source.missing(), b.source.missing()]);
    expect([b.asked.length, kids(b)]).toEqual([2, ["second"]]);
    for (let i = 0; i < 100; i++) void b.source.missing();
    b.clock.advance(29_999);
    void b.source.missing();
    expect(b.asked).toHaveLength(2);
  });

  it("that waits for its time while the machine sleeps fetches when the next token comes", async () => {
    const b = bench([gives(first), gives(second)]);
    await b.settle();
    b.source.wake();
    expect(b.asked).toHaveLength(1);
    b.sleptMs = 25 * 60 * MINUTE;
    expect(kids(b)).toBeUndefined();
    b.source.wake();
    b.source.wake();
    await b.settle();
    expect([b.asked.length, kids(b)]).toEqual([2, ["second"]]);
  });

  it("is not made to fetch by tokens more often than by itself", async () => {
    const b = bench([fails]);
    await b.settle();
    for (let i = 0; i < 100; i++) b.source.wake();
    expect(b.asked).toHaveLength(1);
    b.clock.advance(999);
    b.source.wake();
    expect(b.asked).toHaveLength(1);
  });

  it("trusts no keys for longer than a day when the clock is set back either", async () => {
    const b = bench([gives(first), hangs]);
    await b.settle();
    b.sleptMs = -365 * 24 * 60 * MINUTE;
    b.clock.advance(24 * 60 * MINUTE);
    expect(kids(b)).toEqual(["first"]);
    b.clock.advance(1);
    expect(kids(b)).toBeUndefined();
  });

  describe("whose rules were tightened", () => {
    it("fetches at once, and uses the keys until it knows", async () => {
      const b = bench([gives(first), gives(second)]);
      await b.settle();
      b.source.refetch();
      expect([b.asked.length, kids(b)]).toEqual([2, ["first"]]);
      await b.settle();
      expect(kids(b)).toEqual(["second"]);
    });

    it.each([
      ["fails", fails],
      ["gives no keys", gives("{}")],
    ])("has no keys once that fetch %s, and asks again as ever", async (_, answer) => {
      const b = bench([gives(first), answer, gives(second)]);
      await b.settle();
      b.source.refetch();
      await b.settle();
      expect([kids(b), b.source.state.keys, b.source.state.loadedAtMs]).toEqual([undefined, 0, undefined]);
      b.clock.advance(1000);
      await b.settle();
      expect(kids(b)).toEqual(["second"]);
    });

    it("has none when that fetch takes too long", async () => {
      const b = bench([gives(first), hangs]);
      await b.settle();
      b.source.refetch();
      b.clock.advance(5000);
      await b.settle();
      expect(kids(b)).toBeUndefined();
    });

    it("keeps those of a fetch by the new rules when a later one fails", async () => {
      const b = bench([gives(first), gives(second), fails]);
      await b.settle();
      b.source.refetch();
      await b.settle();
      b.clock.advance(16 * MINUTE);
      await b.settle();
      expect([kids(b), b.failures]).toEqual([["second"], ["E_JWKS_FETCH"]]);
    });

    it("takes nothing of a fetch that began before, and whoever waits for that waits for the new one", async () => {
      const late = Promise.withResolvers<FetchedDocument>();
      let ended = false;
      const b = bench([
        (_, signal) => {
          signal.addEventListener("abort", () => (ended = true), { once: true });
          return late.promise;
        },
        gives(second),
      ]);
      const waiting = b.source.pending;
      b.source.refetch();
      late.resolve({ text: first, maxAgeMs: undefined });
      await waiting;
      expect([ended, kids(b), b.failures, b.clock.pending]).toEqual([true, ["second"], [], 1]);
    });
  });

  it("asks no more once it is closed, and ends what is under way", async () => {
    const b = bench([hangs]);
    const under = b.source.pending;
    b.source.close();
    await under;
    b.source.wake();
    await b.source.missing();
    b.clock.advance(24 * 60 * MINUTE);
    expect([b.asked.length, b.failures, b.clock.pending]).toEqual([1, [], 0]);
  });
});

describe("discovery", () => {
  const issuer = "https://idp.example.org/tenant/";
  const config = (document: object) => gives(JSON.stringify(document));

  it("asks the issuer where its keys are", async () => {
    const b = bench([config({ issuer, jwks_uri: URI }), gives(first)], { kind: "issuer", issuer });
    await b.settle();
    expect(b.asked).toEqual(["https://idp.example.org/tenant/.well-known/openid-configuration", URI]);
    expect(kids(b)).toEqual(["first"]);
  });

  it.each([
    ["of another issuer", config({ issuer: "https://evil.example", jwks_uri: URI }), issuer, "E_JWKS_CONTENT"],
    ["without jwks_uri", config({ issuer }), issuer, "E_JWKS_CONTENT"],
    ["that is null", gives("null"), issuer, "E_JWKS_CONTENT"],
    ["that is no JSON", gives("<html>"), issuer, "E_JWKS_CONTENT"],
    ["of an issuer that is no URL", gives("{}"), "idp", "E_JWKS_FETCH"],
  ])("refuses a document %s", async (_, answer, asked, code) => {
    const b = bench([answer], { kind: "issuer", issuer: asked });
    await b.settle();
    expect([b.failures, kids(b)]).toEqual([[code], undefined]);
  });
});
