import { describe, expect, it } from "vitest";
import { strictPolicyOptions } from "../../test/support/strict-policy-options.ts";
import { loadPolicies } from "../authz/load-policies.ts";
import { type AskContext, askPolicy } from "./ask-policy.ts";
import { readAskedCall } from "./asked-call.ts";
import { compareRules } from "./compare-rules.ts";
import { generateCalls } from "./generate-calls.ts";

const context: AskContext = {
  see: ({ source, request }) => ({ headers: request?.headers ?? [], remoteIp: source.ip }),
  defaultPort: () => 8080,
  outboundDefault: () => "allow",
  nowMs: 0,
};

/** An ALLOW rule for each of these conditions, in istio mode. */
const policyOf = (...conditions: readonly (readonly [key: string, value: string])[]) => {
  const rules = conditions.map(([key, value]) => ({ when: [{ key, values: [value] }] }));
  const document = { apiVersion: "security.istio.io/v1", kind: "AuthorizationPolicy", spec: { rules } };
  const text = JSON.stringify({ ...document, metadata: { name: "a", namespace: "shop" } });
  return loadPolicies([{ file: "p.yaml", text }], strictPolicyOptions({ mode: "istio" })).policy;
};

describe("pseudo-headers in istio mode", () => {
  it.each([
    ["request.headers[:path]", "/a?b", { request: { path: "/x/../a?b" } }],
    ["request.headers[:path]", "/a", { request: { path: "/a" } }],
    ["request.headers[:method]", "PUT", { request: { method: "PUT" } }],
    ["request.headers[:authority]", "api:80", { request: { host: "api:80" } }],
    ["request.headers[:scheme]", "https", { request: {}, source: { spiffeId: "spiffe://example.org/web" } }],
    ["request.headers[:scheme]", "http", { request: {} }],
  ])("%s is %s of the call that is asked about", (key, value, call) => {
    const asked = readAskedCall(call);
    expect(askPolicy(policyOf([key, value]), asked, context).decision).toBe("allow");
    expect(askPolicy(policyOf([key, `${value}-`]), asked, context).decision).toBe("deny");
  });

  it("are met by calls that are made up for them", () => {
    const policy = policyOf(
      ["request.headers[:path]", "/a?b"],
      ["request.headers[:method]", "PUT"],
      ["request.headers[:authority]", "api:80"],
      ["request.headers[host]", "Web"],
    );
    const calls = generateCalls([policy], compareRules([policy], "inbound"), 1000, "inbound");
    const met = new Set([...calls].map(({ call }) => askPolicy(policy, call, context).rule));
    for (const index of [0, 1, 2, 3]) expect(met).toContain(`ns[shop]-policy[a]-rule[${index}]`);
  });
});
