import { expect, it } from "vitest";
import { auditLines } from "../../test/support/audit-lines.ts";
import { ORDERS_YAML, policyWorkspace } from "../../test/support/policy-workspace.ts";
import { runCommand } from "../../test/support/run-command.ts";
import { chunksOf } from "../../test/support/text-chunks.ts";
import { run } from "./policy.ts";

const policyOf = (rules: string, action = "ALLOW") => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ${action.toLowerCase()}, namespace: shop }
spec:
  action: ${action}
  rules:
${rules}
`;
const PERMISSIVE = ORDERS_YAML.replace("protocol: http }", "protocol: http, mtls: permissive }");
const READS = `    - from: [{ source: { principals: [example.org/ns/shop/sa/web] } }]
      to: [{ operation: { methods: [GET], paths: [/orders*] } }]`;
const WRITES = `    - from: [{ source: { namespaces: [shop] } }]
      to: [{ operation: { methods: [GET, POST], paths: [/orders*], notPaths: [/orders/secret] } }]`;

const files = {
  "before/a.yaml": policyOf(READS),
  "after/a.yaml": policyOf(WRITES),
  "audit.jsonl": auditLines([
    { path: "/orders/7" },
    { path: "/orders/secret" },
    { path: "/orders", method: "POST" },
    { path: "/orders", method: "POST" },
    { path: "/orders/8", method: "POST", from: "batch" },
    { path: "/else" },
  ]),
};

it("says which calls of an audit log change verdict, by which rules", async () => {
  const { policy } = policyWorkspace(files);
  const { code, out } = await policy("diff", "before", "after", "-c", "c.yaml", "--audit", "audit.jsonl");
  expect(code).toBe(1);
  expect(out.split("\n").slice(2).join("\n")).toMatch(
    /^4 of 6 calls change verdict, 0 are decided by another rule \(.*audit\.jsonl\)\n\ndeny → allow\n {2}2 × example\.org\/ns\/shop\/sa\/web {2}POST \/orders, e\.g\. \/orders \(call-2\)\n {6}was deny E_POLICY_DENIED_BY_DEFAULT; nearest ns\[shop\]-policy\[allow\]-rule\[0\]: to\[0\]\.operation\.methods wants GET, call had POST\n {6}now allow by ns\[shop\]-policy\[allow\]-rule\[0\]\n {2}1 × example\.org\/ns\/shop\/sa\/batch {2}POST \/orders\/\{\*\}, e\.g\. \/orders\/8 \(call-4\)\n {6}was .*\n {6}now allow .*\n\nallow → deny\n {2}1 × example\.org\/ns\/shop\/sa\/web {2}GET \/orders\/secret, e\.g\. \/orders\/secret \(call-1\)\n {6}was allow by ns\[shop\]-policy\[allow\]-rule\[0\]\n {6}now deny E_POLICY_DENIED_BY_DEFAULT; nearest .*notPaths wants none of \/orders\/secret, call had \/orders\/secret\n$/,
  );
});

it("says which rules ask for more than an audit log holds", async () => {
  const { policy } = policyWorkspace({
    ...files,
    "after/a.yaml": policyOf(`${READS}\n      when: [{ key: "request.headers[x-a]", values: [a] }]`),
  });
  const { err } = await policy("diff", "before", "after", "-c", "c.yaml", "--audit", "audit.jsonl");
  expect(err).toBe(
    `records hold no headers, claims or server names, which ns[shop]-policy[allow]-rule[0] ask for: such calls are asked without
by before, 4 of 6 calls end otherwise than was recorded: what is said of them may not hold
`,
  );
});

it.each([
  ["--audit", "none.jsonl"],
  ["--requests", "none.jsonl"],
])("does not pass for a success where %s holds no call", async (...source) => {
  const { policy } = policyWorkspace({ ...files, "none.jsonl": "" });
  const { code, err } = await policy("diff", "before", "before", "-c", "c.yaml", ...source);
  expect(code).toBe(1);
  expect(err).toMatch(/^there is no call in .*none\.jsonl, so nothing was compared: try --generate\n$/);
});

it("finds nothing between equal policies, also by calls that it makes up", async () => {
  const { policy } = policyWorkspace(files);
  const { code, out } = await policy("diff", "before", "before", "-c", "c.yaml", "--generate", "5000");
  expect(code).toBe(0);
  expect(out).toMatch(
    /\n0 of \d{4} calls change verdict, 0 are decided by another rule \(generated calls\)\nwithout a call of their own: 0 of 1 rules before, 0 of 1 rules after\n$/,
  );
});

it.each<[string, string, string]>([
  ["a principal", READS, READS.replace("sa/web", "sa/web2")],
  ["a star", READS, READS.replace("sa/web", "sa/web*")],
  ["a method", READS, READS.replace("GET", "PUT")],
  ["a path", READS, READS.replace("/orders*", "/orders")],
  ["what is left out", WRITES, WRITES.replace(", notPaths: [/orders/secret]", "")],
  ["a port", READS, READS.replace("methods: [GET]", 'ports: ["9999"]')],
  ["a condition", READS, `${READS}\n      when: [{ key: "request.headers[x-a]", values: ["1"] }]`],
  ["an address", READS, READS.replace("principals: [example.org/ns/shop/sa/web]", "ipBlocks: [192.0.2.0/24]")],
  ["a server name", READS, `${READS}\n      when: [{ key: connection.sni, values: [a.example] }]`],
  ["a host", READS, READS.replace("methods: [GET]", "hosts: [a.example]")],
  ["a trust domain", READS, READS.replace("principals: [example.org/ns/shop/sa/web]", "trustDomains: [example.org]")],
])("finds %s that changed by calls that it makes up", async (_, before, after) => {
  const { policy } = policyWorkspace({ "before.yaml": policyOf(before), "after.yaml": policyOf(after) });
  const { code, out } = await policy(
    "diff",
    "before.yaml",
    "after.yaml",
    "-c",
    "c.yaml",
    "--generate",
    "3000",
    "--json",
  );
  expect(code).toBe(1);
  expect((JSON.parse(out) as { changed: number }).changed).toBeGreaterThan(0);
});

it("compares whole configurations, by request lines", async () => {
  const requests = [
    '{"source":{"spiffeId":null,"ip":"10.0.0.1"},"request":{"method":"GET","host":"h","path":"/","headers":{"authorization":"secret"}}}',
  ];
  const { policy, write } = policyWorkspace({
    "c.yaml": PERMISSIVE,
    "policies/a.yaml": policyOf("    - {}"),
    "r.jsonl": `${requests.join("\n")}\n`,
  });
  write("b.yaml", PERMISSIVE.replace("policies: [policies]", "policies: [other]"));
  write("other/deny.yaml", policyOf("    - {}", "DENY"));
  const { code, out } = await policy("diff", "c.yaml", "b.yaml", "--requests", "r.jsonl", "--json");
  expect(code).toBe(1);
  expect(JSON.parse(out)).toMatchObject({
    calls: 1,
    changed: 1,
    groups: [{ change: "allow → deny", principal: null, example: { headers: ["authorization"] } }],
  });
  expect(out).not.toContain("secret");
});

it.each<[string, string, string]>([
  ["a configuration with the word apiVersion in a comment", "c.yaml", `# apiVersion: of nothing\n${ORDERS_YAML}`],
  ["a policy whose apiVersion is misspelt", "before.yaml", policyOf(READS).replace("apiVersion", "apiVersoin")],
  ["a policy in braces", "before.yaml", JSON.stringify({ apiVersion: "x", kind: "AuthorizationPolicy" })],
])("knows %s by its keys", async (_, name, text) => {
  const { policy, write } = policyWorkspace({ ...files, "policies/a.yaml": policyOf(READS) });
  write(name, text);
  const { code, err } = await policy("diff", name, "after", "-c", "c.yaml", "--generate", "100");
  if (name === "c.yaml") expect([code, err]).toEqual([1, ""]);
  else expect([code, err]).toEqual([2, expect.stringMatching(/E_POLICY_/)]);
});

it("takes requests and audit records from its standard input and from pipes", async () => {
  const { folder } = policyWorkspace(files);
  const ask = (stdin: string, ...more: string[]) =>
    runCommand(run, ["diff", "before", "after", "-c", "c.yaml", ...more], folder, {}, chunksOf(stdin));
  const line = JSON.stringify({
    source: { spiffeId: "spiffe://example.org/ns/shop/sa/web" },
    request: { method: "POST", path: "/orders" },
  });
  const requests = await ask(`${line}\n${line}`, "--requests", "-");
  expect([requests.code, requests.out]).toEqual([1, expect.stringContaining("2 of 2 calls change verdict")]);
  const audit = await ask(files["audit.jsonl"], "--audit", "-");
  expect([audit.code, audit.out]).toEqual([1, expect.stringContaining("4 of 6 calls change verdict")]);
  expect((await ask("{]", "--requests", "-")).err).toContain("standard input:1:1: E_POLICY_REQUEST");
});

it.each<[string, readonly string[], string]>([
  [
    "several sources of calls",
    ["before", "after", "-c", "c.yaml", "--generate", "10", "--requests", "q.jsonl", "--audit", "x"],
    "E_POLICY_REQUEST --audit and --requests and --generate each say which calls are compared",
  ],
  [
    "a direction for calls that have one",
    ["before", "after", "-c", "c.yaml", "--outbound", "--requests", "q.jsonl"],
    "E_POLICY_REQUEST --outbound is about generated calls",
  ],
  ["policies without -c", ["before", "after"], "E_POLICY_REQUEST policies alone do not say how they are read"],
  [
    "a request line that is none",
    ["before", "after", "-c", "c.yaml", "--requests", "bad.jsonl"],
    "bad.jsonl:2:1: E_POLICY_REQUEST",
  ],
  ["a file that is not there", ["before", "gone", "-c", "c.yaml"], "E_CONFIG_FILE"],
  ["an audit file that is not there", ["before", "after", "-c", "c.yaml", "--audit", "gone"], "E_AUDIT_FILE"],
])("refuses %s", async (_, argv, why) => {
  const { policy } = policyWorkspace({ ...files, "bad.jsonl": "{}\n{]\n" });
  const { code, err } = await policy("diff", ...argv);
  expect(code).toBe(2);
  expect(err).toContain(why);
});
