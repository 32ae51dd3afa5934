import { describe, expect, it } from "vitest";
import { strictPolicyOptions } from "../../test/support/strict-policy-options.ts";
import { loadPolicies } from "../authz/load-policies.ts";
import type { CallFacts } from "../core/call-facts.ts";
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

describe("calls through the egress proxy are asked about as it spells their hosts:", () => {
  const outbound: AskContext = {
    ...context,
    defaultPort: () => 0,
    outboundDefault: ({ destination }) => (destination.spiffeId === undefined ? "deny" : "allow"),
  };
  const NAMED = "ns[shop]-policy[no]-rule[0]";
  const compile = (mode: "strict" | "istio", named: string, more: object) => {
    const apiVersion = "countersign.dev/v1";
    const policy = (name: string, action: string, operation: object) => ({
      apiVersion,
      kind: "AuthorizationPolicy",
      metadata: { name, namespace: "shop" },
      spec: { direction: "OUTBOUND", action, rules: [{ to: [{ operation }] }] },
    });
    const documents = [policy("no", "DENY", { hosts: [named] }), policy("all", "ALLOW", { methods: ["*"] })];
    const text = documents.map((document) => JSON.stringify(document)).join("\n---\n");
    return loadPolicies([{ file: "p.yaml", text }], strictPolicyOptions({ mode, ...more })).policy;
  };
  const ask = (mode: "strict" | "istio", named: string, request: object, destination = {}, more = {}) =>
    askPolicy(
      compile(mode, named, { tunnelPorts: [443], ...more }),
      readAskedCall({ direction: "outbound", request, destination }),
      outbound,
    );

  describe.each(["strict", "istio"] as const)("in %s mode", (mode) => {
    it.each<readonly [string, object, object]>([
      ["api.test:80", { host: "api.test" }, {}],
      ["api.test:80", { host: "api.test" }, { port: 80 }],
      ["api.test:80", { host: "API.test.:80" }, {}],
      ["api.test:443", { host: "api.test" }, { port: 443 }],
      ["api.test:443", { host: "api.test", method: "CONNECT", path: "" }, { port: 443 }],
      ["api.test", { host: "api.test:80" }, {}],
      ["api.test", { host: "api.test" }, { port: 443 }],
      ["127.0.0.1:80", { host: "[::ffff:127.0.0.1]:80" }, {}],
      ["127.0.0.1", { host: "[::ffff:127.0.0.1]" }, {}],
      ["[2001:db8::1]:80", { host: "[2001:DB8:0::1]" }, {}],
    ])("%s is met by %j to %j", (named, request, destination) => {
      expect(ask(mode, named, request, destination).rule).toBe(NAMED);
    });

    it.each<readonly [string, object, object]>([
      ["api.test:80", { host: "api.test:8080" }, {}],
      ["api.test:80", { host: "api.test" }, { port: 443 }],
      ["api.test:80", { host: "www.api.test" }, {}],
    ])("%s is not met by %j to %j", (named, request, destination) => {
      expect(ask(mode, named, request, destination).decision).toBe("allow");
    });

    it.each<object>([
      { host: "127.1" },
      { host: "api.test:0" },
      { host: "a..test" },
      { host: "api.test", method: "CONNECT", path: "" },
    ])("%j is refused before policy is asked", (request) => {
      expect(ask(mode, "x.test", request)).toMatchObject({
        decision: "deny",
        reason: "E_EGRESS_TARGET",
        facts: undefined,
      });
    });

    it("their port and address are those of the host", () => {
      const known = ({ facts }: { facts: CallFacts | undefined }) => [
        facts?.connection.destinationPort,
        facts?.connection.destinationIp,
      ];
      expect(known(ask(mode, "x.test", { host: "10.0.0.1:8080" }))).toEqual([8080, "10.0.0.1"]);
      expect(known(ask(mode, "x.test", { host: "api.test" }, { ip: "10.0.0.2" }))).toEqual([80, "10.0.0.2"]);
    });

    it("a host that names another port than the call's is noted", () => {
      expect(ask(mode, "x.test", { host: "api.test:80" }, { port: 443 }).notes).toEqual([
        "the host names port 80: the egress proxy takes no such request to port 443",
      ]);
      expect(ask(mode, "x.test", { host: "api.test:443" }, { port: 443 }).notes).toEqual([]);
    });

    it("a configured destination gets the host as it is written, and so does whoever has no egress proxy", () => {
      const pay = { spiffeId: "spiffe://example.org/ns/pay/sa/payments" };
      const host = "[::ffff:127.0.0.1]";
      expect(ask(mode, "127.0.0.1", { host }, pay).facts?.request?.authority).toBe(host);
      const none = { tunnelPorts: undefined };
      expect(ask(mode, "127.0.0.1", { host }, {}, none).facts?.request?.authority).toBe(host);
    });
  });

  it("istio mode knows a host with its port alone, where an app has to write that", () => {
    expect(ask("istio", "api.test", { host: "api.test:8080" }).decision).toBe("allow");
    expect(ask("strict", "api.test", { host: "api.test:8080" }).rule).toBe(NAMED);
  });
});
