import { describe, expect, it } from "vitest";
import { strictPolicyOptions } from "../../test/support/strict-policy-options.ts";
import { loadPolicies } from "./load-policies.ts";
import type { PolicyMode } from "./policy-options.ts";
import "./use-cel.ts";

const listeners = [{ name: "web", appPort: 8080, protocol: "http", mtls: "strict" }] as const;

const text = (kind: string, spec: object, over: object = {}) =>
  JSON.stringify({
    apiVersion: "countersign.dev/v1",
    kind,
    metadata: { name: kind.toLowerCase(), namespace: "shop", ...over },
    spec,
  });

const warnings = (texts: readonly string[], mode: PolicyMode = "strict", known = true) =>
  loadPolicies(
    texts.map((one, i) => ({ file: `${i}.yaml`, text: one })),
    strictPolicyOptions({ mode, listeners: known ? listeners : [] }),
  ).warnings.filter(({ code }) => code === "W_POLICY_NO_TOKENS");

const principals = { from: [{ source: { requestPrincipals: ["i/s"] } }] };
const RULES: readonly [string, object][] = [
  ["requestPrincipals", principals],
  ["notRequestPrincipals", { from: [{ source: { notRequestPrincipals: ["*"] } }] }],
  ["a claim", { when: [{ key: "request.auth.claims[role]", values: ["admin"] }] }],
  ["a condition", { conditions: "request.auth.subject == 's'" }],
];
const tokens = (over: object = {}, spec: object = {}) =>
  text(
    "RequestAuthentication",
    { jwtRules: [{ issuer: "i", audiences: ["a"], jwksUri: "https://i.example/jwks" }], ...spec },
    over,
  );

describe("a rule that looks at a token", () => {
  describe.each(["strict", "istio"] as const)("in %s mode", (mode) => {
    it.each(RULES)("by %s is warned of where no RequestAuthentication applies", (_, rule) => {
      const policy = text("AuthorizationPolicy", { rules: [{ to: [{ operation: { ports: ["8080"] } }] }, rule] });
      expect(warnings([policy], mode)).toMatchObject([{ message: expect.stringMatching(/^rule\[1\]: /) as string }]);
      expect(warnings([policy, tokens()], mode)).toEqual([]);
      expect(warnings([policy, tokens({ namespace: "other" })], mode)).toHaveLength(1);
      expect(warnings([policy, tokens({}, { selector: { matchLabels: { app: "other" } } })], mode)).toHaveLength(1);
    });
  });

  it("is warned of once a policy, with how many more there are", () => {
    const [one] = warnings([text("AuthorizationPolicy", { rules: [principals, principals, principals] })]);
    expect(one?.message).toContain(
      "rule[0]: from[0].source.requestPrincipals looks at the request's token, and 2 more",
    );
  });

  it("is nothing to warn of in a policy that is not about this workload, or whose listeners nobody knows", () => {
    expect(warnings([text("AuthorizationPolicy", { rules: [principals] }, { namespace: "other" })])).toEqual([]);
    expect(warnings([text("AuthorizationPolicy", { rules: [principals] })], "strict", false)).toEqual([]);
  });
});
