import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { normalizePath } from "./path-normalization.ts";
import { compilePathTemplate, isPathTemplate, matchesPathTemplate, pathTemplateProblem } from "./path-template.ts";
import { comparedPathValue, cutEscapeValues, deadPathValue } from "./path-value.ts";
import type { PathNormalization, PolicyMode } from "./policy-options.ts";
import { inTextSet, parseTextPattern, textSet } from "./text-pattern.ts";

const strict = { mode: "strict", pathNormalization: "MERGE_SLASHES" } as const;
const istio = { mode: "istio", pathNormalization: "BASE" } as const;

describe("a path value", () => {
  it.each([
    "/",
    "/a",
    "*",
    "/a/",
    "/files/.*",
    "/files/..*",
    "/.*",
    "/a/%2*",
    "/a/%*",
    "/caf%c3%a9",
    "/caf%c3*",
    "*.secret",
    "*..",
    "*a9",
    "*/b",
    "/a/{*}/b",
    "/a/{**}",
    "/store/{**}/cart",
    "/.well-known/{*}",
  ])("that some request has is no warning: %s", (value) => {
    expect(deadPathValue(value, strict)).toBeUndefined();
    expect(deadPathValue(value, istio)).toBeUndefined();
  });

  it.each([
    ["/a//b", "/a/b"],
    ["/a//*", "/a/*"],
    ["/a/../b/.*", "/b/.*"],
    ["/a/./*", "/a/*"],
    ["/a/%41*", "/a/A*"],
    ["/a/%41%2*", "/a/A%2*"],
    ["/a\\*", "/a/*"],
    ["*//secret", "*/secret"],
    ["*/%41", "*/A"],
    ["*\\a", "*/a"],
    ["/admin//{*}", "/admin/{*}"],
    ["/a/../{*}/b", "/{*}/b"],
    ["/%41/{**}/x", "/A/{**}/x"],
  ])("that normalisation gives to no request has its plain form: %s, %s", (value, plain) => {
    expect(deadPathValue(value, strict)).toMatchObject({ plain, fix: `write ${JSON.stringify(plain)}` });
  });

  it.each([
    ["/my files/*", "/my%20files/*"],
    ["/münchen/*", "/m%C3%BCnchen/*"],
    ["/café//x", "/caf%C3%A9/x"],
    ["*é", "*%C3%A9"],
    ["/\ud800", "/%EF%BF%BD"],
  ])("with a character that no request target has is to be escaped: %s, %s", (value, escaped) => {
    const dead = { fix: `write ${JSON.stringify(escaped)}`, plain: undefined };
    expect(deadPathValue(value, strict)).toMatchObject(dead);
    expect(deadPathValue(value, { ...istio, pathNormalization: "MERGE_SLASHES" })).toMatchObject(dead);
  });

  it.each(["*/../a", "*/..", "/{*}/../b", "/a%00", "/a%00*", "*%zz", "/a%zz/{*}"])(
    "that has no plain form offers none: %s",
    (value) => {
      expect(deadPathValue(value, strict)).toMatchObject({ plain: undefined });
    },
  );

  it.each([
    ["/a%2fb", 'write "/a/b"'],
    ["/a%2fb", '"/a*"'],
    ["/repo/group%2F*", 'write "/repo/group/*"'],
    ["/p;v=1", 'write "/p", for paths without it'],
    ["/p;v=1", 'only what is wider, "/p*", lets paths with it pass'],
    ["/matrix;v=1/*", 'write "/matrix/*"'],
    ["/a%5Cb/{*}", 'write "/a/b/{*}"'],
    ["/{*}/b;c", "without it"],
    ["*;v=1", "without it"],
    ["/a/%252e%252e/b", "remove it"],
    ["/a/..%252F*", "remove it"],
  ])("that names what strict refuses is warned about there alone: %s", (value, fix) => {
    const dead = deadPathValue(value, strict);
    expect(dead?.problem).toContain("E_PATH_AMBIGUOUS");
    expect(dead?.fix).toContain(fix);
    expect(deadPathValue(value, istio)).toBeUndefined();
  });

  it("is compared with its escapes in capitals where requests have them so", () => {
    expect(comparedPathValue("/caf%c3%a9/%e*", strict)).toBe("/caf%C3%A9/%E*");
    expect(comparedPathValue("/caf%c3", { ...strict, pathNormalization: "NONE" })).toBe("/caf%c3");
    expect(comparedPathValue("/caf%c3", istio)).toBe("/caf%c3");
  });

  it.each([
    ["*a9", ["*%A9"]],
    ["*c3%A9/x", ["*%C3%A9/x"]],
    ["*%C3%A9", []],
    ["*A9", []],
    ["*61", []],
    ["*6a", []],
    ["*.secret", []],
    ["/c3*", []],
  ])("that may begin inside an escape is also compared as that: %s, %j", (value, others) => {
    expect(cutEscapeValues(value, strict)).toEqual(others);
    expect(cutEscapeValues(value, { ...strict, pathNormalization: "NONE" })).toEqual([]);
    expect(cutEscapeValues(value, istio)).toEqual([]);
  });

  it("that begins with what may be an escape's second digit is compared as each of those", () => {
    expect(cutEscapeValues("*a/x", strict)).toEqual(expect.arrayContaining(["*%0A/x", "*%AA/x", "*%FA/x"]));
    expect(cutEscapeValues("*a/x", strict)).not.toContain("*%4A/x");
    expect(cutEscapeValues("*able", strict)).toEqual(["*%ABle"]);
  });

  it("that is called dead matches no path that normalisation makes, and its plain form is not dead", () => {
    const pieces = "/ / / . .. a x %41 %2F %5c %61 % %2 %e9 \\ ; b {*} {**} é".split(" ");
    const text = fc.array(fc.constantFrom(...pieces), { maxLength: 6 }).map((some) => some.join(""));
    const ends = fc.constantFrom(["/", ""], ["/", "*"], ["*", ""]);
    const options = fc.record({
      mode: fc.constantFrom<PolicyMode>("strict", "istio"),
      pathNormalization: fc.constantFrom<PathNormalization>("BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"),
    });
    const requests = fc.array(text, { minLength: 30, maxLength: 30 });
    const seen = { dead: 0, matched: 0 };
    fc.assert(
      fc.property(text, ends, options, requests, (inner, [before, behind], asked, others) => {
        const value = `${before}${inner}${behind}`;
        if (pathTemplateProblem(value) !== undefined) return;
        const dead = deadPathValue(value, asked);
        if (dead?.plain !== undefined) expect(deadPathValue(dead.plain, asked)).toBeUndefined();
        const compared = comparedPathValue(value, asked);
        const literal = value.replaceAll("*", "").replaceAll(/[{}]/g, "");
        for (const other of ["", literal, `a${literal}`, `${literal}x`, ...others.map((some) => `${some}${literal}`)]) {
          const normal = normalizePath(`/${other}`, "", asked.pathNormalization, asked.mode);
          if (!normal.ok || /[^\x21-\x7e]/.test(other)) continue;
          if (asked.mode === "strict" && /;|%2f|%5c/i.test(normal.path)) continue;
          const matches = isPathTemplate(value)
            ? matchesPathTemplate(compilePathTemplate(compared, asked.mode === "istio"), normal.path)
            : inTextSet(textSet([parseTextPattern(compared)]), normal.path);
          if (dead !== undefined) expect(matches, `${value} is dead, and matches ${normal.path}`).toBe(false);
          else if (matches) seen.matched++;
        }
        if (dead !== undefined) seen.dead++;
      }),
      { numRuns: 3000 },
    );
    expect(Math.min(seen.dead, seen.matched)).toBeGreaterThan(500);
  });
});
