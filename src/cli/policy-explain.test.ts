import { describe, expect, it } from "vitest";
import { auditLines } from "../../test/support/audit-lines.ts";
import { ORDERS_YAML, policyWorkspace } from "../../test/support/policy-workspace.ts";
import { runCommand } from "../../test/support/run-command.ts";
import { chunksOf } from "../../test/support/text-chunks.ts";
import { run } from "./policy.ts";

const POLICIES = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: callers, namespace: shop }
spec:
  rules:
    - from: [{ source: { principals: [example.org/ns/shop/sa/web] } }]
      to:
        - operation: { methods: [GET], paths: ["/orders/{*}"] }
        - operation: { methods: [POST], paths: [/orders] }
      when: [{ key: "request.headers[x-tenant]", notValues: [evil] }]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: no-admin, namespace: shop }
spec:
  action: DENY
  rules: [{ to: [{ operation: { paths: [/admin*] } }] }]
`;
/** Takes plaintext too: a caller without identity gets as far as policy. */
const PERMISSIVE = ORDERS_YAML.replace("protocol: http }", "protocol: http, mtls: permissive }");
const files = { "c.yaml": PERMISSIVE, "policies/p.yaml": POLICIES };
const WEB = "example.org/ns/shop/sa/web";
const RULE = "ns[shop]-policy[callers]-rule[0]";

it("says what becomes of a call and shows the evaluation as a tree", async () => {
  const { policy } = policyWorkspace(files);
  expect(await policy("explain", "-c", "c.yaml", "--from", WEB, "--path", "/orders//7?x=1")).toEqual({
    code: 0,
    out: `ALLOW  GET /orders//7?x=1  (as /orders/7) by example.org/ns/shop/sa/web
  ALLOW rule ns[shop]-policy[callers]-rule[0] matched

DENY policies: no rule matches  (does not decide)
  ✗ shop/no-admin  policies/p.yaml:12
      ✗ rule 0
          ✗ to[0].operation.paths: wants /admin*, has /orders/7

ALLOW policies: the call is allowed
  ✓ shop/callers  policies/p.yaml:1
      ✓ rule 0
          ✓ from[0].source.principals: wants example.org/ns/shop/sa/web, has example.org/ns/shop/sa/web
          ✓ to: one of 2
              ✓ to[0].operation.methods: wants GET, has GET
              ✓ to[0].operation.paths: wants /orders/{*}, has /orders/7
              ✗ to[1].operation.methods: wants POST, has GET
              ✗ to[1].operation.paths: wants /orders, has /orders/7
          ✓ when[0].notValues: wants none of evil, has no header x-tenant
`,
    err: "",
  });
});

it("takes the request from a curl line, and never shows header values", async () => {
  const { policy } = policyWorkspace(files);
  const curl = "curl -X POST http://orders/orders -H 'x-tenant: evil' -H 'authorization: hunter2'";
  const { code, out } = await policy("explain", "-c", "c.yaml", "--from", `spiffe://${WEB}`, "--curl", curl);
  expect(code).toBe(1);
  expect(out).toContain("DENY  POST orders/orders by");
  expect(out).toContain("✗ when[0].notValues: wants none of evil, has one of them in x-tenant");
  expect(out).not.toContain("hunter2");
});

it("shows policy what the app hears from the sidecar about how the call came", async () => {
  const rule = 'spec:\n  rules: [{ when: [{ key: "request.headers[x-forwarded-proto]", values: [https] }] }]\n';
  const { policy } = policyWorkspace({
    "c.yaml": PERMISSIVE,
    "policies/p.yaml": `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: p, namespace: shop }\n${rule}`,
  });
  const explain = (from: string, ...more: readonly string[]): Promise<{ readonly code: number }> =>
    policy("explain", "-c", "c.yaml", "--from", from, "--path", "/", ...more);
  expect((await explain(WEB, "--header", "x-forwarded-proto: http")).code).toBe(0);
  expect((await explain("nobody", "--header", "x-forwarded-proto: https")).code).toBe(1);
});

it("shows policy what the proxy shows it: no header that is ours alone, that Connection names, or that only a trusted proxy may send", async () => {
  const keys = ["x-forwarded-client-cert", "x-countersign-id", "x-hop", "x-forwarded-for"];
  const rules = keys.map((key) => `    - when: [{ key: "request.headers[${key}]", values: ["*"] }]\n`).join("");
  const { policy, write } = policyWorkspace({
    "c.yaml": PERMISSIVE,
    "policies/p.yaml": `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: p, namespace: shop }\nspec:\n  rules:\n${rules}`,
  });
  const asked = [
    "explain",
    "-c",
    "c.yaml",
    "--ip",
    "10.0.0.1",
    "--header",
    "Connection: x-hop",
    ...keys.map((key) => `${key}: 192.0.2.7`),
  ];
  expect((await policy(...asked)).code).toBe(1);
  write("c.yaml", `${PERMISSIVE}trustedProxies: [10.0.0.0/8]\n`);
  const { code, out } = await policy(...asked, "--json");
  expect(code).toBe(0);
  expect(JSON.parse(out)).toMatchObject({ rule: "ns[shop]-policy[p]-rule[3]" });
});

it("refuses what the sidecar refuses before policy is asked", async () => {
  const { policy, write } = policyWorkspace(files);
  for (const [path, code] of [
    ["/a%00", "E_PATH_NUL"],
    ["/orders%2f7", "E_PATH_AMBIGUOUS"],
    ["/a#b", "E_PATH_FRAGMENT"],
    ["orders", "E_HTTP_TARGET"],
    ["/caf\u00e9", "E_HTTP_TARGET"],
  ] as const) {
    const { out } = await policy("explain", "-c", "c.yaml", "--path", path, "--json");
    expect(JSON.parse(out)).toMatchObject({ decision: "deny", rule: null, reason: code, nearest: null, trace: null });
  }
  for (const mode of ["strict", "istio"]) {
    write("c.yaml", `${PERMISSIVE}authorization: { mode: ${mode} }\n`);
    const { out } = await policy("explain", "-c", "c.yaml", "--method", "get");
    expect(out).toContain("E_HTTP_METHOD_CASE\n\npolicy is not asked about such a request");
  }
});

it("answers each line of a file with one line, in order", async () => {
  const lines = [
    { source: { spiffeId: `spiffe://${WEB}`, ip: "10.0.0.1", remoteIp: "10.0.0.1" }, path: "/orders/7" },
    { source: { spiffeId: null, ip: "10.0.0.1" }, path: "/admin" },
    { source: { spiffeId: null, ip: "10.0.0.1" }, path: "/orders" },
  ].map(({ source, path }) =>
    JSON.stringify({
      source,
      destination: { ip: "10.0.0.2", port: 8080 },
      connection: { sni: "" },
      protocol: "http",
      request: { method: "GET", host: "h", path, headers: {}, claims: null },
    }),
  );
  const tcp = JSON.stringify({ source: { spiffeId: `spiffe://${WEB}`, ip: "10.0.0.1" }, protocol: "tcp" });
  const { policy } = policyWorkspace({ ...files, "r.jsonl": `${[...lines, tcp].join("\n")}\n` });
  const { code, out } = await policy("explain", "-c", "c.yaml", "--requests", "r.jsonl", "--json");
  expect(code).toBe(0);
  const answers = out
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { decision: string; trace: { steps: unknown[] } });
  expect(answers).toMatchObject([
    { decision: "allow", rule: RULE, reason: "rule", nearest: null },
    { decision: "deny", rule: "ns[shop]-policy[no-admin]-rule[0]", reason: "E_POLICY_DENIED_BY_RULE" },
    {
      decision: "deny",
      rule: null,
      reason: "E_POLICY_DENIED_BY_DEFAULT",
      nearest: { rule: RULE, field: "from[0].source.principals", actual: "no identity" },
    },
    { decision: "deny", reason: "E_POLICY_DENIED_BY_RULE" },
  ]);
  expect(answers[0]?.trace.steps).toHaveLength(2);
});

it("explains a call of the audit log again, beside what was decided then", async () => {
  const over = { decision: "deny", reason: "E_POLICY_DENIED_BY_DEFAULT", policyVersion: "old" } as const;
  const { policy } = policyWorkspace({ ...files, "audit.jsonl": auditLines([{}, { path: "/orders/7", over }]) });
  const { code, out } = await policy("explain", "-c", "c.yaml", "--id", "call-1");
  expect(code).toBe(0);
  expect(out).toMatch(
    /^recorded 2030-01-01T12:34:56\.789000Z: deny E_POLICY_DENIED_BY_DEFAULT, policy version old; now version [0-9a-f]{16}\nasked again, of what the record holds \(no headers\):\n\nALLOW {2}GET orders\.shop\/orders\/7 by/,
  );
  expect((await policy("explain", "-c", "c.yaml", "--id", "call-9")).err).toContain("no call with that id");
});

it("says of a call of the audit log that ended before policy why it did", async () => {
  const over = {
    decision: "error",
    reason: "E_PATH_NUL",
    detail: "the path holds %00",
    policyVersion: undefined,
  } as const;
  const { policy } = policyWorkspace({ ...files, "audit.jsonl": auditLines([{ path: "/a%00", over }]) });
  expect(await policy("explain", "-c", "c.yaml", "--id", "call-0")).toEqual({
    code: 1,
    out: `recorded 2030-01-01T12:34:56.789000Z: error E_PATH_NUL the path holds %00

policy was not asked about this call
`,
    err: "",
  });
  const { out } = await policy("explain", "-c", "c.yaml", "--id", "call-0", "--json");
  expect(JSON.parse(out)).toMatchObject({ decision: "deny", rule: null, reason: "E_PATH_NUL", trace: null });
});

it("decides outbound calls by OUTBOUND policies, time by the time given, and names providers that must be asked", async () => {
  const outbound = `apiVersion: countersign.dev/v1
kind: AuthorizationPolicy
metadata: { name: out, namespace: shop }
spec:
  direction: OUTBOUND
  rules:
    - to: [{ operation: { principals: [example.org/ns/pay/sa/payments], methods: [GET] } }]
      conditions: "time.getHours('UTC') < 12"
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ask, namespace: shop }
spec:
  action: CUSTOM
  provider: { name: opa }
  rules: [{ to: [{ operation: { paths: [/orders/secret] } }] }]
`;
  const { policy, write } = policyWorkspace({ ...files, "policies/out.yaml": outbound });
  write(
    "c.yaml",
    `${ORDERS_YAML}extensionProviders: [{ name: opa, envoyExtAuthzGrpc: { service: 127.0.0.1, port: 9191 } }]\n`,
  );
  const asked = ["explain", "-c", "c.yaml", "--to", "example.org/ns/pay/sa/payments", "--host", "payments", "--time"];
  const morning = await policy(...asked, "2030-01-01T08:00:00Z");
  expect(morning.err).toBe("");
  expect(morning.out).toContain("✓ conditions: time.getHours('UTC') < 12");
  expect((await policy(...asked, "2030-01-01T18:00:00Z")).code).toBe(1);
  const { code, out } = await policy("explain", "-c", "c.yaml", "--from", WEB, "--path", "/orders/secret");
  expect(code).toBe(0);
  expect(out).toContain("if opa allows it, which ns[shop]-policy[ask]-rule[0] asks");
});

it("needs to know our own trust domain, and takes it from what there is", async () => {
  const { policy, write } = policyWorkspace(files);
  expect((await policy("explain", "-c", "c.yaml")).err).toBe("");
  write("c.yaml", ORDERS_YAML.replace(/identity:.*\n/, ""));
  expect((await policy("explain", "-c", "c.yaml")).err).toContain("nobody here knows our own trust domain");
  expect((await policy("explain", "-c", "c.yaml", "--trust-domain", "example.org")).err).toBe("");
});

it.each<[readonly string[], string]>([
  [["--from", "no id"], "--from: "],
  [["--ip", "10"], '--ip "10" is no IP address'],
  [["--port", "x"], "--port is no number"],
  [["--header", "none"], "--header is not like"],
  [["--claims", "{"], "--claims is not JSON"],
  [["--tcp", "--curl", "curl x"], "--curl is about a request, and a TCP connection has none"],
  [["--tcp", "--path", "/x"], "--path is about a request"],
  [["--id", "a", "--path", "/x"], "--id says the whole call, so --path would mean nothing"],
  [["--requests", "r.jsonl", "--from", "nobody"], "--requests says the whole call, so --from would mean nothing"],
  [["--id", "a", "--requests", "r.jsonl"], "--id and --requests are two ways"],
  [["--audit", "a.jsonl"], "--audit says where to look for --id"],
  [["--id", "a", "--audit", "gone.jsonl"], "gone.jsonl: E_AUDIT_FILE does not exist"],
  [["--requests", "gone.jsonl"], "gone.jsonl: E_POLICY_REQUEST"],
])("refuses %j", async (argv, why) => {
  const { policy } = policyWorkspace(files);
  const { code, out, err } = await policy("explain", "-c", "c.yaml", ...argv);
  expect({ code, out }).toEqual({ code: 2, out: "" });
  expect(err).toContain(why);
});

it("says of a line of many who is asked first, and shows nothing that controls a terminal", async () => {
  const custom = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ask, namespace: shop }
spec: { action: CUSTOM, provider: { name: opa }, rules: [{}] }
---
`;
  const config = `${PERMISSIVE}extensionProviders: [{ name: opa, envoyExtAuthzGrpc: { service: 127.0.0.1, port: 9 } }]\n`;
  const line = {
    protocol: "http",
    request: { method: "GET", host: "a", path: "/x", headers: { "x-tenant": "\u001b[2J" } },
  };
  const { policy } = policyWorkspace({
    "c.yaml": config,
    "policies/p.yaml": `${custom}${policyText()}`,
    "r.jsonl": `${JSON.stringify(line)}\n`,
  });
  const { out } = await policy("explain", "-c", "c.yaml", "--requests", "r.jsonl");
  expect(out).toContain("; after opa is asked\n");
  expect(out).not.toContain("\u001b");
});

function policyText(): string {
  return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: tenants, namespace: shop }
spec: { rules: [{ when: [{ key: "request.headers[x-tenant]", values: [acme] }] }] }
`;
}

describe("what the handshake refuses", () => {
  const policies = (mtls: string) => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: health, namespace: shop }
spec: { rules: [{ to: [{ operation: { paths: [/health] } }] }] }
${
  mtls === ""
    ? ""
    : `---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: mtls, namespace: shop }
spec: { mtls: { mode: ${mtls} } }
`
}`;
  const listener = (mtls: string) =>
    mtls === "" ? ORDERS_YAML : ORDERS_YAML.replace("protocol: http", `$&, mtls: ${mtls}`);
  const istio = (yaml: string) => `${yaml}authorization: { mode: istio }\n`;
  const [nobody, noCertificate, web] = [[], ["--sni", "orders"], ["--from", WEB]];

  it.each<[string, string, string, readonly string[], string]>([
    ["plaintext on a listener that says nothing", listener(""), "", nobody, "E_PLAINTEXT_REFUSED"],
    ["no certificate on a listener that says nothing", listener(""), "", noCertificate, "E_PEER_NO_CERTIFICATE"],
    ["an identity on a listener that says nothing", listener(""), "", web, "rule"],
    ["plaintext on a permissive listener", listener("permissive"), "", nobody, "rule"],
    ["no certificate on a permissive listener", listener("permissive"), "", noCertificate, "E_PEER_NO_CERTIFICATE"],
    ["plaintext where a document tightens", listener("permissive"), "STRICT", nobody, "E_PLAINTEXT_REFUSED"],
    ["plaintext where a document loosens in istio mode", istio(listener("strict")), "PERMISSIVE", nobody, "rule"],
    ["plaintext where plaintext alone is taken", listener("disable"), "", nobody, "rule"],
  ])("%s", async (_, config, mtls, from, reason) => {
    const { policy } = policyWorkspace({ "c.yaml": config, "policies/p.yaml": policies(mtls) });
    const { code, out } = await policy("explain", "-c", "c.yaml", "--path", "/health", ...from, "--json");
    expect([code, (JSON.parse(out) as { reason: string }).reason]).toEqual([reason === "rule" ? 0 : 1, reason]);
  });

  it("is said of the connection", async () => {
    const { policy } = policyWorkspace({ "policies/p.yaml": policies("") });
    const { out } = await policy("explain", "-c", "c.yaml", "--path", "/health");
    expect(out).toBe(`DENY  GET /health by nobody
  the caller sent plaintext, and this listener takes only mutual TLS
  E_PLAINTEXT_REFUSED

policy is not asked about such a connection
`);
  });

  it("counts for the listeners of the call's port, and for all where the port is not known", async () => {
    const more = (mtls: string) =>
      ORDERS_YAML.replace(
        "protocol: http }]",
        `protocol: http }, { name: other, listen: "127.0.0.1:15007", app: "127.0.0.1:9090", protocol: http, mtls: ${mtls} }]`,
      );
    const { policy, write } = policyWorkspace({ "c.yaml": more("permissive"), "policies/p.yaml": policies("") });
    const ask = async (...port: string[]) =>
      (await policy("explain", "-c", "c.yaml", "--path", "/health", ...port)).code;
    expect([await ask(), await ask("--port", "8080"), await ask("--port", "9090")]).toEqual([0, 1, 0]);
    write("c.yaml", more("strict"));
    expect([await ask(), await ask("--port", "8080"), await ask("--port", "9090")]).toEqual([1, 1, 1]);
  });

  it("is a note beside what policy makes of a line of a file", async () => {
    const line = '{"source": {"spiffeId": null}, "request": {"method": "GET", "path": "/health"}}';
    const { policy } = policyWorkspace({ "policies/p.yaml": policies("STRICT"), "calls.jsonl": line });
    const { code, out } = await policy("explain", "-c", "c.yaml", "--requests", "calls.jsonl", "--json");
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({
      decision: "allow",
      rule: "ns[shop]-policy[health]-rule[0]",
      notes: [expect.stringContaining("refused before policy is asked, with E_PLAINTEXT_REFUSED")],
    });
  });

  it("leaves nobody an identity where only plaintext is taken", async () => {
    const { policy } = policyWorkspace({ ...files, "c.yaml": listener("disable") });
    const { code, out } = await policy("explain", "-c", "c.yaml", "--from", WEB, "--path", "/orders/7");
    expect(code).toBe(1);
    expect(out).toContain("note: the listener takes plaintext alone, so the caller counts as nobody");
  });
});

it("says that claims count for nothing where no RequestAuthentication applies", async () => {
  const robots = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: robots, namespace: shop }
spec: { rules: [{ from: [{ source: { requestPrincipals: [i/s] } }] }] }
`;
  const tokens = `---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: tokens, namespace: shop }
spec: { jwtRules: [{ issuer: i, audiences: [a], jwksUri: "https://i.example/jwks" }] }
`;
  const { policy, write } = policyWorkspace({ "policies/p.yaml": robots });
  const asked = ["explain", "-c", "c.yaml", "--from", WEB, "--claims", '{"iss":"i","sub":"s"}'];
  const note =
    "no RequestAuthentication applies to this workload, so no token is verified and no real request has these claims";
  expect((await policy(...asked)).out).toContain(`  note: ${note}\n`);
  expect(JSON.parse((await policy(...asked, "--json")).out)).toMatchObject({ decision: "allow", notes: [note] });
  write("policies/p.yaml", `${robots}${tokens}`);
  expect((await policy(...asked)).out).not.toContain("note:");
});

it("answers request lines of its standard input", async () => {
  const { folder } = policyWorkspace(files);
  const line = (path: string) => JSON.stringify({ source: { spiffeId: `spiffe://${WEB}` }, request: { path } });
  const lines = chunksOf(`${line("/orders/7")}\n\n${line("/admin")}`);
  const { code, out } = await runCommand(run, ["explain", "-c", "c.yaml", "--requests", "-"], folder, {}, lines);
  expect(code).toBe(0);
  expect(out.split("\n").map((one) => one.split(" ")[0])).toEqual(["allow", "deny", ""]);
});
