import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decide } from "../../../src/authz/decide.ts";
import { loadPolicies } from "../../../src/authz/load-policies.ts";
import type { PolicyMode, PolicyOptions } from "../../../src/authz/policy-options.ts";
import type { CallFacts } from "../../../src/core/call-facts.ts";
import type { Peer } from "../../../src/core/identity.ts";
import { parseSpiffeId, parseTrustDomain, trustDomainOf } from "../../../src/core/spiffe-id.ts";
import { decideLinear } from "./decide-linear.ts";

// Small alphabets, so that policies and calls meet often.
const principals = [
  "example.org/ns/shop/sa/web",
  "example.org/ns/shop/sa/orders",
  "example.org/ns/prod/sa/web",
  "old.example/ns/shop/sa/web",
  "partner.org/ns/shop/sa/web",
  "partner.org/ns/prod/sa/orders",
  "example.org/web",
  "example.org/team/ns/shop/sa/web",
  "example.org/ns/shop/x/sa/web/y",
  "example.org/ns/a/ns/shop/sa/web",
  "example.org/ns/shop/x/sa/webshop",
  "ns/shop/sa/web",
];
const principalValues = [
  ...principals.slice(0, 7),
  "cluster.local/ns/shop/sa/web",
  "cluster.local/ns/shop/*",
  "*/sa/web",
  "*/ns/shop/sa/web",
  "*.org/ns/shop/sa/web",
  "*example/ns/shop/sa/web",
  "example.org/ns/shop/*",
  "exam*",
  "*",
];
const sourceFields = {
  principals: principalValues,
  namespaces: ["shop", "prod", "pro*", "*op", "*", "s*p"],
  trustDomains: ["example.org", "old.example", "partner.org", "*.org", "example*", "*", "cluster.local"],
  ipBlocks: ["10.0.0.1", "10.0.0.0/8", "192.168.0.0/16", "2001:db8::/32", "0.0.0.0/0"],
  remoteIpBlocks: ["10.0.0.1", "203.0.113.0/24"],
};
const accounts = ["shop/web", "prod/web", "web", "orders", "a/web"];
const operationFields = {
  hosts: ["shop.example", "SHOP.example:8080", "*.example", "shop*", "*:8080", "*", "[::1]", "shop.example."],
  methods: ["GET", "POST", "P*", "*T", "*"],
  paths: ["/", "/a", "/a/*", "/a*", "*/b", "/a/{*}", "/a/{**}", "/{*}/b", "/{**}/b", "/a/{*}/c/{**}", "*"],
  ports: ["8080", "9090"],
};
const conditions = [
  ...["shop", "prod"].map((value) => ["source.namespace", value] as const),
  ["source.principal", "example.org/ns/shop/sa/web"],
  ["source.principal", "*/sa/web"],
  ["source.trustDomain", "partner.org"],
  ["source.serviceAccount", "web"],
  ["source.ip", "10.0.0.0/8"],
  ["destination.ip", "10.9.0.1"],
  ["destination.port", "8080"],
  ["connection.sni", "shop.example"],
  ["connection.sni", "*.EXAMPLE"],
  ["request.headers[X-Tenant]", "a"],
  ["request.headers[X-Tenant]", "a,b"],
  ["request.headers[X-Tenant]", "b*"],
  ["request.headers[X-Tenant]", "*"],
] as const;

const negated = (key: string) => `not${key.charAt(0).toUpperCase()}${key.slice(1)}`;
type Group = Record<string, readonly string[]>;

function group(fields: Readonly<Record<string, readonly string[]>>): fc.Arbitrary<Group> {
  const entry = fc
    .tuple(fc.constantFrom(...Object.entries(fields)), fc.integer({ min: 1, max: 4 }), fc.nat(3))
    .chain(([[key, values], count, negate]) =>
      fc
        .subarray([...values], { minLength: 1, maxLength: Math.min(count, values.length) })
        .map((some) => [negate === 0 ? negated(key) : key, some] as const),
    );
  return fc.array(entry, { minLength: 1, maxLength: 3 }).map((entries) => Object.fromEntries(entries));
}

const source = fc.oneof(
  { weight: 5, arbitrary: group(sourceFields) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.subarray(accounts, { minLength: 1 }), fc.boolean())
      .map(([some, negate]): Group => ({ [negate ? "notServiceAccounts" : "serviceAccounts"]: some })),
  },
);
const condition = fc
  .tuple(fc.constantFrom(...conditions), fc.nat(2))
  .map(([[key, value], negate]) => ({ key, [negate === 0 ? "notValues" : "values"]: [value] }));

const rule = fc.record(
  {
    from: fc.array(
      source.map((fields) => ({ source: fields })),
      { minLength: 1, maxLength: 2 },
    ),
    to: fc.array(
      group(operationFields).map((fields) => ({ operation: fields })),
      { minLength: 1, maxLength: 2 },
    ),
    when: fc.array(condition, { maxLength: 1 }),
  },
  { requiredKeys: [] },
);

/** Rules that all have the same few fields, as those of a fleet do: what the index splits by. */
const regularRules = fc
  .record({
    source: fc.subarray(["principals", "namespaces", "trustDomains", "serviceAccounts"] as const, { maxLength: 1 }),
    operation: fc.subarray(["hosts", "methods", "paths", "ports"] as const, { maxLength: 2 }),
    header: fc.boolean(),
  })
  .chain(({ source: sourceKeys, operation: operationKeys, header }) => {
    const one = (values: readonly string[]) =>
      fc.subarray([...values], { minLength: 1, maxLength: 2 }).filter((some) => !some.includes("*"));
    const fields = { ...sourceFields, ...operationFields, serviceAccounts: accounts };
    const record = (keys: readonly (keyof typeof fields)[]) =>
      fc.record(Object.fromEntries(keys.map((key) => [key, one(fields[key])])));
    const parts = {
      ...(sourceKeys.length > 0 ? { from: record(sourceKeys).map((some) => [{ source: some }]) } : {}),
      ...(operationKeys.length > 0 ? { to: record(operationKeys).map((some) => [{ operation: some }]) } : {}),
      ...(header
        ? {
            when: fc
              .constantFrom("a", "b", "a,b", "b*", "*b")
              .map((value) => [{ key: "request.headers[x-tenant]", values: [value] }]),
          }
        : {}),
    };
    return fc.array(fc.record(parts), { minLength: 1, maxLength: 40 });
  });

const policySet = fc.array(
  fc.record({
    action: fc.constantFrom("ALLOW", "ALLOW", "DENY"),
    namespace: fc.constantFrom("shop", "istio-system"),
    rules: fc.oneof(fc.array(rule, { minLength: 1, maxLength: 6 }), regularRules),
  }),
  { maxLength: 3 },
);

const call: fc.Arbitrary<CallFacts> = fc.record({
  connection: fc.record({
    peer: fc.constantFrom(undefined, ...principals, ...principals.slice(0, 3)).map(peerOf),
    sourceIp: fc.constantFrom("10.0.0.1", "10.2.0.1", "192.168.1.1", "2001:db8::1", ""),
    remoteIp: fc.constantFrom("10.0.0.1", "203.0.113.9"),
    destinationIp: fc.constantFrom("10.9.0.1", "10.9.0.2"),
    destinationPort: fc.constantFrom(8080, 9090),
    sni: fc.constantFrom("", "shop.example", "Shop.Example"),
  }),
  request: fc.option(
    fc.record({
      method: fc.constantFrom("GET", "POST", "PUT"),
      authority: fc.constantFrom(
        "shop.example",
        "Shop.Example:8080",
        "shop.example.",
        "shop.example.:9090",
        "[::1]:8080",
        "[::1]",
        "",
      ),
      path: fc.constantFrom("/", "/a", "/a/", "/a/b", "/a//b", "/a/b/c/d", "/x/b", "/a|b/b"),
      headers: fc
        .array(fc.constantFrom("a", "b", "bb", "a,b", ""), { maxLength: 3 })
        .map((values) => values.flatMap((value, i) => [i === 0 ? "x-tenant" : "X-Tenant", value])),
    }),
    { nil: undefined, freq: 6 },
  ),
});

function peerOf(principal: string | undefined): Peer | undefined {
  if (principal === undefined) return undefined;
  const spiffeId = parseSpiffeId(`spiffe://${principal}`);
  const times = { notAfterMs: 0, validUntilMs: 0 };
  return { spiffeId, trustDomain: trustDomainOf(spiffeId), serial: "1", issuer: "", fingerprint: "", ...times };
}

function optionsOf(mode: PolicyMode, fallback: "allow" | "deny"): PolicyOptions {
  return {
    mode,
    default: fallback,
    pathNormalization: "MERGE_SLASHES",
    rootNamespace: "istio-system",
    workload: { namespace: "shop", labels: new Map() },
    localTrustDomain: parseTrustDomain("example.org"),
    trustDomainAliases: [parseTrustDomain("old.example")],
    listeners: [],
  };
}

interface Document {
  readonly action: string;
  readonly namespace: string;
  readonly rules: readonly object[];
}

function textOf(documents: readonly Document[]): string {
  return documents
    .map(({ action, namespace, rules }, index) =>
      // JSON is YAML.
      JSON.stringify({
        apiVersion: "security.istio.io/v1",
        kind: "AuthorizationPolicy",
        metadata: { name: `p${index}`, namespace },
        spec: { action, rules },
      }),
    )
    .join("\n---\n");
}

describe.each(["strict", "istio"] as const)("decide in %s mode", (mode) => {
  it("agrees with a plain evaluation of every rule, in verdict and in rule", () => {
    const counted = { allow: 0, deny: 0 };
    fc.assert(
      fc.property(
        policySet,
        fc.constantFrom("allow" as const, "deny" as const),
        fc.array(call, { minLength: 8, maxLength: 8 }),
        (documents, fallback, calls) => {
          const text = documents.length === 0 ? [] : [{ file: "p.yaml", text: textOf(documents) }];
          const { policy } = loadPolicies(text, optionsOf(mode, fallback));
          for (const facts of calls) {
            const decision = decide(policy, facts);
            const rule = decision.kind === "allow" ? decision.permit.rule : decision.rule;
            counted[decision.kind]++;
            expect(decideLinear(policy, facts)).toMatchObject({ kind: decision.kind, rule });
          }
        },
      ),
      { numRuns: 600 },
    );
    const share = counted.allow / (counted.allow + counted.deny);
    // A generator that nearly always gives the same verdict would prove nothing.
    expect(share).toBeGreaterThan(0.2);
    expect(share).toBeLessThan(0.8);
  });
});
