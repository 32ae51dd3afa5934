import { expect, it } from "vitest";
import { policyWorkspace } from "../../test/support/policy-workspace.ts";

const POLICY = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: callers, namespace: shop }
spec:
  rules:
    - from: [{ source: { principals: [example.org/ns/shop/sa/web] } }]
      to: [{ operation: { methods: [GET], paths: [/orders, "/orders/{*}"] } }]
    - from: [{ source: { namespaces: [admin] } }]
    - from: [{ source: { principals: [example.org/ns/shop/sa/batch] } }]
      when: [{ key: "request.headers[x-tenant]", values: [acme] }]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: no-admin, namespace: shop }
spec:
  action: DENY
  rules:
    - to: [{ operation: { paths: [/admin*] } }]
`;
const TABLE = `config: ../c.yaml
defaults: { from: example.org/ns/shop/sa/web }
tests:
  - { path: /orders, expect: allow, rule: callers/0 }
  - { path: /orders/7?full=1, expect: allow, rule: "ns[shop]-policy[callers]-rule[0]" }
  - { path: /orders, method: POST, expect: deny, rule: none, reason: E_POLICY_DENIED_BY_DEFAULT }
  - { path: /admin/x, from: spiffe://example.org/ns/admin/sa/root, expect: deny, rule: no-admin/0 }
  - { path: /orders//%37, expect: allow }
  - { path: /orders%2f7, expect: deny, reason: E_PATH_AMBIGUOUS }
  - { path: /x, from: example.org/ns/shop/sa/batch, headers: { X-Tenant: acme }, expect: allow, rule: callers/2 }
  - { path: /x, from: example.org/ns/shop/sa/batch, headers: { x-tenant: [acme, evil] }, expect: deny }
  - { name: nobody may do anything, from: nobody, path: /orders, expect: deny }
`;
const files = { "policies/orders.yaml": POLICY, "policies/orders.test.yaml": TABLE };

it("passes when every row ends as it says, and tells which rules decided nothing", async () => {
  const { policy } = policyWorkspace(files);
  expect(await policy("test", "-c", "c.yaml")).toEqual({
    code: 0,
    out: `policies/orders.test.yaml  9 passed
rules: 3 of 4 decided a call (75 %)
  never: ns[shop]-policy[callers]-rule[1]  policies/orders.yaml:8:7
9 passed, 0 failed
`,
    err: "",
  });
});

it("fails a row with what was expected, what was, and why", async () => {
  const { policy, write } = policyWorkspace(files);
  write("t/one.test.yaml", `tests:\n  - { from: nobody, expect: allow, rule: callers/1, reason: rule }\n`);
  const { code, out } = await policy("test", "-c", "c.yaml", "t");
  expect(code).toBe(1);
  expect(out).toContain(`t/one.test.yaml  0 passed, 1 failed
  FAIL  2: GET / by nobody
        expected allow, was deny
        expected rule callers/1, was none
        expected reason rule, was E_PLAINTEXT_REFUSED
        the caller sent plaintext, and this listener takes only mutual TLS
`);
});

it("fails when too few rules decide a call", async () => {
  const { policy } = policyWorkspace(files);
  expect((await policy("test", "-c", "c.yaml", "--coverage", "75")).code).toBe(0);
  const { code, out } = await policy("test", "-c", "c.yaml", "--coverage", "76");
  expect(code).toBe(1);
  expect(out).toContain("(75 %, 76 % wanted)");
});

it("counts a rule once that tables of several trust domains decide by", async () => {
  const table = (trustDomain: string, row: string) => `trustDomain: ${trustDomain}\ntests:\n  - ${row}\n`;
  const { policy } = policyWorkspace({
    "policies/orders.yaml": POLICY,
    "t/home.test.yaml": table("example.org", "{ from: example.org/ns/shop/sa/web, path: /orders, expect: allow }"),
    "t/other.test.yaml": table("other.example", "{ from: other.example/ns/admin/sa/root, path: /admin, expect: deny }"),
  });
  const { code, out } = await policy("test", "-c", "c.yaml", "t", "--coverage", "50");
  expect(out).toContain("rules: 2 of 4 decided a call (50 %)");
  expect(out.match(/never: /g)).toHaveLength(2);
  expect(code).toBe(0);
});

it("reports as JSON", async () => {
  const { policy } = policyWorkspace(files);
  const { out } = await policy("test", "policies", "--json");
  const report = JSON.parse(out) as { files: { tests: unknown[] }[]; coverage: unknown };
  expect(report).toMatchObject({ passed: 9, failed: 0, coverage: { rules: 4, covered: 3, percent: 75 } });
  expect(report.files[0]?.tests[5]).toMatchObject({
    line: 9,
    passed: true,
    decision: "deny",
    reason: "E_PATH_AMBIGUOUS",
  });
});

it.each([
  ["tests: []", "E_CONFIG_VALUE"],
  ["tests:\n  - { path: /x }", "E_CONFIG_MISSING"],
  ["tests:\n  - { expect: maybe }", "E_CONFIG_VALUE"],
  ["tests:\n  - { expect: deny, pathh: /x }", 'did you mean "path"?'],
  ["tests:\n  - { expect: deny, from: spiffe://Example.org/x }", "E_CONFIG_VALUE"],
  ["tests:\n  - { expect: deny, headers: { a b: x } }", "t.test.yaml:2:5: E_POLICY_REQUEST"],
  ["tests:\n  - { expect: deny, time: soon }", "t.test.yaml:2:5: E_POLICY_REQUEST"],
  ["config: gone.yaml\ntests:\n  - { expect: deny }", "E_CONFIG_FILE"],
])("refuses the table %j", async (table, why) => {
  const { policy, write } = policyWorkspace(files);
  write("t.test.yaml", table);
  const { code, err, out } = await policy("test", "-c", "c.yaml", "t.test.yaml");
  expect({ code, out }).toEqual({ code: 2, out: "" });
  expect(err).toContain(why);
});

it("needs a configuration and a table", async () => {
  const { policy, write } = policyWorkspace(files);
  write("t/a.test.yaml", "tests:\n  - { expect: deny }");
  write("empty/x.yaml", "");
  expect((await policy("test", "t")).err).toContain("E_POLICY_TEST the table names no config, and there is no -c");
  expect((await policy("test", "empty")).err).toContain("there is no *.test.yaml");
  expect((await policy("test", "nowhere")).err).toContain("there is no such file");
});
