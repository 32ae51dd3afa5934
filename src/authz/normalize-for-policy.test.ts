import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { strictPolicyOptions } from "../../test/support/strict-policy-options.ts";
import type { CompiledPolicy } from "./compiled-policy.ts";
import { loadPolicies } from "./load-policies.ts";
import { checkOutboundPath, normalizeForPolicy } from "./normalize-for-policy.ts";
import { compilePathTemplate, isPathTemplate, matchesPathTemplate } from "./path-template.ts";
import { inTextSet, parseTextPattern, textSet } from "./text-pattern.ts";

const VALUES = ["/admin", "/admin/*", "/public/*", "/a/{*}", "/a/{**}/b", "*.secret", "/a/b"];

function policyAbout(paths: readonly string[], direction: "INBOUND" | "OUTBOUND"): CompiledPolicy {
  const spec = { direction, action: "DENY", rules: [{ to: [{ operation: { paths } }] }] };
  const metadata = { name: "p", namespace: "shop" };
  const text = JSON.stringify({ apiVersion: "countersign.dev/v1", kind: "AuthorizationPolicy", metadata, spec });
  return loadPolicies([{ file: "p.yaml", text }], strictPolicyOptions()).policy;
}

function matches(value: string, path: string): boolean {
  if (isPathTemplate(value)) return matchesPathTemplate(compilePathTemplate(value, false), path);
  return inTextSet(textSet([parseTextPattern(value)]), path);
}

/** Segments without "." and "..", `keepEmpty`: an empty one counts as one that ".." takes back. */
function resolve(path: string, keepEmpty: boolean): string {
  const kept: string[] = [];
  const segments = path.split("/").slice(1);
  for (const [i, segment] of segments.entries()) {
    const isLast = i === segments.length - 1;
    if (segment === "..") kept.pop();
    if (segment === "." || segment === "..") {
      if (isLast) kept.push("");
    } else if (segment !== "" || isLast || keepEmpty) kept.push(segment);
  }
  return `/${kept.join("/")}`.replaceAll(/\/{2,}/g, "/");
}

const decodeDots = (path: string) => path.replaceAll(/%2e/gi, ".");
const decodeSlashes = (path: string) => decodeDots(path).replaceAll(/%2f/gi, "/");
const decodeAll = (path: string) => decodeSlashes(path).replaceAll(/%5c|\\/gi, "/");
const withoutParameters = (path: string) => path.replaceAll(/;[^/]*/g, "");

/** What servers make of a path. A backslash that is one character of a segment stays encoded here: no value has one. */
const APPS: Readonly<Record<string, (path: string) => string>> = {
  "as it came": decodeDots,
  "RFC 3986": (path) => resolve(decodeDots(path), true),
  nginx: (path) => resolve(decodeSlashes(path), false),
  "nginx, slashes not merged": (path) => resolve(decodeSlashes(path), true),
  WSGI: (path) => decodeSlashes(path),
  "WHATWG, then a servlet": (path) => resolve(decodeDots(withoutParameters(path.replaceAll("\\", "/"))), false),
  "WHATWG that resolves, then a servlet": (path) =>
    resolve(withoutParameters(resolve(decodeDots(path.replaceAll("\\", "/")), true)), false),
  IIS: (path) => resolve(decodeAll(path), false),
  "IIS, which removes nothing": (path) => decodeAll(path),
  Tomcat: (path) => resolve(decodeDots(withoutParameters(path)), false),
  "Tomcat that takes encoded slashes": (path) => resolve(decodeSlashes(withoutParameters(path)), false),
  "a servlet that decodes first": (path) => resolve(withoutParameters(decodeAll(path)), false),
};

const piece = fc.constantFrom(
  ..."/ / / .. . a b admin public x.secret %2F %2f %5C %5c \\ \\ ; ;v=1 %2e %2E. %252F %25 %32 %66 2 f e %2532".split(
    " ",
  ),
);
const paths = fc.tuple(
  fc.constantFrom("/", "/admin", "/public/", "/a/"),
  fc.array(piece, { minLength: 1, maxLength: 9 }),
);

/** Decoded until nothing is left to decode. */
function decodeToTheEnd(path: string): string {
  const decoded = path.replaceAll(/%([0-7][0-9a-f])/gi, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 16)),
  );
  return decoded === path ? path : decodeToTheEnd(decoded);
}

function dotSegments(path: string): number {
  return path.split(/[/\\]/).filter((segment) => /^\.\.?$/.test(segment)).length;
}

function expectReadAlike(values: readonly string[], seen: string): void {
  for (const [name, read] of Object.entries(APPS))
    for (const value of values)
      expect(matches(value, read(seen)), `${value} for ${name}, which reads ${read(seen)} in ${seen}`).toBe(
        matches(value, seen),
      );
  const end = decodeToTheEnd(seen);
  expect(dotSegments(end), `${end} in ${seen}`).toBe(dotSegments(decodeDots(seen)));
}

describe("what passes in strict mode", () => {
  const someValues = fc.subarray(VALUES, { minLength: 1 });

  it("is matched alike, whatever the app makes of its path", () => {
    const seen = { passed: 0, odd: 0, refused: 0 };
    fc.assert(
      fc.property(someValues, fc.array(paths, { minLength: 60, maxLength: 60 }), (values, some) => {
        const policy = policyAbout(values, "INBOUND");
        for (const [head, rest] of some) {
          const normal = normalizeForPolicy(policy, head + rest.join(""), "");
          if (!normal.ok) seen.refused++;
          else {
            seen.passed++;
            if (/%2f|%5c|;/i.test(normal.path)) seen.odd++;
            expectReadAlike(values, normal.path);
          }
        }
      }),
      { numRuns: 50 },
    );
    expect(Math.min(seen.odd, seen.passed, seen.refused)).toBeGreaterThan(150);
  });

  it("is matched alike outbound, where it goes as it came", () => {
    const seen = { odd: 0, refused: 0 };
    fc.assert(
      fc.property(someValues, fc.array(paths, { minLength: 60, maxLength: 60 }), (values, some) => {
        const policy = policyAbout(values, "OUTBOUND");
        for (const [head, rest] of some) {
          const path = head + rest.join("");
          const checked = checkOutboundPath(policy, path, "");
          if (!checked.ok) seen.refused++;
          else {
            expect(checked.path).toBe(path.replaceAll(/%[0-9a-f]{2}/gi, (one) => one.toUpperCase()));
            if (/%|;|\/\/|\/\./.test(path)) seen.odd++;
            expectReadAlike(values, checked.path);
          }
        }
      }),
      { numRuns: 50 },
    );
    expect(Math.min(seen.odd, seen.refused)).toBeGreaterThan(150);
  });

  it.each([
    ["/admin;\\users", "/admin/*"],
    ["/admin;x=1\\users", "/admin/*"],
    ["/;\\admin/users", "/admin/*"],
    ["/;x\\admin", "/admin"],
    ["/x/..%252fadmin", "/admin"],
    ["/x/..%25%32fadmin", "/admin"],
    ["/x/..%252%66admin", "/admin"],
    ["/x/%25%32e%25%32e/admin", "/admin"],
    ["/x/..%25%2532fadmin", "/admin"],
    ["/x/..%252%2566admin", "/admin"],
    ["/x/..%25%25%33%32fadmin", "/admin"],
    ["/x/..%25%35cadmin", "/admin"],
  ])("does not go out where an app may read it past a value: %s, %s", (path, value) => {
    const refused = { ok: false, code: "E_PATH_AMBIGUOUS" };
    expect(checkOutboundPath(policyAbout([value], "OUTBOUND"), path, "")).toMatchObject(refused);
    if (!path.includes("\\"))
      expect(normalizeForPolicy(policyAbout([value], "INBOUND"), path, "")).toMatchObject(refused);
  });

  it("is what came, where no policy reads paths", () => {
    const [inbound, outbound] = [policyAbout(["*"], "INBOUND"), policyAbout(["*"], "OUTBOUND")];
    expect(normalizeForPolicy(inbound, "/a/..%2Fb;c", "")).toEqual({ ok: true, path: "/a/..%2Fb;c" });
    expect(checkOutboundPath(outbound, "/a//..%2Fb/../;c", "")).toEqual({ ok: true, path: "/a//..%2Fb/../;c" });
  });
});
