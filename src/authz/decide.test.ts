import { describe, expect, it } from "vitest";
import { strictPolicyOptions } from "../../test/support/strict-policy-options.ts";
import type { CallFacts, RequestFacts } from "../core/call-facts.ts";
import type { Peer } from "../core/identity.ts";
import { parseSpiffeId, parseTrustDomain } from "../core/spiffe-id.ts";
import type { CompiledPolicy } from "./compiled-policy.ts";
import { decide, decideCall, decideOutboundCall, policyReadsHttp } from "./decide.ts";
import { loadPolicies } from "./load-policies.ts";
import type { PolicyOptions } from "./policy-options.ts";
import "./use-cel.ts";

const options = strictPolicyOptions({
  localTrustDomain: parseTrustDomain("example.org"),
  listeners: [
    { name: "web", appPort: 8080, protocol: "auto" },
    { name: "db", appPort: 5432, protocol: "auto" },
  ],
});

function policyOf(action: "ALLOW" | "DENY", rules: string, changed: Partial<PolicyOptions> = {}): CompiledPolicy {
  const text = `{ apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: { name: web, namespace: shop }, spec: { action: ${action}, rules: ${rules} } }`;
  return loadPolicies([{ file: "p.yaml", text }], { ...options, ...changed }).policy;
}

const peer: Peer = {
  spiffeId: parseSpiffeId("spiffe://example.org/ns/shop/sa/web"),
  trustDomain: parseTrustDomain("example.org"),
  serial: "1",
  issuer: "",
  notAfterMs: 0,
  validUntilMs: 0,
  fingerprint: "",
};

function call(request: Partial<RequestFacts> | undefined, caller: Peer | undefined = peer): CallFacts {
  const connection = {
    peer: caller,
    sourceIp: "10.0.0.1",
    remoteIp: "10.0.0.1",
    destinationIp: "10.0.0.2",
    destinationPort: 8080,
    sni: "",
  };
  const plain = { method: "POST", authority: "shop", path: "/orders", headers: [] };
  return { connection, request: request === undefined ? undefined : { ...plain, ...request } };
}
const anonymous = (request: Partial<RequestFacts>): CallFacts => ({
  ...call(request),
  connection: { ...call(request).connection, peer: undefined },
});

describe("decide", () => {
  it("gives an allowed call a Permit with the rule and the version that decided", () => {
    const policy = policyOf("ALLOW", "[{}]");
    expect(decide(policy, call({}))).toEqual({
      kind: "allow",
      permit: { policyVersion: policy.version, rule: "ns[shop]-policy[web]-rule[0]" },
      reason: "rule",
    });
  });

  it.each([
    ["no-policy", []],
    ["default", ["DENY"]],
  ])("says %s when the default allows", (reason, actions) => {
    const policy =
      actions.length === 0
        ? loadPolicies([], { ...options, default: "allow" }).policy
        : policyOf("DENY", "[{ to: [{ operation: { paths: [/x] } }] }]", { default: "allow" });
    expect(decide(policy, call({}))).toMatchObject({ kind: "allow", reason, permit: { rule: undefined } });
  });

  it("names the DENY rule, and says when it matched for want of an identity", () => {
    const policy = policyOf("DENY", "[{ from: [{ source: { namespaces: [shop] } }] }]");
    expect(decide(policy, call({}))).toMatchObject({
      kind: "deny",
      code: "E_POLICY_DENIED_BY_RULE",
      rule: "ns[shop]-policy[web]-rule[0]",
      reason: "DENY rule ns[shop]-policy[web]-rule[0] matched",
      nearest: undefined,
    });
    expect(decide(policy, anonymous({}))).toMatchObject({
      reason: "DENY rule ns[shop]-policy[web]-rule[0] matched; the rule names an identity and the caller has none",
    });
  });

  it("says that no ALLOW policy applies when there is none", () => {
    expect(decide(loadPolicies([], options).policy, call({}))).toMatchObject({
      kind: "deny",
      code: "E_POLICY_DENIED_BY_DEFAULT",
      reason: "no ALLOW policy applies to this workload, and the default is to deny",
    });
  });

  it.each([
    [
      "the field that failed",
      "[{ from: [{ source: { namespaces: [shop] } }], to: [{ operation: { methods: [GET], paths: [/orders] } }] }]",
      { field: "to[0].operation.methods", expected: "GET", actual: "POST" },
      0,
    ],
    [
      "the rule with the fewest failing fields",
      "[{ to: [{ operation: { methods: [GET], paths: [/x] } }] }, { to: [{ operation: { methods: [PUT], paths: [/orders] } }] }]",
      { field: "to[0].operation.methods", expected: "PUT", actual: "POST" },
      1,
    ],
    [
      "of equals, the rule with more that matched",
      "[{ from: [{ source: { namespaces: [prod] } }] }, { from: [{ source: { namespaces: [shop] } }], to: [{ operation: { paths: [/a, /b*] } }] }]",
      { field: "to[0].operation.paths", expected: "/a, /b*", actual: "/orders" },
      1,
    ],
    [
      "the nearest alternative",
      "[{ to: [{ operation: { methods: [GET], paths: [/x] } }, { operation: { methods: [PUT], paths: [/orders] } }] }]",
      { field: "to[1].operation.methods", expected: "PUT", actual: "POST" },
      0,
    ],
    [
      "a negated field",
      "[{ from: [{ source: { notPrincipals: [example.org/ns/shop/sa/web] } }] }]",
      {
        field: "from[0].source.notPrincipals",
        expected: "none of example.org/ns/shop/sa/web",
        actual: "example.org/ns/shop/sa/web",
      },
      0,
    ],
    [
      "a condition",
      "[{ when: [{ key: source.ip, values: [192.168.0.0/16] }] }]",
      { field: "when[0].values", expected: "192.168.0.0/16", actual: "10.0.0.1" },
      0,
    ],
  ])("denies by default with %s", (_, rules, nearest, index) => {
    const rule = `ns[shop]-policy[web]-rule[${index}]`;
    expect(decide(policyOf("ALLOW", rules), call({}))).toMatchObject({
      kind: "deny",
      code: "E_POLICY_DENIED_BY_DEFAULT",
      rule: undefined,
      nearest: { rule, ...nearest },
      reason: `no ALLOW rule matched; nearest ${rule}: ${nearest.field} wants ${nearest.expected}, call had ${nearest.actual}`,
    });
  });

  it("never shows the value of a header", () => {
    const policy = policyOf("ALLOW", '[{ when: [{ key: "request.headers[authorization]", values: [a] }] }]');
    const decision = decide(policy, call({ headers: ["Authorization", "Bearer secret"] }));
    expect(JSON.stringify(decision)).not.toContain("secret");
    expect(decision).toMatchObject({ nearest: { actual: "another value of authorization" } });
    expect(decide(policy, call({}))).toMatchObject({ nearest: { actual: "no header authorization" } });
  });

  it("escapes and shortens what the call had", () => {
    const policy = policyOf("ALLOW", "[{ to: [{ operation: { paths: [/a] } }] }]");
    const decision = decide(policy, call({ path: `/\u001b[31m\n"${"x".repeat(1000)}` }));
    if (decision.kind !== "deny") throw new Error("allowed");
    const actual = decision.nearest?.actual ?? "";
    expect(actual).toMatch(/^\/\\u001b\[31m\\u000a\\"x+/);
    expect(actual.length).toBeLessThanOrEqual(256);
    expect(decision.reason).toMatch(/^[ -~…]*$/);
  });

  it("says of a raw connection that there is no HTTP", () => {
    const policy = policyOf("ALLOW", "[{ to: [{ operation: { methods: [GET] } }] }]");
    expect(decide(policy, call(undefined))).toMatchObject({ kind: "deny", nearest: { actual: "no HTTP" } });
  });

  it("compares header names the same with and without the codec's lower-case names", () => {
    const policy = policyOf("ALLOW", '[{ when: [{ key: "request.headers[X-Tenant]", values: [b] }] }]');
    const headers = ["Host", "a", "X-TENANT", "b"];
    expect(decide(policy, call({ headers })).kind).toBe("allow");
    expect(decide(policy, call({ headers, lowerNames: ["host", "x-tenant"] })).kind).toBe("allow");
    expect(decide(policy, call({ headers, lowerNames: ["host", "x-other"] })).kind).toBe("deny");
  });

  it("finds the nearest rule among many by what the call has in common with it", () => {
    const rules = Array.from(
      { length: 500 },
      (_, i) =>
        `{ from: [{ source: { namespaces: [n${i}] } }], to: [{ operation: { paths: [/p${i}], methods: [GET] } }] }`,
    );
    const policy = policyOf("ALLOW", `[${rules.join()}]`);
    expect(decide(policy, call({ path: "/p400" }))).toMatchObject({
      nearest: { rule: "ns[shop]-policy[web]-rule[400]", field: "from[0].source.namespaces", expected: "n400" },
    });
  });

  it("names a rule to a raw connection at once, where many rules are about HTTP only", () => {
    const rules = Array.from({ length: 40 }, (_, i) => `{ to: [{ operation: { paths: [/p${i}], ports: ["80"] } }] }`);
    for (const mode of ["strict", "istio"] as const) {
      const decision = decide(policyOf("ALLOW", `[${rules.join()}]`, { mode }), call(undefined));
      expect(decision).toMatchObject({ kind: "deny", nearest: { rule: "ns[shop]-policy[web]-rule[0]" } });
    }
  });

  it("finds a rule among many that differ in one field, and reports the first of several", () => {
    const rules = Array.from({ length: 300 }, (_, i) => `{ to: [{ operation: { paths: [/p${i}, /q${i}/*] } }] }`);
    const policy = policyOf("ALLOW", `[${rules.join()}, { to: [{ operation: { paths: [/q7/x] } }] }]`);
    const ruleFor = (path: string) => {
      const decision = decide(policy, call({ path }));
      return decision.kind === "allow" ? decision.permit.rule : undefined;
    };
    expect(ruleFor("/p299")).toBe("ns[shop]-policy[web]-rule[299]");
    expect(ruleFor("/q7/x")).toBe("ns[shop]-policy[web]-rule[7]");
    expect(ruleFor("/p300")).toBeUndefined();
  });
});

describe("decideOutboundCall", () => {
  it("allows configured destinations with a Permit of the version in force", () => {
    const policy = policyOf("DENY", "[{}]");
    expect(decideOutboundCall(policy, call({}))).toEqual({
      kind: "allow",
      permit: { policyVersion: policy.version, rule: undefined },
      reason: "no-policy",
    });
  });
});

describe("policyReadsHttp", () => {
  it.each([
    ["[{ to: [{ operation: { methods: [GET] } }] }]", true, true, true],
    ['[{ to: [{ operation: { methods: [GET], ports: ["8080"] } }] }]', true, true, false],
    ['[{ when: [{ key: "request.headers[a]", values: [b] }] }]', true, true, true],
    ["[{ from: [{ source: { namespaces: [shop] } }] }]", false, false, false],
  ])("of %s: any port %s, 8080 %s, 5432 %s", (rules, any, web, db) => {
    for (const action of ["ALLOW", "DENY"] as const) {
      const policy = policyOf(action, rules);
      expect([policyReadsHttp(policy), policyReadsHttp(policy, 8080), policyReadsHttp(policy, 5432)]).toEqual([
        any,
        web,
        db,
      ]);
    }
  });

  it("takes a port that no listener has for one that rules may apply to", () => {
    const policy = policyOf("ALLOW", '[{ to: [{ operation: { methods: [GET], ports: ["8080"] } }] }]');
    expect(policyReadsHttp(policy, 9)).toBe(true);
  });

  it("counts a RequestAuthentication and a provider that is asked over HTTP as looking at HTTP", () => {
    const load = (text: string) =>
      loadPolicies([{ file: "p.yaml", text }], {
        ...options,
        providers: new Map([
          ["web", "http"],
          ["opa", "grpc"],
        ]),
      }).policy;
    const tokens = `{ apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: { name: a, namespace: shop }, spec: { jwtRules: [{ issuer: "https://a.example", audiences: [b] }] } }`;
    expect(policyReadsHttp(load(tokens), 5432)).toBe(true);
    const custom = (provider: string) =>
      load(
        `{ apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: { name: a, namespace: shop }, spec: { action: CUSTOM, provider: { name: ${provider} }, rules: [{ to: [{ operation: { ports: ["8080"] } }] }] } }`,
      );
    expect([policyReadsHttp(custom("web"), 8080), policyReadsHttp(custom("web"), 5432)]).toEqual([true, false]);
    expect(policyReadsHttp(custom("opa"), 8080)).toBe(false);
  });
});

describe("decide, where nobody asks providers", () => {
  it("denies a call that a CUSTOM rule matches, and does not hand out the Permit behind it", () => {
    const text = `{ apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: { name: ask, namespace: shop }, spec: { action: CUSTOM, provider: { name: opa }, rules: [{}] } }`;
    const { policy } = loadPolicies([{ file: "p.yaml", text }], { ...options, default: "allow" });
    expect(decide(policy, call({}))).toMatchObject({
      kind: "deny",
      code: "E_POLICY_CUSTOM",
      rule: "ns[shop]-policy[ask]-rule[0]",
    });
    expect(decideCall(policy, call({}))).toMatchObject({ kind: "ask", decision: { kind: "allow" } });
  });
});

describe("a denial by default", () => {
  it("holds its reason and nearest rule as JSON, too", () => {
    const policy = policyOf("ALLOW", "[{ to: [{ operation: { methods: [GET] } }] }]");
    const decision = JSON.parse(JSON.stringify(decide(policy, call({ method: "PUT" }))));
    expect(decision).toMatchObject({ kind: "deny", nearest: { field: "to[0].operation.methods", actual: "PUT" } });
    expect(decision.reason).toContain("call had PUT");
  });
});
