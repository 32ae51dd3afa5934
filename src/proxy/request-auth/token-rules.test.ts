import { describe, expect, it } from "vitest";
import { fakeClock } from "../../../test/support/fake-clock.ts";
import { jwtRule } from "../../../test/support/jwt-rule.ts";
import { jwkSet, token, tokenKey } from "../../../test/support/token-issuer.ts";
import type { JwtRuleModel } from "../../authz/authentication-model.ts";
import { readUnverifiedJwt } from "../../certs/jwt/read-jwt.ts";
import { CountersignError } from "../../core/errors.ts";
import { type AdoptOptions, createKeySources, type KeySources, type TokenRules } from "./token-rules.ts";
import { verifyByRule } from "./verify-token.ts";

const key = tokenKey("ES256", "a");
const later = tokenKey("ES256", "b");
const nameless = tokenKey("ES256");
const MINUTE = 60_000;

interface Bench {
  readonly sources: KeySources;
  readonly clock: ReturnType<typeof fakeClock>;
  /** What the issuer publishes; undefined: it cannot be reached. */
  published: string | undefined;
  sleptMs: number;
  fetches: number;
  adopt(models: readonly JwtRuleModel[], terms?: Partial<AdoptOptions>): TokenRules;
  settle(): Promise<void>;
}

function bench(published: string | undefined = jwkSet(key)): Bench {
  const clock = fakeClock();
  let rules: TokenRules | undefined;
  const made: Bench = {
    clock,
    published,
    sleptMs: 0,
    fetches: 0,
    sources: createKeySources({
      clock: { ...clock, nowMs: () => clock.nowMs() + made.sleptMs },
      random: () => 0,
      onLoaded: () => undefined,
      onFailed: () => undefined,
    }),
    adopt(models, terms = {}) {
      rules = made.sources.adopt(models, {
        strict: true,
        addresses: ["10.0.0.0/8"],
        ca: undefined,
        fetch: () => {
          made.fetches++;
          return made.published === undefined
            ? Promise.reject(new CountersignError("E_JWKS_FETCH", "no connection"))
            : Promise.resolve({ text: made.published, maxAgeMs: undefined });
        },
        ...terms,
      });
      if (rules === undefined) throw new TypeError("there are rules");
      return rules;
    },
    async settle() {
      await Promise.all(rules?.rules.map(({ keys }) => keys.pending ?? Promise.resolve()) ?? []);
    },
  };
  return made;
}

/** Who a token is by the first rule, or the code of why it is nobody. */
async function verdict({ rules: [rule], clock, strict }: TokenRules, text: string): Promise<unknown> {
  if (rule === undefined) throw new TypeError("there is a rule");
  return verifyByRule(rule, readUnverifiedJwt(text), strict, clock.nowMs()).then(
    ({ sub }) => sub,
    (error: unknown) => (error instanceof CountersignError ? error.code : error),
  );
}

describe("the keys of an issuer", () => {
  it("outlive a change of everything but where they are", async () => {
    const b = bench();
    b.adopt([jwtRule()]);
    await b.settle();
    b.published = undefined;
    const changed = jwtRule({ timeoutMs: 6000, forwardOriginalToken: true, audiences: ["orders", "more"] });
    const rules = b.adopt([changed, jwtRule({ timeoutMs: 1000 })], { addresses: ["10.0.0.0/8", "127.0.0.0/8"] });
    expect([await verdict(rules, token(key, {}, {}, b.clock.nowMs())), b.fetches]).toEqual(["alice", 1]);
    expect(b.sources.states).toHaveLength(1);
  });

  it("are waited for as long as the most patient rule says", () => {
    const b = bench();
    const hangs = (_: string, signal: AbortSignal): Promise<never> =>
      new Promise((_resolve, reject) =>
        signal.addEventListener("abort", () => reject(new Error("late")), { once: true }),
      );
    let ended = false;
    const rules = b.adopt([jwtRule({ timeoutMs: 1000 }), jwtRule({ timeoutMs: 3000 })], {
      fetch: (url, signal) => {
        signal.addEventListener("abort", () => (ended = true), { once: true });
        return hangs(url, signal);
      },
    });
    b.clock.advance(2999);
    expect([ended, rules.rules[0]?.keys === rules.rules[1]?.keys]).toEqual([false, true]);
    b.clock.advance(1);
    expect(ended).toBe(true);
  });

  it.each([
    ["addresses", { addresses: [] }],
    ["authorities", { ca: "idp.pem" }],
  ])("that other %s had fetched are gone where these cannot", async (_, terms) => {
    const b = bench();
    b.adopt([jwtRule()]);
    await b.settle();
    b.published = undefined;
    const rules = b.adopt([jwtRule()], terms);
    const text = token(key, {}, {}, b.clock.nowMs());
    expect([b.fetches, rules.rules[0]?.keys.current === undefined]).toEqual([2, false]);
    await b.settle();
    expect(await verdict(rules, text)).toBe("E_JWKS_UNAVAILABLE");
    b.published = jwkSet(key);
    b.clock.advance(MINUTE);
    await b.settle();
    expect(await verdict(rules, text)).toBe("alice");
  });

  it("are there again for the first token after the machine has slept for more than a day", async () => {
    const b = bench();
    const rules = b.adopt([jwtRule()]);
    await b.settle();
    b.sleptMs = 25 * 60 * MINUTE;
    expect(await verdict(rules, token(key, {}, {}, rules.clock.nowMs()))).toBe("alice");
    expect(b.fetches).toBe(2);
  });
});

describe("a token whose kid is not in the set", () => {
  it("is tried with keys that have none, and waits for no fetch if one of them signed it", async () => {
    const b = bench(jwkSet(nameless));
    const rules = b.adopt([jwtRule()]);
    await b.settle();
    b.clock.advance(MINUTE);
    const text = token(nameless, {}, { kid: "named" }, b.clock.nowMs());
    expect([await verdict(rules, text), b.fetches]).toEqual(["alice", 1]);
  });

  it.each([
    ["keys that have one", jwkSet(key)],
    ["a key that has none", jwkSet(nameless)],
    ["a key of another kind that has none", jwkSet(tokenKey("EdDSA"))],
  ])("has the set fetched anew, once in 30 s, where that held %s", async (_, before) => {
    const b = bench(before);
    const rules = b.adopt([jwtRule()]);
    await b.settle();
    const text = token(later, {}, {}, b.clock.nowMs());
    expect([["E_JWT_KEY_UNKNOWN", "E_JWT_SIGNATURE"].includes(String(await verdict(rules, text))), b.fetches]).toEqual([
      true,
      1,
    ]);
    b.published = jwkSet(nameless, later);
    b.clock.advance(MINUTE);
    expect([await verdict(rules, text), b.fetches]).toEqual(["alice", 2]);
    const unknown = token(later, {}, { kid: "nobody's" }, b.clock.nowMs());
    expect([await verdict(rules, unknown), b.fetches]).toEqual(["E_JWT_SIGNATURE", 2]);
  });

  it("is none of an issuer that cannot be asked", async () => {
    const b = bench(jwkSet(nameless));
    const rules = b.adopt([jwtRule()]);
    await b.settle();
    b.published = undefined;
    b.clock.advance(MINUTE);
    expect(await verdict(rules, token(later, {}, {}, b.clock.nowMs()))).toBe("E_JWT_SIGNATURE");
    expect(b.fetches).toBe(2);
  });
});
