import { describe, expect, it } from "vitest";
import { strictPolicyOptions } from "../../test/support/strict-policy-options.ts";
import type { CallFacts } from "../core/call-facts.ts";
import { parseSpiffeId, parseTrustDomain, trustDomainOf } from "../core/spiffe-id.ts";
import { explainDecision } from "./explain-decision.ts";
import { loadPolicies } from "./load-policies.ts";
import "./use-cel.ts";

const options = strictPolicyOptions({
  localTrustDomain: parseTrustDomain("example.org"),
});

const text = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ask, namespace: shop }
spec: { action: CUSTOM, provider: { name: opa }, rules: [{ to: [{ operation: { paths: [/asked] } }] }] }
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: deny, namespace: shop }
spec: { action: DENY, rules: [{ from: [{ source: { namespaces: [prod] } }] }] }
---
apiVersion: countersign.dev/v1
kind: AuthorizationPolicy
metadata: { name: allow, namespace: shop }
spec:
  rules:
    - from: [{ source: { principals: [example.org/ns/shop/sa/web] } }]
      to: [{ operation: { methods: [GET] } }, { operation: { paths: [/open] } }]
      when: [{ key: "request.headers[x-key]", values: [secret] }]
    - conditions: request.headers["x-level"] == "7"
`;
const { policy } = loadPolicies([{ file: "p.yaml", text }], options);

function call(caller: string | undefined, path: string, headers: readonly string[] = []): CallFacts {
  const spiffeId = caller === undefined ? undefined : parseSpiffeId(`spiffe://example.org/${caller}`);
  const certificate = { serial: "1", issuer: "", fingerprint: "", notAfterMs: 0, validUntilMs: 0 };
  const peer = spiffeId === undefined ? undefined : { spiffeId, trustDomain: trustDomainOf(spiffeId), ...certificate };
  const addresses = { sourceIp: "10.0.0.1", remoteIp: "10.0.0.1", destinationIp: "10.0.0.2" };
  const connection = { peer, ...addresses, destinationPort: 8080, sni: "" };
  return { connection, request: { method: "POST", authority: "shop", path, headers } };
}

describe("explainDecision", () => {
  it("shows every rule, field by field, and which step decides", () => {
    const trace = explainDecision(policy, call("ns/shop/sa/web", "/open", ["X-Key", "guess"]));
    expect(trace.steps.map(({ action, decides, rule }) => [action, decides, rule])).toEqual([
      ["CUSTOM", false, undefined],
      ["DENY", false, undefined],
      ["ALLOW", true, undefined],
    ]);
    const [rule] = trace.steps[2]?.policies[0]?.rules ?? [];
    expect(rule?.from.map(({ matches }) => matches)).toEqual([true]);
    expect(rule?.to.map(({ matches }) => matches)).toEqual([false, true]);
    expect(rule?.when).toEqual([
      {
        label: "when[0].values",
        matches: false,
        expected: "secret",
        actual: "another value of x-key",
        because: undefined,
      },
    ]);
    expect(trace.nearest).toMatchObject({ rule: "ns[shop]-policy[allow]-rule[0]", field: "when[0].values" });
    expect(JSON.stringify(trace)).not.toContain("guess");
  });

  it("says why a field answers what its values do not say", () => {
    const { decision, steps } = explainDecision(policy, call(undefined, "/x", ["x-key", "secret", "x-key", "secret"]));
    expect(decision).toMatchObject({ kind: "deny", rule: "ns[shop]-policy[deny]-rule[0]" });
    const deny = steps[1]?.policies[0]?.rules[0]?.from[0]?.fields[0];
    expect(deny).toMatchObject({ matches: true, because: "a rule that refuses meets those without identity as well" });
    expect(steps[2]?.policies[0]?.rules[0]?.when[0]?.because).toContain("several lines");
  });

  it("shows an expression that failed, and the provider that must be asked", () => {
    const trace = explainDecision(policy, call("ns/shop/sa/x", "/asked"));
    expect(trace.providers).toEqual([{ provider: "opa", rule: "ns[shop]-policy[ask]-rule[0]" }]);
    const expression = trace.steps[2]?.policies[0]?.rules[1]?.expression;
    expect(expression).toMatchObject({ matches: false, fault: "what it asks for is not there" });
  });

  it("says that an ALLOW rule about HTTP is dropped on TCP", () => {
    const { connection } = call("ns/shop/sa/web", "/");
    const { steps } = explainDecision(policy, { connection, request: undefined });
    expect(steps[2]?.policies[0]?.rules[0]?.dropped).toContain("TCP");
  });
});
