import { describe, expect, it } from "vitest";
import { ORDERS_YAML, policyWorkspace } from "../../test/support/policy-workspace.ts";

const HEAD = (name: string, action: string) => `apiVersion: countersign.dev/v1
kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: shop }
spec:
  action: ${action}
`;
const policyOf = (rules: readonly string[], action = "ALLOW", name = action.toLowerCase()) =>
  `${HEAD(name, action)}  rules:\n${rules.map((rule) => `    - ${rule}\n`).join("")}`;
const WEB = "example.org/ns/shop/sa/web";
const PERMISSIVE = ORDERS_YAML.replace("protocol: http }", "protocol: http, mtls: permissive }");

interface Found {
  readonly calls: number;
  readonly changed: number;
  readonly otherRule: number;
  readonly coverage: {
    readonly rules: readonly number[];
    readonly withoutCall: readonly number[];
    readonly silent: readonly { readonly rule: string }[];
    readonly otherDirection: number;
    readonly tokensDiffer: boolean;
    readonly settingsDiffer: boolean;
  };
  readonly groups: readonly { readonly change: string }[];
}

async function compare(before: string, after: string, config = ORDERS_YAML, ...more: string[]) {
  const { policy } = policyWorkspace({ "c.yaml": config, "before.yaml": before, "after.yaml": after });
  const count = more.includes("--generate") ? [] : ["--generate", "3000"];
  const asked = ["before.yaml", "after.yaml", "-c", "c.yaml", "--json", ...count, ...more];
  const { code, out, err } = await policy("diff", ...asked);
  if (code === 2) throw new Error(err);
  return { code, found: JSON.parse(out) as Found };
}

/** ALLOW policies with that many rules of services, each with a path of its own. */
const many = (count: number) =>
  Array.from({ length: Math.ceil(count / 400) }, (_, part) =>
    policyOf(
      Array.from({ length: Math.min(400, count - part * 400) }, (__, i) => {
        const number = part * 400 + i;
        return `{ from: [{ source: { principals: [example.org/ns/shop/sa/s${number}] } }], to: [{ operation: { methods: [GET], paths: ["/s${number}", "/s${number}/{*}"] } }] }`;
      }),
      "ALLOW",
      `services-${part}`,
    ),
  ).join("---\n");

describe("a rule that is new among thousands", () => {
  it.each<[string, string, string]>([
    [
      "ALLOW",
      policyOf([
        `{ from: [{ source: { principals: [example.org/ns/shop/sa/evil] } }], to: [{ operation: { methods: [PUT], paths: [/backdoor] } }] }`,
      ]),
      "deny → allow",
    ],
    ["DENY", policyOf([`{ to: [{ operation: { paths: [/s1234/secret] } }] }`], "DENY"), "allow → deny"],
  ])(
    "%s is found",
    async (_, added, change) => {
      const before = many(4000);
      const { code, found } = await compare(before, `${before}---\n${added}`, ORDERS_YAML, "--generate", "20000");
      expect(code).toBe(1);
      expect(found.groups[0]?.change).toBe(change);
      expect(found.coverage.silent).toEqual([]);
    },
    120_000,
  );

  it("leaves calls for the others, and says how many rules got none", async () => {
    const before = many(1200);
    const { code, found } = await compare(before, before, ORDERS_YAML, "--generate", "10000");
    expect([code, found.coverage.rules, found.coverage.withoutCall]).toEqual([0, [1200, 1200], [0, 0]]);
    const few = await compare(before, before, ORDERS_YAML, "--generate", "1000");
    const [without = 0] = few.found.coverage.withoutCall;
    expect(without).toBeGreaterThan(300);
    expect(without).toBeLessThan(1200);
  }, 60_000);

  it("is the same in another place, with its values in another order", async () => {
    const rules = [
      `{ to: [{ operation: { methods: [GET, PUT], paths: [/a, /b] } }] }`,
      `{ from: [{ source: { namespaces: [x, y] } }] }`,
    ];
    const other = [
      `{ from: [{ source: { namespaces: [y, x] } }] }`,
      `{ to: [{ operation: { paths: [/b, /a], methods: [PUT, GET] } }] }`,
    ];
    const { code, found } = await compare(policyOf(rules), policyOf(other));
    expect([code, found.changed, found.coverage.silent]).toEqual([0, 0, []]);
  });
});

describe("made-up calls find", () => {
  const source = (fields: string) => policyOf([`{ from: [{ source: { ${fields} } }] }`]);
  const condition = (text: string, action = "ALLOW") => policyOf([`{ conditions: ${JSON.stringify(text)} }`], action);
  const when = (key: string, value: string) => policyOf([`{ when: [{ key: "${key}", values: ["${value}"] }] }`]);

  it.each<[string, string, string]>([
    ["partners that are let in", source("namespaces: [prod]"), source('namespaces: [prod], trustDomains: ["*"]')],
    ["an alias", source("trustDomains: [example.org]"), source("trustDomains: [partner.example]")],
    ["a service account", source("serviceAccounts: [shop/web]"), source("serviceAccounts: [shop/web2]")],
    [
      "a template of identities",
      source('principals: ["example.org/a/{*}"]'),
      source('principals: ["example.org/a/{**}"]'),
    ],
    ["everybody but nobody", source('notPrincipals: ["*"]'), source('principals: ["*"]')],
    ...["ipBlocks", "remoteIpBlocks", "notIpBlocks"].flatMap((field): [string, string, string][] => [
      [`/16 that becomes /17 in ${field}`, source(`${field}: [10.1.0.0/16]`), source(`${field}: [10.1.0.0/17]`)],
      [`/16 that becomes /24 in ${field}`, source(`${field}: [10.1.0.0/16]`), source(`${field}: [10.1.0.0/24]`)],
      [
        `/32 that becomes /33 in ${field}`,
        source(`${field}: ["2001:db8::/32"]`),
        source(`${field}: ["2001:db8::/33"]`),
      ],
      [
        `/33 that becomes /32 in ${field}`,
        source(`${field}: ["2001:db8:8000::/33"]`),
        source(`${field}: ["2001:db8::/32"]`),
      ],
    ]),
    ["a block among thousands", ...blocks()],
    ["a header's literal", condition("request.headers['x-a'] == 'b'"), condition("request.headers['x-a'] == 'c'")],
    ["a method's literal", condition("request.method == 'GET'"), condition("request.method in ['GET', 'PUT']")],
    ["a path's beginning", condition("request.path.startsWith('/a')"), condition("request.path.startsWith('/b')")],
    ["a path's end", condition("request.path.endsWith('.css')"), condition("request.path.contains('.css')")],
    ["a port's bound", condition("connection.destinationPort < 8000"), condition("connection.destinationPort <= 8000")],
    ["a time of day", condition("time.getHours('Europe/Zurich') < 6"), condition("time.getHours('Europe/Zurich') < 7")],
    [
      "a date",
      condition("time < timestamp('2031-05-05T05:05:05Z')"),
      condition("time < timestamp('2031-05-05T05:05:06Z')"),
    ],
    [
      "a claim of a condition",
      condition("request.auth.claims['role'] == 'admin'"),
      condition("request.auth.claims['role'] == 'root'"),
    ],
    ["a group", condition("'a' in request.auth.claims['groups']"), condition("'b' in request.auth.claims['groups']")],
    [
      "one of two comparisons",
      condition("request.method == 'PUT' && request.headers['x-a'] == 'b'"),
      condition("request.method == 'PUT' && request.headers['x-a'] == 'c'"),
    ],
    ["a pattern", condition("request.path.matches('^/[0-9]{7}$')"), condition("request.path.matches('^/[0-9]{8}$')")],
    [
      "what stands beside a pattern",
      condition("request.method == 'PUT' && request.headers['x-batch'].matches('^[0-9]{4}-[0-9]{2}$')"),
      condition("request.method != 'PUT' && request.headers['x-batch'].matches('^[0-9]{4}-[0-9]{2}$')"),
    ],
    ["a condition that is gone", condition("request.headers['x-a'] == 'b'"), policyOf(["{}"])],
    ["a server name", when("connection.sni", "a.example"), when("connection.sni", "b.example")],
    ["an address connected to", when("destination.ip", "10.0.0.0/24"), when("destination.ip", "10.0.0.0/25")],
    [
      "one value more of a DENY",
      `${policyOf(["{}"])}---\n${policyOf(["{ to: [{ operation: { paths: [/a] } }] }"], "DENY")}`,
      `${policyOf(["{}"])}---\n${policyOf(["{ to: [{ operation: { paths: [/a, /b] } }] }"], "DENY")}`,
    ],
    [
      "an operation among many",
      policyOf([operations(40, "GET")]),
      policyOf([operations(40, "GET").replace("methods: [GET], paths: [/p7]", "methods: [GET, PUT], paths: [/p7]")]),
    ],
  ])("%s", async (_, before, after) => {
    const { code, found } = await compare(before, after, PERMISSIVE);
    expect(code).toBe(1);
    expect(found.changed).toBeGreaterThan(0);
    const back = await compare(after, before, PERMISSIVE);
    expect(back.found.changed).toBeGreaterThan(0);
  });

  it.each(["strict", "istio"])("a PeerAuthentication that takes plaintext too, in %s mode", async (mode) => {
    const mtls = (wanted: string) => `${policyOf(["{}"])}---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: mtls, namespace: shop }
spec: { selector: { matchLabels: { app: orders } }, mtls: { mode: ${wanted} }, portLevelMtls: { 9090: { mode: STRICT } } }
`;
    const config = `${PERMISSIVE}authorization: { mode: ${mode} }\n`;
    const { code, found } = await compare(mtls("STRICT"), mtls("PERMISSIVE"), config, "--generate", "1000");
    expect([code, found.groups[0]?.change]).toEqual([1, "deny → allow"]);
    const port = mtls("STRICT").replace("{ 9090: { mode: STRICT } }", "{ 9090: { mode: PERMISSIVE } }");
    expect((await compare(mtls("STRICT"), port, config, "--generate", "1000")).found.changed).toBeGreaterThan(0);
  });
});

describe("what no call shows is said, and fails", () => {
  it("of a condition whose literals say nothing", async () => {
    const conditions = (text: string) => policyOf([`{ conditions: "request.path.matches('${text}')" }`]);
    const { code, found } = await compare(conditions("^(?i)/a{7}$"), conditions("^(?i)/a{8}$"));
    expect([code, found.changed, found.coverage.silent]).toEqual([
      1,
      0,
      [
        { set: "before", rule: "ns[shop]-policy[allow]-rule[0]", hasConditions: true },
        { set: "after", rule: "ns[shop]-policy[allow]-rule[0]", hasConditions: true },
      ],
    ]);
    const { policy } = policyWorkspace({ "a.yaml": conditions("^(?i)/a{7}$"), "b.yaml": conditions("^(?i)/a{8}$") });
    const { out } = await policy("diff", "a.yaml", "b.yaml", "-c", "c.yaml", "--generate", "1000");
    expect(out).toContain(`
the sets differ, and no generated call shows how:
  ns[shop]-policy[allow]-rule[0] (only before; it has conditions)
  ns[shop]-policy[allow]-rule[0] (only after; it has conditions)
`);
  });

  it("of a rule that another one covers", async () => {
    const { code, found } = await compare(
      policyOf(["{}"]),
      policyOf(["{}", "{ to: [{ operation: { methods: [GET] } }] }"]),
    );
    expect([code, found.changed, found.coverage.silent]).toMatchObject([1, 0, [{ set: "after" }]]);
  });

  it("of rules about calls in the other direction", async () => {
    const out = (path: string) => `${policyOf(["{}"])}---\n${HEAD("out", "ALLOW")}  direction: OUTBOUND
  rules: [{ to: [{ operation: { principals: [${WEB}], paths: [${path}] } }] }]\n`;
    const { code, found } = await compare(out("/a"), out("/b"));
    expect([code, found.changed, found.coverage.otherDirection]).toEqual([1, 0, 2]);
    const config = `${ORDERS_YAML}outbound: [{ name: pay, listen: "127.0.0.1:9001", to: ["web:15006"], identity: "spiffe://${WEB}" }]\n`;
    const outbound = await compare(out("/a"), out("/b"), config, "--outbound", "--generate", "2000");
    expect(outbound.found.groups.map(({ change }) => change)).toEqual(
      expect.arrayContaining(["deny → allow", "allow → deny"]),
    );
  });

  it("of documents about tokens", async () => {
    const tokens = (issuer: string) => `${policyOf(["{}"])}---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: tokens, namespace: shop }
spec: { jwtRules: [{ issuer: ${issuer}, audiences: [a], jwksUri: "https://i.example/jwks" }] }
`;
    const { code, found } = await compare(tokens("a"), tokens("b"));
    expect([code, found.changed, found.coverage.tokensDiffer]).toEqual([1, 0, true]);
  });

  it("of nothing where policies differ that are not about this workload", async () => {
    const { code } = await compare(
      policyOf(["{}"]),
      `${policyOf(["{}"])}---\n${policyOf(["{}"]).replace("namespace: shop", "namespace: other")}`,
    );
    expect(code).toBe(0);
  });
});

function blocks(): [string, string] {
  const lines = Array.from({ length: 3000 }, (_, i) => `11.${i >> 8}.${i & 255}.0/24`);
  const list = (more: readonly string[]) =>
    policyOf([`{ from: [{ source: { ipBlocks: [${[...lines, ...more].join(", ")}] } }] }`]);
  return [list([]), list(["192.0.2.0/24"])];
}

function operations(count: number, method: string): string {
  const all = Array.from({ length: count }, (_, i) => `{ operation: { methods: [${method}], paths: [/p${i}] } }`);
  return `{ to: [${all.join(", ")}] }`;
}
