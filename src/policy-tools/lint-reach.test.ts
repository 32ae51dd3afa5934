import { describe, expect, it } from "vitest";
import { strictPolicyOptions } from "../../test/support/strict-policy-options.ts";
import { loadPolicies } from "../authz/load-policies.ts";
import type { PolicyModel } from "../authz/policy-model.ts";
import { parseTrustDomain } from "../core/spiffe-id.ts";
import { lintReach } from "./lint-reach.ts";
import { lintRules } from "./lint-rules.ts";

const OPTIONS = strictPolicyOptions({
  localTrustDomain: parseTrustDomain("example.org"),
  trustDomainAliases: [parseTrustDomain("old.example")],
});

interface Written {
  readonly action?: "ALLOW" | "DENY" | "AUDIT";
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly dryRun?: boolean;
  readonly rules: readonly object[];
}

/** Policies p0, p1, … */
function policies(written: readonly Written[]): readonly PolicyModel[] {
  const texts = written.map(({ action = "ALLOW", namespace = "shop", labels = {}, dryRun = false, rules }, i) =>
    JSON.stringify({
      apiVersion: "countersign.dev/v1",
      kind: "AuthorizationPolicy",
      metadata: { name: `p${i}`, namespace, annotations: { "istio.io/dry-run": String(dryRun) } },
      spec: { action, selector: { matchLabels: labels }, rules },
    }),
  );
  return loadPolicies([{ file: "p.yaml", text: texts.join("\n---\n") }], OPTIONS).documents.policies;
}

/** `W_POLICY_SHADOWED p1 0` */
function found(written: readonly Written[], maxComparisons?: number): readonly string[] {
  const all = policies(written);
  return [...lintRules(all, OPTIONS), ...lintReach(all, OPTIONS, maxComparisons)]
    .filter(({ code }) => code !== "W_POLICY_BROAD")
    .map(({ code, message }) => `${code} ${/policy\[(.*?)\]-rule\[(\d+)/.exec(message)?.slice(1).join(" ") ?? ""}`);
}

const from = (source: object): object => ({ from: [{ source }] });
const to = (operation: object): object => ({ to: [{ operation }] });
const both = (source: object, operation: object): object => ({ ...from(source), ...to(operation) });

describe("10 000 rules in 100 policies that share caller, method and path prefix", () => {
  const of = (number: number, path: string): Written => ({
    rules: Array.from({ length: 100 }, (_, i) =>
      both(
        { principals: ["example.org/ns/shop/sa/web"] },
        { methods: ["GET"], paths: [`/api/v1/${number * 100 + i}${path}`] },
      ),
    ),
  });
  const distinct = Array.from({ length: 100 }, (_, number) => of(number, ""));

  it("are all compared, and nothing is said of those that differ", () => {
    expect(found(distinct)).toEqual([]);
  });

  it("of which some other policy covers a few: these are found", () => {
    const wide = { rules: [from({ principals: ["example.org/ns/shop/sa/*"] })] };
    const deny = { action: "DENY", rules: [to({ paths: ["/api/v1/7*"] })] } as const;
    const all = [...distinct, { rules: [both({ namespaces: ["prod"] }, { paths: ["/x"] })] }];
    expect(found([...all, deny])).toHaveLength(1 + 10 + 100 + 1000);
    expect(found([...all, wide])).toHaveLength(10_000);
  });

  it("are not all compared where that takes more than a limit, which is said", () => {
    expect(found(distinct, 30_000)).toEqual([expect.stringMatching(/^W_POLICY_LINT_LIMIT/)]);
    const same = [{ rules: [from({ namespaces: ["a"] })] }, { rules: [from({ namespaces: ["a"] })] }];
    expect(found(same, 1)).toEqual(["W_POLICY_LINT_LIMIT "]);
    expect(found(same)).toEqual(["W_POLICY_SHADOWED p1 0"]);
  });
});

describe("of policies for other workloads", () => {
  const web = from({ principals: ["example.org/ns/shop/sa/web"] });
  const narrow = { ...web, ...to({ methods: ["GET"] }) };
  const orders = { app: "orders" };
  it.each<[string, Written, Written, readonly string[]]>([
    ["one of the whole namespace", { rules: [web] }, { rules: [narrow], labels: orders }, ["W_POLICY_SHADOWED p1 0"]],
    [
      "one of fewer labels",
      { rules: [web], labels: orders },
      { rules: [narrow], labels: { ...orders, v: "1" } },
      ["W_POLICY_SHADOWED p1 0"],
    ],
    [
      "one of all namespaces",
      { rules: [web], namespace: "istio-system" },
      { rules: [narrow], namespace: "x" },
      ["W_POLICY_SHADOWED p1 0"],
    ],
    [
      "one of all namespaces, be it the later one",
      { rules: [web], labels: orders },
      { rules: [web] },
      ["W_POLICY_SHADOWED p0 0"],
    ],
    ["none for fewer workloads", { rules: [web], labels: orders }, { rules: [narrow] }, []],
    ["none of another namespace", { rules: [web], namespace: "x" }, { rules: [narrow] }, []],
    ["none for others", { rules: [web], labels: { app: "web" } }, { rules: [narrow], labels: orders }, []],
    ["none of dry-run", { rules: [web], dryRun: true }, { rules: [narrow] }, []],
    ["none of another action", { rules: [web], action: "AUDIT" }, { rules: [narrow] }, []],
    [
      "one of the same action",
      { rules: [web], action: "AUDIT" },
      { rules: [narrow], action: "AUDIT" },
      ["W_POLICY_SHADOWED p1 0"],
    ],
    [
      "one of dry-run among such",
      { rules: [web], dryRun: true },
      { rules: [narrow], dryRun: true },
      ["W_POLICY_SHADOWED p1 0"],
    ],
    [
      "a DENY of the whole namespace",
      { rules: [web], action: "DENY" },
      { rules: [narrow], labels: orders },
      ["W_POLICY_UNREACHABLE p1 0"],
    ],
    ["no DENY for fewer workloads", { rules: [web], action: "DENY", labels: orders }, { rules: [narrow] }, []],
    ["no DENY of dry-run", { rules: [web], action: "DENY", dryRun: true }, { rules: [narrow] }, []],
  ])("a rule is made useless by %s", (_, wide, other, expected) => {
    expect(found([wide, other])).toEqual(expected);
  });
});

describe("a rule is covered", () => {
  it.each<[string, object, object]>([
    ["by one with a wider block", from({ ipBlocks: ["10.0.0.0/8"] }), from({ ipBlocks: ["10.1.0.0/16", "10.2.3.4"] })],
    ["by a host's star, in any case", to({ hosts: ["*.Example"] }), to({ hosts: ["a.example", "*.b.EXAMPLE"] })],
    ["by a namespace's star", from({ namespaces: ["pro*"] }), from({ namespaces: ["prod"] })],
    [
      "by the same principal under our other name",
      from({ principals: ["example.org/ns/shop/sa/web"] }),
      both({ principals: ["old.example/ns/shop/sa/web"] }, { methods: ["GET"] }),
    ],
    ["by one that leaves out less", to({ notPaths: ["/a/b"] }), to({ notPaths: ["/c", "/a/*"] })],
    [
      "by one that says less",
      to({ methods: ["GET"] }),
      both({ namespaces: ["shop"] }, { methods: ["GET"], hosts: ["a"] }),
    ],
  ])("%s", (_, wide, narrow) => {
    expect(found([{ rules: [wide] }, { rules: [narrow] }])).toEqual(["W_POLICY_SHADOWED p1 0"]);
    expect(found([{ rules: [narrow] }, { rules: [wide] }])).toEqual(["W_POLICY_SHADOWED p0 0"]);
  });

  it.each<[string, object, object]>([
    [
      "where it names trust domains of others",
      from({ principals: ["*/sa/web"] }),
      from({ principals: ["*/sa/web"], trustDomains: ["partner.org"] }),
    ],
    ["where it is for nobody", from({ notPrincipals: ["example.org/a"] }), from({ notPrincipals: ["*"] })],
    ["by a block beside it", from({ ipBlocks: ["10.0.0.0/8"] }), from({ ipBlocks: ["11.0.0.0/8"] })],
    ["by a host on one port", to({ hosts: ["a.example:80"] }), to({ hosts: ["a.example"] })],
    ["by one of two values", to({ methods: ["GET", "POST"] }), to({ methods: ["GET", "PUT"] })],
  ])("not %s", (_, wide, narrow) => {
    expect(found([{ rules: [wide] }, { rules: [narrow] }])).toEqual([]);
  });
});

describe("two conditions that both must hold", () => {
  const when = (key: string, ...values: readonly string[][]): object => ({
    when: values.map((some) => ({ key, values: some })),
  });
  it("contradict each other when no value fits both", () => {
    const rule = when("source.serviceAccount", ["shop/web"], ["shop/batch"]);
    expect(found([{ rules: [rule] }])).toEqual(["W_POLICY_CONTRADICTION p0 0"]);
  });
  it("do not where an alias makes them the same, or where a header may come twice", () => {
    const principal = ["example.org/ns/shop/sa/web", "old.example/ns/shop/sa/web"].map((value) => [value]);
    expect(found([{ rules: [when("source.principal", ...principal)] }])).toEqual([]);
    expect(found([{ rules: [when("request.headers[x]", ["a"], ["b"])] }])).toEqual([]);
  });
});
