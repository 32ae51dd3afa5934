import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { ORDERS_YAML, policyWorkspace } from "../../test/support/policy-workspace.ts";

// docs/authorization.md: what strict mode would change is found by `policy diff istio.yaml strict.yaml --generate`. One or more rows for each row of
// its table of holes; the names are those of its first column.

const CONFIG = ORDERS_YAML.replace("protocol: http }", "protocol: http, mtls: permissive }");

const allow = (rules: string, head = "") => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: allow${head === "" ? ", namespace: shop" : head} }
spec:
  rules:
    - ${rules}
`;
const deny = (rules: string) => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: deny, namespace: shop }
spec:
  action: DENY
  rules:
    - ${rules}
---
${allow("{}")}`;
const from = (fields: string) => `from: [{ source: { ${fields} } }]`;
const to = (fields: string) => `to: [{ operation: { ${fields} } }]`;
const when = (key: string, values: string) => `when: [{ key: "${key}", ${values} }]`;

const HOLES: readonly (readonly [row: string, policies: string])[] = [
  ["no ALLOW policy applies", deny(to("paths: [/secret]")).split("---")[0] ?? ""],
  ["normalisation", allow(to("paths: [/a/b]"))],
  ["normalisation", deny(to("paths: [/files/*]"))],
  ["normalisation", deny(to("paths: [/admin]"))],
  ["`namespaces`, `serviceAccounts` in ALLOW", allow(from("namespaces: [prod]"))],
  ["`namespaces`, `serviceAccounts` in ALLOW", allow(from("serviceAccounts: [prod/web]"))],
  ['`principals: ["*/sa/web"]` in ALLOW', allow(from('principals: ["*/sa/web"]'))],
  ["DENY that names an identity, caller without one", deny(from("principals: [example.org/ns/shop/sa/web]"))],
  ["`not…` identity in ALLOW, caller without one", allow(from("notPrincipals: [example.org/ns/shop/sa/web]"))],
  ["`not…` identity in ALLOW, caller without one", allow(from("notNamespaces: [prod]"))],
  ["header on several lines", allow(when("request.headers[x-a]", "values: [good]"))],
  ["header on several lines", deny(when("request.headers[x-a]", "notValues: [good]"))],
  ["header value beyond ASCII", deny(when("request.headers[x-a]", "values: [café]"))],
  ["`hosts: [a.example]`", allow(to("hosts: [a.example]"))],
  ["`connection.sni`", allow(`${from('principals: ["*"]')}\n      ${when("connection.sni", "values: [App.Example]")}`)],
  ["`request.headers[host]`", allow(when("request.headers[host]", "values: [a.example]"))],
  ["template `{*}`", allow(to('paths: ["/a/{*}"]'))],
];

/** Rows that strict mode refuses to load: the comparison ends there, with the place. */
const REFUSED: readonly (readonly [row: string, policies: string, code: string, config?: string])[] = [
  [
    "HTTP field on a TCP port",
    deny(to("paths: [/secret]")),
    "E_POLICY_TCP",
    CONFIG.replace("protocol: http,", "protocol: tcp,"),
  ],
  ["`request.headers[:path]`", allow(when("request.headers[:path]", "values: [/a]")), "E_POLICY_UNSUPPORTED"],
  [
    "`targetRefs`",
    allow("{}").replace("spec:", "spec:\n  targetRefs: [{ kind: Gateway, name: a, group: g }]"),
    "E_POLICY_TARGET_REFS",
  ],
  ["no `metadata.namespace`", allow("{}", " "), "E_POLICY_MISSING"],
  ["a value that can never match", allow(from("principals: [spiffe://example.org/x]")), "E_POLICY_PRINCIPAL"],
  ["`spec`, or a key below it, with nothing after it", allow("from:"), "E_POLICY_EMPTY"],
  ["an empty list", allow(from("principals: []")), "E_POLICY_EMPTY"],
];

const workspace = (policies: string, config = CONFIG) =>
  policyWorkspace({
    "istio.yaml": `${config}authorization: { mode: istio }\n`,
    "strict.yaml": config,
    "policies/p.yaml": policies,
  });

it.each(HOLES)("finds: %s", async (_, policies) => {
  const { policy } = workspace(policies);
  const { code, out } = await policy("diff", "istio.yaml", "strict.yaml", "--generate", "3000", "--json");
  expect(code).toBe(1);
  expect((JSON.parse(out) as { changed: number }).changed).toBeGreaterThan(0);
});

it.each(REFUSED.map(([row, policies, why, config = CONFIG]) => [row, policies, why, config] as const))(
  "refuses: %s",
  async (_, policies, why, config) => {
    const { policy } = workspace(policies, config);
    const { code, err } = await policy("diff", "istio.yaml", "strict.yaml", "--generate", "3000");
    expect([code, err]).toEqual([2, expect.stringContaining(why)]);
  },
);

it("has something for each row of the table", () => {
  const page = readFileSync(join(import.meta.dirname, "../../docs/authorization.md"), "utf8");
  const table = page.slice(page.indexOf("| | istio | strict |"), page.indexOf("The same in both:"));
  const rows = [...table.matchAll(/^\| ([^|]+?) \|/gm)]
    .map((found) => found[1] ?? "")
    .filter((name) => !/^-*$/.test(name));
  expect(rows.length).toBeGreaterThan(15);
  const known = [...HOLES, ...REFUSED].map(([row]) => row);
  expect(rows.filter((row) => !known.some((name) => row.startsWith(name)))).toEqual([]);
});
