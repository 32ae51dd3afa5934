import { execFile, execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { auditLines } from "../../test/support/audit-lines.ts";
import { ORDERS_YAML, policyWorkspace } from "../../test/support/policy-workspace.ts";
import { runCommand } from "../../test/support/run-command.ts";
import { chunksOf } from "../../test/support/text-chunks.ts";
import { run } from "./policy.ts";

const LOG = auditLines([
  { path: "/orders" },
  { path: "/orders", method: "POST" },
  { path: "/orders/7" },
  { path: "/orders/8" },
  { from: "reports", path: "/orders/7" },
  { from: "reports", path: "/orders/9" },
  { from: "evil", path: "/admin", over: { decision: "deny", reason: "E_POLICY_DENIED_BY_DEFAULT" } },
  { path: "/late", over: { decision: "error", reason: "E_UPSTREAM_TIMEOUT" } },
  { path: "/bad", over: { decision: "error", reason: "E_PATH_NUL", policyVersion: undefined } },
]);

it("writes the policies that the log proves, with the evidence, and checks them against it", async () => {
  const { policy, write } = policyWorkspace({ "audit.jsonl": LOG });
  const { code, out, err } = await policy("suggest", "-c", "c.yaml", "audit.jsonl", "--name", "orders-callers");
  expect({ code, err }).toEqual({
    code: 0,
    err: "checked: the suggestion allows 7 of the 7 calls that were allowed\n",
  });
  expect(out).toBe(`# Written by \`countersign policy suggest\` from "audit.jsonl":
# 7 calls from 2030-01-01T12:34:56.789000Z to 2030-01-01T12:34:56.789000Z.
# Left out: 1 call (denied), e.g. "GET /admin".
# Read it before you use it: it allows what was done, not what should be.
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: "orders-callers", namespace: "shop" }
spec:
  selector: { matchLabels: { "app": "orders" } }
  action: ALLOW
  rules:
    # "example.org/ns/shop/sa/reports": 2 calls, last 2030-01-01T12:34:56.789000Z
    - from:
        - source: { principals: ["example.org/ns/shop/sa/reports"] }
      to:
        # read:
        # GET "/orders/{*}": 2 calls, last 2030-01-01T12:34:56.789000Z, such as "/orders/7"
        - operation:
            methods: ["GET"]
            paths: ["/orders/{*}"]
    # "example.org/ns/shop/sa/web": 5 calls, last 2030-01-01T12:34:56.789000Z
    - from:
        - source: { principals: ["example.org/ns/shop/sa/web"] }
      to:
        # read:
        # GET "/late": 1 call, last 2030-01-01T12:34:56.789000Z
        # GET "/orders": 1 call, last 2030-01-01T12:34:56.789000Z
        # GET "/orders/{*}": 2 calls, last 2030-01-01T12:34:56.789000Z, such as "/orders/7"
        - operation:
            methods: ["GET"]
            paths: ["/late", "/orders", "/orders/{*}"]
        # write:
        # POST "/orders": 1 call, last 2030-01-01T12:34:56.789000Z
        - operation:
            methods: ["POST"]
            paths: ["/orders"]
`);
  write("policies/suggested.yaml", out);
  const table = `tests:
  - { from: example.org/ns/shop/sa/web, path: /orders/1, expect: allow }
  - { from: example.org/ns/shop/sa/web, path: /orders/1, method: PUT, expect: deny }
  - { from: example.org/ns/shop/sa/reports, path: /orders, expect: deny }
  - { from: example.org/ns/shop/sa/evil, path: /admin, expect: deny }
`;
  write("t.test.yaml", table);
  expect((await policy("test", "-c", "c.yaml", "t.test.yaml")).code).toBe(0);
});

it("reads the audit files of the configuration, and says which lines were no records", async () => {
  const { policy, write } = policyWorkspace({ "audit.jsonl": `${LOG}{"torn` });
  const { code, err } = await policy("suggest", "-c", "c.yaml");
  expect(code).toBe(0);
  expect(err).toContain("1 line was no audit record\n");
  write("c.yaml", "workload: { namespace: shop }\n");
  expect((await policy("suggest", "-c", "c.yaml", "--trust-domain", "example.org")).err).toContain(
    "E_AUDIT_FILE the configuration writes no audit file",
  );
});

it("says that calls are left out which no policy can allow alone", async () => {
  const { policy } = policyWorkspace({
    "audit.jsonl": auditLines([{ path: "/a" }, { path: "/b*" }, { path: "/c;v=1" }]),
  });
  const { code, out, err } = await policy("suggest", "-c", "c.yaml");
  expect(code).toBe(0);
  expect(err).toContain("allows 1 of the 3 calls that were allowed; 2 are left out, as its first lines say\n");
  expect(out.match(/^# Left out: 1 call/gm)).toHaveLength(2);
});

it("says what it would open again that was denied", async () => {
  const denied = { decision: "deny", reason: "E_POLICY_DENIED_BY_RULE" } as const;
  const { policy } = policyWorkspace({
    "audit.jsonl": auditLines([{ path: "/o/1" }, { path: "/o/2" }, { path: "/o/3", over: denied }]),
  });
  const { code, err } = await policy("suggest", "-c", "c.yaml");
  expect(code).toBe(0);
  expect(err).toContain("it also allows 1 of the calls that were denied: keep the DENY policies beside it\n");
});

it("leaves out what no policy can name, and counts none of it as allowed", async () => {
  const { policy, write } = policyWorkspace({
    "audit.jsonl": auditLines([
      { path: "/a" },
      { path: "//b" },
      { path: "/%zz" },
      { path: "/a%00b" },
      { method: "get" },
    ]),
  });
  const { code, out, err } = await policy("suggest", "-c", "c.yaml");
  expect([code, err]).toEqual([
    0,
    "checked: the suggestion allows 1 of the 5 calls that were allowed; 4 are left out, as its first lines say\n",
  ]);
  expect(out.match(/^# Left out: 1 call/gm)).toHaveLength(4);
  write("policies/suggested.yaml", out);
  expect((await policy("lint", "-c", "c.yaml")).out).not.toContain("W_POLICY_NEVER_MATCHES");
});

it("checks calls without identity as they came, though the listener would refuse them now", async () => {
  const { policy } = policyWorkspace({ "audit.jsonl": auditLines([{ from: "", path: "/health" }]) });
  const { code, err } = await policy("suggest", "-c", "c.yaml");
  expect([code, err]).toEqual([0, "checked: the suggestion allows 1 of the 1 calls that were allowed\n"]);
});

it("reads a log twice that comes from its standard input, or from a pipe", async () => {
  const { folder } = policyWorkspace();
  const { code, out, err } = await runCommand(run, ["suggest", "-c", "c.yaml", "-"], folder, {}, chunksOf(LOG));
  expect([code, err]).toEqual([0, "checked: the suggestion allows 7 of the 7 calls that were allowed\n"]);
  expect(out).toContain('from "standard input"');
  writeFileSync(join(folder, "audit.jsonl"), LOG);
  execFileSync("mkfifo", [join(folder, "pipe")]);
  const writing = promisify(execFile)("sh", ["-c", "cat audit.jsonl > pipe"], { cwd: folder });
  const piped = await runCommand(run, ["suggest", "-c", "c.yaml", "pipe"], folder);
  await writing;
  expect([piped.code, piped.err]).toEqual([code, err]);
});

it("names ports where the configuration has several, though the calls came to one", async () => {
  const config = ORDERS_YAML.replace(
    "protocol: http }]",
    'protocol: http }, { name: db, listen: "127.0.0.1:15007", app: "127.0.0.1:5432", protocol: tcp }]',
  );
  const { policy, write } = policyWorkspace({ "c.yaml": config, "audit.jsonl": LOG });
  const { code, out } = await policy("suggest", "-c", "c.yaml");
  expect(code).toBe(0);
  expect(out).toContain('ports: ["8080"]');
  write("policies/suggested.yaml", out);
  expect((await policy("lint", "-c", "c.yaml")).out).toContain("no errors");
});

it("does not pass for a success where there is nothing to suggest from", async () => {
  const { policy, write } = policyWorkspace({ "audit.jsonl": "" });
  const { code, out, err } = await policy("suggest", "-c", "c.yaml", "audit.jsonl");
  expect([code, err]).toEqual([
    1,
    "there is no inbound call that policy allowed in audit.jsonl: the suggestion allows nothing\n",
  ]);
  expect(out).toContain("# no call, so nothing is allowed");
  write("audit.jsonl", LOG);
  expect((await policy("suggest", "-c", "c.yaml", "audit.jsonl", "--outbound")).code).toBe(1);
  const wrong = await policy("suggest", "-c", "c.yaml", "audit.jsonl", "--name", "Not A Name");
  expect([wrong.code, wrong.out]).toEqual([2, ""]);
  expect(wrong.err).toContain("--name is no name");
});

it("ends no comment and no value with what a caller sent", async () => {
  const paths = ['/x"],from:[]', '/x\n- from: []\u2028"]\n'];
  const { policy } = policyWorkspace({ "audit.jsonl": auditLines(paths.map((path) => ({ path }))) });
  const { code, out } = await policy("suggest", "-c", "c.yaml", "audit.jsonl");
  expect(code).toBe(0);
  expect(out).toContain(String.raw`paths: ["/x\"],from:[]"]`);
  expect(out).toContain(
    String.raw`# Left out: 1 call (the path has a character that no request may have), e.g. "GET /x\n- from: []\u2028\"]\n".`,
  );
});

it.each(["--ids=0", "--names=x"])("refuses %s", async (option) => {
  const { policy } = policyWorkspace({ "audit.jsonl": LOG });
  expect((await policy("suggest", "-c", "c.yaml", option)).code).toBe(2);
});

it("keeps its memory while the log grows", async () => {
  const { policy, write } = policyWorkspace();
  const some = auditLines(Array.from({ length: 2000 }, (_, i) => ({ path: `/orders/${i}/items/${i % 7}` })));
  write("audit.jsonl", some.repeat(20));
  const { out, err } = await policy("suggest", "-c", "c.yaml");
  expect(err).toContain("allows 40000 of the 40000 calls");
  expect(out).toContain('paths: ["/orders/{*}/items/{*}"]');
});
