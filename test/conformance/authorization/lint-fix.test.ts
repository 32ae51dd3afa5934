import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { CompiledPolicy } from "../../../src/authz/compiled-policy.ts";
import { decide } from "../../../src/authz/decide.ts";
import { loadPolicies } from "../../../src/authz/load-policies.ts";
import { normalizeForPolicy } from "../../../src/authz/normalize-for-policy.ts";
import type { PolicyMode } from "../../../src/authz/policy-options.ts";
import type { CallFacts } from "../../../src/core/call-facts.ts";
import { ORDERS_YAML, policyWorkspace } from "../../support/policy-workspace.ts";
import { call, optionsOf } from "./generate-policies.ts";
import "../../../src/authz/use-cel.ts";

// What `policy lint --fix` writes by itself must mean what was written before, wherever that meant anything.

/** Values of which some cover others, are the same, or are special where they stand alone. */
const fields = {
  principals: ["example.org/ns/shop/sa/web", "old.example/ns/shop/sa/web", "example.org/ns/shop/*", "*/sa/web", "*"],
  namespaces: ["shop", "sh*", "prod", "*"],
  trustDomains: ["example.org", "old.example", "*.org", "*"],
  ipBlocks: ["10.0.0.0/8", "10.0.0.1/8", "10.0.0.1", "0.0.0.0/0"],
  requestPrincipals: ["https://id.example/ann", "https://id.example/*", "*"],
};
const operationFields = {
  hosts: ["shop.example", "SHOP.example", "*.example", "shop.example:8080", "*"],
  methods: ["GET", "P*", "POST", "*"],
  paths: ["/a", "/a/*", "/a*", "/a/b", "/a/{*}", "*"],
  ports: ["8080", "9090"],
};

/** A list as a person may write it: in one line or several, in quotes, with comments. */
function list(key: string, values: readonly string[]): fc.Arbitrary<string> {
  const written = fc.constantFrom(...values).map((value) => JSON.stringify(value));
  const comment = fc.constantFrom("", "", " # why");
  const items = fc.array(fc.tuple(written, comment), { minLength: 1, maxLength: 5 });
  return fc
    .tuple(items, fc.constantFrom("flow", "lines", "block", "folded"), fc.boolean())
    .map(([some, form, negated]) => {
      const name = negated ? `not${key.charAt(0).toUpperCase()}${key.slice(1)}` : key;
      if (form === "flow") return `${name}: [ ${some.map(([value]) => value).join(" , ")} ]`;
      if (form === "lines")
        return `${name}: [\n${some.map(([value, why]) => `                  ${value},${why}\n`).join("")}                ]`;
      if (form === "folded") return `${name}:\n${some.map(([value]) => folded(value)).join("\n")}`;
      return `${name}:\n${some
        .map(([value, why]) => `                  - ${value}${why}\n`)
        .join("")
        .trimEnd()}`;
    });
}

/** A block scalar, whose end only the layout tells. */
function folded(value: string): string {
  return `                  - >-\n                    ${JSON.parse(value) as string}`;
}

function group(what: string, of: Readonly<Record<string, readonly string[]>>): fc.Arbitrary<string> {
  const keys = fc.subarray(Object.keys(of), { minLength: 1, maxLength: 2 });
  return keys
    .chain((some) => fc.tuple(...some.map((key) => list(key, of[key] ?? []))))
    .map((some) => `          - ${what}:\n${some.map((text) => `                ${text}\n`).join("")}`);
}

const rule = fc
  .tuple(group("source", fields), group("operation", operationFields), fc.nat(2))
  .map(([from, to, which]) =>
    [which !== 1 ? `        from:\n${from}` : "", which !== 2 ? `        to:\n${to}` : ""]
      .join("")
      .replace(/^ {8}/, "      - "),
  );

const policies = fc
  .array(fc.tuple(fc.constantFrom("ALLOW", "DENY"), fc.array(rule, { minLength: 1, maxLength: 3 })), {
    minLength: 1,
    maxLength: 3,
  })
  .map((some) =>
    some
      .map(
        ([action, rules], i) => `# policy ${i}
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: p${i}, namespace: shop } # here
spec:
  action: ${action}
  rules:
${rules.join("")}`,
      )
      .join("---\n"),
  );

/** The call, and the same with a path that apps may read in two ways. */
function alsoOdd(facts: CallFacts): readonly CallFacts[] {
  const { request } = facts;
  if (request === undefined) return [facts];
  const { path } = request;
  const odd = [`${path};x`, path.replace(/(.)\//, "$1%2F"), `/a;v${path}`];
  return [facts, ...odd.map((some) => ({ ...facts, request: { ...request, path: some, target: some } }))];
}

/** The verdict about it as it arrives. */
function answerOf(policy: CompiledPolicy, facts: CallFacts): string {
  const { request } = facts;
  if (request === undefined) return decide(policy, facts).kind;
  const normal = normalizeForPolicy(policy, request.path, "");
  return normal.ok ? decide(policy, { ...facts, request: { ...request, path: normal.path } }).kind : normal.code;
}

describe.each<PolicyMode>(["strict", "istio"])("in %s mode", (mode) => {
  it("--fix changes no verdict, keeps every comment, and leaves nothing to fix", { timeout: 120_000 }, async () => {
    const config = `${ORDERS_YAML}trustDomainAliases: [old.example]\nauthorization: { mode: ${mode} }\n`;
    const { policy, folder } = policyWorkspace({ "c.yaml": config, "policies/p.yaml": "" });
    const file = join(folder, "policies/p.yaml");
    const options = optionsOf(mode, "deny");
    const load = (text: string) => loadPolicies([{ file, text }], options).policy;
    const seen = { fixed: 0, allowed: 0, denied: 0 };
    const calls = fc.array(call, { minLength: 20, maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(policies, calls, async (text, all) => {
        writeFileSync(file, text);
        const { out } = await policy("lint", "-c", "c.yaml", "--fix");
        const after = readFileSync(file, "utf8");
        expect(after.match(/#.*/g)).toEqual(text.match(/#.*/g));
        const again = await policy("lint", "-c", "c.yaml", "--fix");
        expect(again.out).not.toContain("fixed ");
        expect(readFileSync(file, "utf8")).toBe(after);
        if (after !== text) seen.fixed++;
        expect(after !== text).toBe(out.includes("fixed "));
        const [before, now] = [load(text), load(after)];
        for (const facts of all.flatMap(alsoOdd)) {
          const verdict = answerOf(now, facts);
          expect(verdict, `${text}\n${JSON.stringify(facts)}`).toBe(answerOf(before, facts));
          if (after !== text && verdict === "allow") seen.allowed++;
          if (after !== text && verdict === "deny") seen.denied++;
        }
      }),
      { numRuns: 150 },
    );
    expect(seen.fixed).toBeGreaterThan(60);
    expect(Math.min(seen.allowed, seen.denied)).toBeGreaterThan(50);
  });
});
