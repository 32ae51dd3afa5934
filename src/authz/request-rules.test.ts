import { describe, expect, it, vi } from "vitest";
import { strictPolicyOptions } from "../../test/support/strict-policy-options.ts";
import type { CallFacts } from "../core/call-facts.ts";
import { parseTrustDomain } from "../core/spiffe-id.ts";
import type { CompiledPolicy } from "./compiled-policy.ts";
import { loadPackedPolicies, loadPolicies, openPackedPolicy } from "./load-policies.ts";
import { ruleAboutRequests } from "./request-rules.ts";
import "./use-cel.ts";

const options = strictPolicyOptions({ localTrustDomain: parseTrustDomain("example.org") });
const NOW_MS = Date.parse("2026-06-01T00:00:00Z");

type Rule = readonly [action: string, rule: string, more?: string];

/** One policy of each rule: `<action>-<place>`. */
function textOf(rules: readonly Rule[]): string {
  return rules
    .map(
      ([action, rule, metadata = ""], i) => `apiVersion: countersign.dev/v1
kind: AuthorizationPolicy
metadata: { name: ${action.toLowerCase()}-${i}, namespace: shop${metadata} }
spec: { direction: OUTBOUND, action: ${action}, ${action === "CUSTOM" ? "provider: { name: opa }, " : ""}rules: [${rule}] }
`,
    )
    .join("---\n");
}

function load(...rules: readonly Rule[]): CompiledPolicy {
  return loadPolicies([{ file: "p.yaml", text: textOf(rules) }], options).policy;
}

/** A tunnel to orders.test:15006 that may end at one of these principals. */
function tunnel(...principals: readonly string[]): CallFacts {
  const addresses = { sourceIp: "127.0.0.1", remoteIp: "127.0.0.1", destinationIp: "10.0.0.2" };
  return {
    connection: { peer: undefined, ...addresses, destinationPort: 15_006, sni: "" },
    request: { method: "CONNECT", authority: "orders.test:15006", path: "", headers: [] },
    destinationPrincipals: principals.map((name) => `example.org/ns/shop/sa/${name}`),
    nowMs: NOW_MS,
  };
}

const to = (operation: string): string => `{ to: [{ operation: { ${operation} } }] }`;
const ALLOW_ALL: Rule = ["ALLOW", "{}"];
const REFUSED = "ns[shop]-policy[deny-1]-rule[0]";

describe("the rule about requests that may apply to a tunnel", () => {
  it.each<readonly [string, readonly Rule[], string | undefined]>([
    ["nothing but who and where", [["DENY", to("hosts: [a.test], ports: ['1']")], ALLOW_ALL], undefined],
    ["a method", [ALLOW_ALL, ["DENY", to("methods: [GET]")]], REFUSED],
    ["a condition about requests", [ALLOW_ALL, ["DENY", "{ conditions: 'request.method == \"GET\"' }"]], REFUSED],
    ["a condition about other things", [ALLOW_ALL, ["DENY", "{ conditions: 'connection.sni == \"a\"' }"]], undefined],
    [
      "what does not apply any more",
      [
        ALLOW_ALL,
        ["DENY", `{ to: [{ operation: { methods: [GET] } }], conditions: "time < timestamp('2026-05-01T00:00:00Z')" }`],
      ],
      undefined,
    ],
    [
      "what applies since",
      [
        ALLOW_ALL,
        ["DENY", `{ to: [{ operation: { methods: [GET] } }], conditions: "time > timestamp('2026-05-01T00:00:00Z')" }`],
      ],
      REFUSED,
    ],
    [
      "one of several operations",
      [
        ALLOW_ALL,
        [
          "DENY",
          "{ to: [{ operation: { hosts: [a.test], methods: [GET] } }, { operation: { ports: ['15006'], paths: [/x] } }] }",
        ],
      ],
      REFUSED,
    ],
    [
      "none of several operations",
      [
        ALLOW_ALL,
        [
          "DENY",
          "{ to: [{ operation: { hosts: [a.test], methods: [GET] } }, { operation: { ports: ['1'], paths: [/x] } }] }",
        ],
      ],
      undefined,
    ],
    ["methods that no request has", [ALLOW_ALL, ["DENY", to('methods: [CONNECT], hosts: ["*.test"]')]], undefined],
    [
      "who is asked about requests alone",
      [ALLOW_ALL, ["CUSTOM", to("notMethods: [CONNECT]")]],
      "ns[shop]-policy[custom-1]-rule[0]",
    ],
    ["who is asked about everything", [ALLOW_ALL, ["CUSTOM", to('methods: ["*"]')]], undefined],
    [
      "what is not enforced",
      [ALLOW_ALL, ["DENY", to("methods: [GET]"), ", annotations: { istio.io/dry-run: 'true' }"]],
      undefined,
    ],
    ["what marks records", [ALLOW_ALL, ["AUDIT", to("methods: [GET]")]], undefined],
    ["what limits", [["ALLOW", to("notPaths: [/admin/*]")]], "ns[shop]-policy[allow-0]-rule[0]"],
    [
      "what limits beside what allows all",
      [
        ["ALLOW", to("notPaths: [/admin/*]")],
        ["ALLOW", to("hosts: [orders.test]")],
      ],
      undefined,
    ],
    [
      "what limits beside what allows all elsewhere",
      [
        ["ALLOW", to("notPaths: [/admin/*]")],
        ["ALLOW", to("hosts: [a.test]")],
      ],
      "ns[shop]-policy[allow-0]-rule[0]",
    ],
    [
      "what limits elsewhere",
      [
        ["ALLOW", to("hosts: [a.test], notPaths: [/admin/*]")],
        ["ALLOW", to("methods: [CONNECT]")],
      ],
      undefined,
    ],
  ])("is found by what rules read: %s", (_name, rules, expected) => {
    expect(ruleAboutRequests(load(...rules), tunnel("orders"))).toBe(expected);
  });

  it.each<readonly [string, CallFacts, string | undefined]>([
    ["the server must be another one", tunnel("other"), undefined],
    ["the server need not prove anything", tunnel(), REFUSED],
    ["the server is that one", tunnel("orders"), REFUSED],
    ["the server may be that one", tunnel("other", "orders"), REFUSED],
    ["the server may be any of that beginning", tunnel("ord*"), REFUSED],
    ["the server may be any of another beginning", tunnel("x*"), undefined],
  ])("is found where %s", (_name, facts, expected) => {
    const policy = load(ALLOW_ALL, ["DENY", to("principals: [example.org/ns/shop/sa/orders], methods: [GET]")]);
    expect(ruleAboutRequests(policy, facts)).toBe(expected);
  });

  it.each([
    ["orders.test:15006", REFUSED],
    ["a.test:15006", undefined],
  ])("is found by Host as a header too, which istio mode has: %s", (host, expected) => {
    const rule = `{ to: [{ operation: { methods: [GET] } }], when: [{ key: "request.headers[host]", values: ["${host}"] }] }`;
    const only = `{ when: [{ key: "request.headers[host]", values: [x.test] }] }`;
    const text = textOf([ALLOW_ALL, ["DENY", rule], ["DENY", only]]);
    const { policy } = loadPolicies([{ file: "p.yaml", text }], { ...options, mode: "istio" });
    expect(ruleAboutRequests(policy, tunnel("orders"))).toBe(expected);
  });

  it("is found in a set that was compiled elsewhere", () => {
    const text = textOf([ALLOW_ALL, ["DENY", to("hosts: [orders.test], methods: [GET]")]]);
    const { packed } = structuredClone(loadPackedPolicies([{ file: "p.yaml", text }], options));
    expect(ruleAboutRequests(openPackedPolicy(packed), tunnel("orders"))).toBe(REFUSED);
  });

  it.each<readonly [string, (i: number) => Rule]>([
    ["limited by paths", (i) => ["ALLOW", to(`paths: [/p${i}/*]`)]],
    ["limited by paths on the tunnel's port", (i) => ["ALLOW", to(`ports: ['15006'], paths: [/p${i}/*]`)]],
    ["limited by paths at the tunnel's host", (i) => ["ALLOW", to(`hosts: ["*.test"], paths: [/p${i}/*]`)]],
    ["open", () => ["ALLOW", to('hosts: ["*.test"]')]],
    ["refused elsewhere", (i) => ["DENY", to(`hosts: [h${i}.test], methods: [GET]`)]],
    ["refused here", (i) => ["DENY", to(`paths: [/p${i}/*]`)]],
  ])("is found among many: %s", (_name, rule) => {
    const many = Array.from({ length: 300 }, (_, i) => rule(i));
    for (const more of [[ALLOW_ALL], []]) {
      const policy = load(...many, ["ALLOW", to("methods: [CONNECT]")], ...more);
      const looks = vi.spyOn(policy.memory.rules, "ruleAt");
      ruleAboutRequests(policy, tunnel("orders"));
      expect(looks.mock.calls.length).toBeLessThan(10);
    }
  });

  it("is the first one, whatever finds it", () => {
    const limit: Rule = ["ALLOW", to("ports: ['15006'], notPaths: [/x]")];
    const refusal: Rule = ["DENY", to('hosts: ["*.test"], methods: [GET]')];
    const nothing: Rule = ["DENY", to("methods: [CONNECT]")];
    expect(ruleAboutRequests(load(nothing, limit, refusal), tunnel())).toBe("ns[shop]-policy[allow-1]-rule[0]");
    expect(ruleAboutRequests(load(nothing, refusal, limit), tunnel())).toBe(REFUSED);
    expect(ruleAboutRequests(load(limit, refusal, ALLOW_ALL), tunnel())).toBe(REFUSED);
  });
});
