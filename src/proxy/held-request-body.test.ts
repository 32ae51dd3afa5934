import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { BodyInCheck } from "./ext-authz/provider.ts";
import { HeldBodies } from "./held-bodies.ts";
import { HeldRequestBody } from "./held-request-body.ts";

const LATE_MS = 1_000;
const TEN: BodyInCheck = { maxBytes: 10, allowPartial: false };
const FIRST_TEN: BodyInCheck = { maxBytes: 10, allowPartial: true };

const never = (): void => {
  throw new Error("given up");
};

function held(announced?: number, all = new HeldBodies(1_000_000)): HeldRequestBody {
  return new HeldRequestBody(announced, never, all);
}

/** What has come by now, or undefined while more is awaited. */
async function settled(body: HeldRequestBody, wanted: BodyInCheck, came: Promise<unknown>): Promise<unknown> {
  if (body.isAwaited) return undefined;
  const problem = await came;
  if (problem instanceof Error) return "code" in problem ? problem.code : problem;
  const { bytes, isPartial } = body.view(wanted);
  return [bytes.toString("latin1"), isPartial];
}

function passed(body: HeldRequestBody): readonly string[] {
  const got: string[] = [];
  body.passTo({ congested: false, data: (chunk) => got.push(Buffer.from(chunk).toString("latin1")) });
  return got;
}

describe("a body is awaited until a provider can be asked", () => {
  const END = "end";
  const DIGITS = "0123456789";
  it.each<readonly [string, BodyInCheck, number | undefined, readonly string[], unknown]>([
    ["nothing has come", TEN, undefined, [], undefined],
    ["some, and no end", TEN, undefined, ["abc"], undefined],
    ["some of what was announced", TEN, 5, ["abc"], undefined],
    ["all that was announced, before its end", TEN, 5, ["abc", "de"], ["abcde", false]],
    ["its end", TEN, undefined, ["abc", END], ["abc", false]],
    ["its end, and nothing before it", TEN, undefined, [END], ["", false]],
    ["as much as the provider takes, and no end", TEN, undefined, [DIGITS], undefined],
    ["as much, and its end", TEN, undefined, [DIGITS, END], [DIGITS, false]],
    ["a byte more", TEN, undefined, [DIGITS, "a"], "E_EXT_AUTHZ_BODY_TOO_LARGE"],
    ["more at once", TEN, undefined, [`${DIGITS}abc`, END], "E_EXT_AUTHZ_BODY_TOO_LARGE"],
    ["partial: less", FIRST_TEN, undefined, ["abc"], undefined],
    ["partial: less, and its end", FIRST_TEN, undefined, ["abc", END], ["abc", false]],
    ["partial: as much, and who knows whether more follows", FIRST_TEN, undefined, [DIGITS], [DIGITS, true]],
    ["partial: as much, and its end", FIRST_TEN, undefined, [DIGITS, END], [DIGITS, false]],
    ["partial: as much, which is all that was announced", FIRST_TEN, 10, [DIGITS], [DIGITS, false]],
    ["partial: as much of what was announced", FIRST_TEN, 11, [DIGITS], [DIGITS, true]],
    ["partial: more", FIRST_TEN, undefined, ["012345678", "9abc"], [DIGITS, true]],
    ["partial: more, and its end", FIRST_TEN, undefined, [`${DIGITS}abc`, END], [DIGITS, true]],
  ])("%s", async (_, wanted, announced, events, expected) => {
    const body = held(announced);
    const came = body.waitFor(wanted, LATE_MS);
    for (const event of events) {
      if (event === END) body.end();
      else expect(body.push(Buffer.from(event))).toBe(true);
    }
    expect(body.deadlineMs).toBe(expected === undefined ? LATE_MS : Number.POSITIVE_INFINITY);
    expect(await settled(body, wanted, came)).toEqual(expected);
    expect(passed(body).join("")).toBe(events.filter((event) => event !== END).join(""));
  });
});

describe("a held body", () => {
  it("is shown again to a provider that takes less, and grows for one that takes more", async () => {
    const body = held();
    const first = body.waitFor(FIRST_TEN, LATE_MS);
    body.push(Buffer.from("0123456789ab"));
    expect(await settled(body, FIRST_TEN, first)).toEqual(["0123456789", true]);
    const three = { maxBytes: 3, allowPartial: true };
    expect(await settled(body, three, body.waitFor(three, LATE_MS))).toEqual(["012", true]);
    const more = { maxBytes: 100, allowPartial: false };
    const whole = body.waitFor(more, LATE_MS);
    expect(await settled(body, more, whole)).toBeUndefined();
    body.push(Buffer.from("cd"));
    body.end();
    expect(await settled(body, more, whole)).toEqual(["0123456789abcd", false]);
    expect(passed(body)).toEqual(["0123456789abcd"]);
  });

  it("shows bytes that stay as they are while it grows", async () => {
    const body = held();
    void body.waitFor(FIRST_TEN, LATE_MS);
    body.push(Buffer.from("0123456789"));
    const { bytes } = body.view(FIRST_TEN);
    for (let round = 0; round < 3; round++) body.push(Buffer.alloc(5_000, "x"));
    expect(bytes.toString()).toBe("0123456789");
  });

  it("does not keep the chunks that it was given", () => {
    const body = held();
    const chunk = Buffer.from("abc");
    body.push(chunk);
    chunk.fill("x");
    expect(passed(body)).toEqual(["abc"]);
  });

  it("is handed on in pieces, in order, and once", () => {
    const body = held();
    const bytes = Buffer.from(Array.from({ length: 200_000 }, (_, at) => at % 251));
    body.push(bytes);
    const pieces = passed(body);
    expect(pieces.map((piece) => piece.length)).toEqual([65_536, 65_536, 65_536, 3_392]);
    expect(pieces.join("")).toBe(bytes.toString("latin1"));
    expect(passed(body)).toEqual([]);
  });

  it("is handed on only as far as the upstream takes it, and held until then", () => {
    const all = new HeldBodies(1_000_000);
    const body = held(200_000, all);
    body.push(Buffer.alloc(200_000, "abc"));
    const got: string[] = [];
    const upstream = { congested: false, data: (chunk: Uint8Array) => void got.push(Buffer.from(chunk).toString()) };
    const once = {
      get congested() {
        return upstream.congested;
      },
      data(chunk: Uint8Array) {
        upstream.data(chunk);
        upstream.congested = true;
      },
    };
    expect([body.passTo(once), got.length, all.taken]).toEqual([false, 1, 200_000]);
    expect([body.passTo(once), got.length]).toEqual([false, 1]);
    upstream.congested = false;
    expect([body.passTo(once), got.length, all.taken]).toEqual([false, 2, 200_000]);
    upstream.congested = false;
    expect(body.passTo(upstream)).toBe(true);
    expect([got.join(""), all.taken]).toEqual([Buffer.alloc(200_000, "abc").toString(), 0]);
  });

  it("is shown and handed on as it came, however it came", () => {
    const pieces = fc.array(fc.uint8Array({ maxLength: 9_000 }), { maxLength: 12 });
    fc.assert(
      fc.property(pieces, fc.integer({ min: 1, max: 40_000 }), fc.boolean(), (chunks, maxBytes, announces) => {
        const whole = Buffer.concat(chunks);
        const all = new HeldBodies(1_000_000);
        const body = held(announces ? whole.length : undefined, all);
        for (const chunk of chunks) body.push(chunk);
        body.end();
        const { bytes, isPartial } = body.view({ maxBytes });
        expect(bytes.equals(whole.subarray(0, maxBytes))).toBe(true);
        expect(isPartial).toBe(whole.length > maxBytes);
        expect(all.taken).toBeLessThanOrEqual(Math.max(4_096, 2 * whole.length));
        expect(passed(body).join("")).toBe(whole.toString("latin1"));
        expect(all.taken).toBe(0);
      }),
      { numRuns: 200 },
    );
  });

  it("takes little for bytes that come one by one, and gives it back", () => {
    const all = new HeldBodies(1_000_000);
    const body = held(undefined, all);
    for (let count = 0; count < 100_000; count++) body.push(Buffer.from("a"));
    expect(all.taken).toBe(131_072);
    body.drop();
    body.drop();
    expect(all.taken).toBe(0);
  });

  it("takes no more than was announced", () => {
    const all = new HeldBodies(1_000_000);
    const body = held(5_000, all);
    body.push(Buffer.alloc(4_000));
    body.push(Buffer.alloc(1_000));
    expect(all.taken).toBe(5_000);
  });

  it("is waited for by one provider at a time", () => {
    const body = held();
    void body.waitFor(TEN, LATE_MS);
    expect(() => body.waitFor(FIRST_TEN, LATE_MS)).toThrow(TypeError);
  });

  it("ends whoever waits for it when its call ends", async () => {
    const all = new HeldBodies(1_000_000);
    const body = held(undefined, all);
    const came = body.waitFor(TEN, LATE_MS);
    body.push(Buffer.from("abc"));
    body.drop();
    expect(await came).toMatchObject({ code: "E_CALLER_GONE" });
    expect([all.taken, all.waiting.size]).toEqual([0, 0]);
  });
});

describe("all held bodies together", () => {
  const FIRST_KIB: BodyInCheck = { maxBytes: 1_024, allowPartial: true };
  function holders(all: HeldBodies, sizes: readonly number[], wanted: BodyInCheck) {
    const ended: number[] = [];
    const bodies = sizes.map((size, at) => {
      const body: HeldRequestBody = new HeldRequestBody(
        undefined,
        () => {
          ended.push(at);
          body.drop();
        },
        all,
      );
      void body.waitFor(wanted, LATE_MS);
      expect(body.push(Buffer.alloc(size))).toBe(true);
      return body;
    });
    return { ended, bodies };
  }

  it("find room by ending the call that has waited longest and holds as much", () => {
    const all = new HeldBodies(32_768);
    const { ended } = holders(all, [4_000, 12_000, 12_000], { maxBytes: 100_000, allowPartial: false });
    const one = held(undefined, all);
    expect(one.push(Buffer.alloc(8_000))).toBe(true);
    expect(ended).toEqual([1]);
    expect(all.taken).toBe(4_096 + 12_000 + 8_000);
  });

  it("end no call whose caller has sent what was wanted", () => {
    const all = new HeldBodies(16_384);
    const { ended } = holders(all, [8_000, 8_000], FIRST_KIB);
    expect(held(undefined, all).push(Buffer.alloc(8_000))).toBe(false);
    expect([ended, all.taken]).toEqual([[], 16_000]);
  });

  it("end no call for nothing", () => {
    const all = new HeldBodies(16_384);
    const { ended } = holders(all, [100, 100], FIRST_KIB);
    expect(held(undefined, all).push(Buffer.alloc(9_000))).toBe(false);
    expect(ended).toEqual([]);
  });

  it("do not let the one that has waited longest grow at the cost of those that came later", () => {
    const all = new HeldBodies(16_384);
    const { ended, bodies } = holders(all, [8_000, 8_000], { maxBytes: 100_000, allowPartial: false });
    expect(bodies[0]?.push(Buffer.alloc(1_000))).toBe(false);
    expect(ended).toEqual([]);
  });
});
