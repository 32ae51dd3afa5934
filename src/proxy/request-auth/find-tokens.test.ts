import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { JwtRuleModel } from "../../authz/authentication-model.ts";
import type { Fields } from "../http1/http1-events.ts";
import { type EditedRequest, findTokens, stripToken } from "./find-tokens.ts";

const PLACES = {
  fromHeaders: [{ name: "authorization", prefix: "Bearer " }],
  fromParams: ["access_token"],
  fromCookies: [] as string[],
};
const rule = (places: Partial<typeof PLACES> = {}): JwtRuleModel =>
  ({ ...PLACES, ...places }) as unknown as JwtRuleModel;
const fields = (...lines: (readonly [string, string])[]): Fields => ({
  raw: lines.flat(),
  lower: lines.map(([name]) => name.toLowerCase()),
});
const none = { fromHeaders: [], fromParams: [], fromCookies: [] };
const tokens = (model: JwtRuleModel, head: Fields, query = "", strict = true): string[] =>
  findTokens(model, head, query, strict).map(({ token }) => token);

describe("a token in a header", () => {
  it.each([
    ["Bearer abc", ["abc"], ["abc"]],
    ["bearer abc", ["abc"], []],
    ["BEARER\tabc", ["abc"], []],
    ["Bearer   abc", ["abc"], [""]],
    ["Bearer", [""], []],
    ["Bearerabc", [], []],
    ["Basic Bearer abc", [], ["abc"]],
    ["Basic YWJj", [], []],
    ["Bearer abc, Bearer def", ["abc, Bearer def"], ["abc"]],
  ])("%s", (value, strict, istio) => {
    const head = fields(["Authorization", value]);
    expect([tokens(rule(), head), tokens(rule(), head, "", false)]).toEqual([strict, istio]);
  });

  it("may have a prefix of its own, or none", () => {
    const own = rule({ ...none, fromHeaders: [{ name: "x-jwt", prefix: "jwt " }] });
    const bare = rule({ ...none, fromHeaders: [{ name: "x-jwt", prefix: "" }] });
    expect(tokens(own, fields(["X-Jwt", "jwt abc"], ["x-jwt", "JWT def"]))).toEqual(["abc"]);
    expect(tokens(bare, fields(["X-Jwt", "abc"], ["X-Other", "def"]))).toEqual(["abc"]);
  });
});

describe("a token in the query", () => {
  it.each([
    ["", []],
    ["?", []],
    ["?access_token=abc", ["abc"]],
    ["?a=1&access_token=a%2Db+c", ["a-b c"]],
    ["?access%5Ftoken=abc", ["abc"]],
    ["?access_token", [""]],
    ["?access_token=a&access_token=b", ["a", "b"]],
    ["?Access_Token=abc", []],
    ["?x_access_token=abc", []],
    ["?a=access_token=abc", []],
    ["?access_token=%zz", ["%zz"]],
  ])("%s", (query, found) => {
    expect(tokens(rule(), fields(), query)).toEqual(found);
  });
});

describe("a token in a cookie", () => {
  const model = rule({ ...none, fromCookies: ["session"] });
  it.each([
    ["session=abc", ["abc"]],
    ["a=1; session=abc; b=2", ["abc"]],
    ['session="abc"', ["abc"]],
    ["session=a; session=b", ["a", "b"]],
    ["xsession=abc", []],
    ["session", []],
    ["a=session=abc", []],
  ])("%s", (value, found) => {
    expect(tokens(model, fields(["Cookie", value]))).toEqual(found);
  });

  it("is found on every line", () => {
    expect(tokens(model, fields(["cookie", "session=a"], ["cookie", "session=b"]))).toEqual(["a", "b"]);
  });
});

const name = fc.stringMatching(/^[a-z0-9._%-]{1,8}$/);
const text = fc.stringMatching(/^[A-Za-z0-9._%+=-]{0,8}$/);

it("stripping takes every token out, and nothing else", () => {
  const model = rule({ ...PLACES, fromCookies: ["session"] });
  const pair = fc.oneof(
    fc.tuple(name, text).map(([key, value]) => `${key}=${value}`),
    fc.constantFrom("access_token=abc", "access%5Ftoken=abc", "access_token", ""),
  );
  const crumb = fc.oneof(
    fc.tuple(name, text).map(([key, value]) => `${key}=${value}`),
    fc.constantFrom("session=abc", "session="),
  );
  const line = fc.oneof(
    fc.array(crumb, { minLength: 1, maxLength: 4 }).map((crumbs) => ["Cookie", crumbs.join("; ")] as const),
    fc.constantFrom(
      ["Authorization", "Bearer abc"] as const,
      ["Authorization", "Basic x"] as const,
      ["X-A", "1"] as const,
    ),
  );
  fc.assert(
    fc.property(fc.array(pair, { maxLength: 5 }), fc.array(line, { maxLength: 5 }), (pairs, lines) => {
      const query = pairs.length === 0 ? "" : `?${pairs.join("&")}`;
      const head = fields(...lines);
      const request: EditedRequest = { raw: [...head.raw], lower: [...head.lower], query };
      const found = findTokens(model, head, query, true);
      for (const { place } of found) stripToken(request, place);
      expect(findTokens(model, request, request.query, true)).toEqual([]);
      const isToken = (one: string): boolean => tokens(model, fields(), `?${one}`).length > 0;
      expect(request.query.slice(1).split("&").join("&")).toBe(
        found.some(({ place }) => place.kind === "param")
          ? pairs.filter((one) => !isToken(one)).join("&")
          : pairs.join("&"),
      );
      const others = lines.filter(([key, value]) => key !== "Cookie" && value !== "Bearer abc");
      const left = request.lower.flatMap((key, at) =>
        key === "cookie" ? [] : [[request.raw[at * 2], request.raw[at * 2 + 1]]],
      );
      expect(left).toEqual(others.map((one) => [...one]));
    }),
    { numRuns: 500 },
  );
});
