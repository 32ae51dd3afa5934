import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { needsPathNormalization, normalizePath } from "./path-normalization.ts";
import type { PathNormalization } from "./policy-options.ts";

const settings: readonly PathNormalization[] = ["NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"];

/** Paths made of the pieces that normalisation is about. */
const path = fc
  .array(
    fc.constantFrom(
      "/",
      "//",
      "a",
      ".",
      "..",
      "%2e",
      "%2E",
      "%2f",
      "%5C",
      "\\",
      "%61",
      "%25",
      ";",
      "%",
      "%4",
      "é",
      "~",
    ),
    {
      maxLength: 14,
    },
  )
  .map((pieces) => `/${pieces.join("")}`);

describe("needsPathNormalization", () => {
  it.each([
    ["/", false],
    ["/a/b.c/d..e", false],
    ["/a.", false],
    ["/a/..b", true],
    ["/.well-known/x", true],
    ["/a//b", true],
    ["/a%20b", true],
    ["/a\\b", true],
    ["/a#b", true],
    ["*", false],
    ["", false],
  ])("%s: %s", (text, needed) => {
    expect(needsPathNormalization(text)).toBe(needed);
  });

  it("is true for every path that some setting changes or refuses", () => {
    fc.assert(
      fc.property(
        path,
        fc.constantFrom(...settings),
        fc.constantFrom("strict" as const, "istio" as const),
        (text, setting, mode) => {
          const normal = normalizePath(text, "", setting, mode);
          if (!normal.ok || normal.path !== text) expect(needsPathNormalization(text)).toBe(true);
        },
      ),
    );
  });
});

describe("normalizePath", () => {
  it("gives strict paths that it would not change again, without dot segments or backslashes", () => {
    fc.assert(
      fc.property(path, fc.constantFrom(...settings.slice(1)), (text, setting) => {
        const normal = normalizePath(text, "", setting, "strict");
        if (!normal.ok) return;
        expect(normalizePath(normal.path, "", setting, "strict")).toEqual(normal);
        expect(normal.path).toMatch(/^\//);
        expect(normal.path.split("/")).not.toContain("..");
        expect(normal.path.split("/")).not.toContain(".");
        expect(normal.path).not.toContain("\\");
        if (setting !== "BASE") expect(normal.path).not.toContain("//");
      }),
      { numRuns: 2000 },
    );
  });

  it("agrees with the URL parser about dot segments and backslashes", () => {
    const piece = fc.constantFrom("/", "a", ".", "..", "%2e", "\\", "b");
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const text = `/${pieces.join("")}`;
        const normal = normalizePath(text, "", "BASE", "istio");
        expect(normal.ok ? normal.path : "").toBe(new URL(`http://h${text.replace(/%2e/g, ".")}`).pathname);
      }),
      { numRuns: 2000 },
    );
  });

  it.each([
    ["/a%2", "E_PATH_ESCAPE"],
    ["/a%", "E_PATH_ESCAPE"],
    ["/a%g1", "E_PATH_ESCAPE"],
    ["/a%00b", "E_PATH_NUL"],
    ["/a#", "E_PATH_FRAGMENT"],
  ])("refuses %s with %s", (text, code) => {
    expect(normalizePath(text, "", "MERGE_SLASHES", "strict")).toMatchObject({ ok: false, code });
  });

  it("never shows the path in a reason", () => {
    const refused = normalizePath("/secret%00", "", "BASE", "strict");
    expect(refused.ok ? "" : refused.reason).not.toContain("secret");
  });
});
