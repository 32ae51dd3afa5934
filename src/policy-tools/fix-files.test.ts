import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { strictPolicyOptions } from "../../test/support/strict-policy-options.ts";
import { loadPolicies, type PolicyFile } from "../authz/load-policies.ts";
import type { PolicyMode, PolicyOptions } from "../authz/policy-options.ts";
import { CountersignErrors } from "../core/errors.ts";
import { parseTrustDomain } from "../core/spiffe-id.ts";
import { fixFiles, type LintFindings } from "./fix-files.ts";
import { lintRules } from "./lint-rules.ts";

function lintWith(options: PolicyOptions): (files: readonly PolicyFile[]) => LintFindings {
  return (files) => {
    try {
      const { warnings, documents } = loadPolicies(files, options);
      return { errors: [], warnings: [...warnings, ...lintRules(documents.policies, options)] };
    } catch (error) {
      if (!(error instanceof CountersignErrors)) throw error;
      return { errors: error.errors, warnings: [] };
    }
  };
}

const values = [
  "spiffe://example.org/ns/shop/sa/web",
  "spiffe://partner",
  "get",
  "GET",
  "8080",
  "0x1F90",
  "true",
  "/a//b",
  "/a/../b",
  "80a",
];
/** A value as YAML lets one write it, as an item in column 14. */
const written = fc.tuple(
  fc.constantFrom(...values),
  fc.constantFrom<(value: string) => string>(
    (value) => `- ${value}`,
    (value) => `- "${value}"`,
    (value) => `- ${value} # why`,
    (value) => `- !!str ${value}`,
    (value) => `- &a${value.length} ${value}`,
    (value) => `- >-\n                ${value}`,
    (value) => `- |\n                ${value}\n`,
    (value) => `- "${value.slice(0, 3)}\\\n                ${value.slice(3)}"`,
    (value) => `- ? ${value}`,
    () => "-",
  ),
);
const list = fc
  .array(written, { minLength: 1, maxLength: 4 })
  .map((some) => some.map(([value, write]) => `              ${write(value)}\n`).join(""));
const field = (names: readonly string[]) =>
  fc.tuple(fc.constantFrom(...names), list).map(([name, items]) => `            ${name}:\n${items}`);
const rule = fc
  .tuple(
    fc.constantFrom("from", "From", "form"),
    field(["principals", "principal", "ipBlocks"]),
    field(["ports", "port", "methods", "path", "hosts"]),
  )
  .map(
    ([from, source, operation]) =>
      `    - ${from}:\n        - source:\n${source}      to:\n        - operation:\n${operation}`,
  );
const file = fc
  .tuple(fc.constantFrom("rules", "rule"), fc.array(rule, { minLength: 1, maxLength: 2 }))
  .map(
    ([key, rules]) =>
      `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: p, namespace: shop }\nspec:\n  ${key}:\n${rules.join("")}`,
  );

describe.each<PolicyMode>(["strict", "istio"])("in %s mode", (mode) => {
  it("no file has an error after its fixes that it had not before, however it is written", { timeout: 60_000 }, () => {
    const options = strictPolicyOptions({ mode, localTrustDomain: parseTrustDomain("example.org") });
    const lint = lintWith(options);
    const errorsOf = ({ errors }: LintFindings) => errors.map(({ code, message }) => `${code} ${message}`).toSorted();
    const seen = { fixed: 0, left: 0 };
    fc.assert(
      fc.property(file, (text) => {
        const before = lint([{ file: "p.yaml", text }]);
        const { files, left, findings } = fixFiles([{ file: "p.yaml", text }], options, lint);
        const now = files[0]?.text ?? text;
        const after = lint([{ file: "p.yaml", text: now }]);
        expect(errorsOf(after)).toEqual(errorsOf(findings));
        const had = errorsOf(before);
        expect(
          errorsOf(after).filter((error) => !had.includes(error)),
          `${text}\n${now}`,
        ).toEqual([]);
        expect(now.match(/#.*/g)).toEqual(text.match(/#.*/g));
        expect(fixFiles([{ file: "p.yaml", text: now }], options, lint).files).toEqual([]);
        if (files.length > 0) seen.fixed++;
        if (left.length > 0) seen.left++;
      }),
      { numRuns: 150 },
    );
    expect(Math.min(seen.fixed, seen.left)).toBeGreaterThan(5);
  });
});
