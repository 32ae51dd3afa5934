import { linkSync, readFileSync, statSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ORDERS_YAML, policyWorkspace } from "../../test/support/policy-workspace.ts";

const policyOf = (name: string, rules: string, action = "ALLOW") => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: shop }
spec:
  action: ${action}
  rules:
${rules}
`;

interface Finding {
  readonly code: string;
  readonly message: string;
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly fix: string;
}

/** Findings of policies in p.yaml, as `code line:column`. */
async function lintOf(text: string): Promise<{ readonly code: number; readonly found: readonly Finding[] }> {
  const { policy } = policyWorkspace({ "policies/p.yaml": text });
  const { code, out } = await policy("lint", "-c", "c.yaml", "--json");
  const { errors, warnings } = JSON.parse(out) as { errors: Finding[]; warnings: Finding[] };
  return { code, found: [...errors, ...warnings] };
}

const WEB = "    - from: [{ source: { principals: [example.org/ns/shop/sa/web] } }]";

describe("lint finds", () => {
  it("nothing in policies that say what they mean", async () => {
    const text = policyOf("p", `${WEB}\n      to: [{ operation: { methods: [GET], paths: [/orders, /orders/*] } }]`);
    expect(await lintOf(text)).toEqual({ code: 0, found: [] });
  });

  it.each<[string, string, readonly string[]]>([
    ["an ALLOW that lets anybody do anything", policyOf("p", "    - {}"), ["W_POLICY_BROAD 7:7"]],
    ["a source of stars", policyOf("p", '    - from: [{ source: { namespaces: ["*"] } }]'), ["W_POLICY_BROAD 7:26"]],
    [
      "a source that only leaves out",
      policyOf("p", "    - from: [{ source: { notNamespaces: [evil] } }]"),
      ["W_POLICY_BROAD 7:26"],
    ],
    [
      "every address",
      policyOf(
        "p",
        '    - from: [{ source: { ipBlocks: ["0.0.0.0/0"] } }]\n      to: [{ operation: { paths: [/a] } }]',
      ),
      ["W_POLICY_BROAD 7:26"],
    ],
    [
      "a path that ends within a segment",
      policyOf("p", `${WEB}\n      to: [{ operation: { paths: [/orders*] } }]`),
      ["W_POLICY_BROAD 8:27"],
    ],
    [
      "a path that begins a name of dots",
      policyOf("p", `${WEB}\n      to: [{ operation: { paths: ["/.*"] } }]`),
      ["W_POLICY_BROAD 8:27"],
    ],
    [
      "a principal that ends within a segment",
      policyOf("p", "    - from: [{ source: { principals: [example.org/ns/shop*] } }]"),
      ["W_POLICY_BROAD 7:26"],
    ],
    [
      "a principal that begins within a segment",
      policyOf("p", '    - from: [{ source: { principals: ["*sa/web"] } }]'),
      ["W_POLICY_BROAD 7:26"],
    ],
    [
      "an ALLOW that a DENY takes back",
      policyOf("a", `${WEB}\n      to: [{ operation: { paths: [/admin/x] } }]`) +
        "---\n" +
        policyOf("d", "    - to: [{ operation: { paths: [/admin*] } }]", "DENY"),
      ["W_POLICY_UNREACHABLE 7:7"],
    ],
    [
      "an ALLOW and a DENY of the same",
      `${policyOf("a", WEB)}---\n${policyOf("d", WEB, "DENY")}`,
      ["W_POLICY_CONTRADICTION 7:7"],
    ],
    [
      "a rule that one of another policy covers",
      `${policyOf("a", WEB)}---\n${policyOf("b", `${WEB}\n      to: [{ operation: { methods: [GET] } }]`)}`,
      ["W_POLICY_SHADOWED 15:7"],
    ],
    ["a rule that one of its own policy covers", policyOf("a", `${WEB}\n${WEB}`), ["W_POLICY_SHADOWED 8:7"]],
    [
      "the listener's port in place of the app's",
      policyOf("p", `${WEB}\n      to: [{ operation: { ports: ["15006"] } }]`),
      ["W_POLICY_UNREACHABLE 8:27"],
    ],
    [
      "a condition that its source rules out",
      policyOf("p", `${WEB}\n      when: [{ key: source.principal, values: [example.org/ns/shop/sa/batch] }]`),
      ["W_POLICY_CONTRADICTION 8:39"],
    ],
    [
      "addresses that another condition rules out",
      policyOf(
        "p",
        '    - from: [{ source: { ipBlocks: [10.0.0.0/8, "2001:db8::/32"] } }]\n      when: [{ key: source.ip, values: [192.168.0.0/16, "2001:db9::1"] }]',
      ),
      ["W_POLICY_CONTRADICTION 8:32"],
    ],
    [
      "two addresses of the destination",
      policyOf(
        "p",
        `${WEB}\n      when: [{ key: destination.ip, values: [10.0.0.1] }, { key: destination.ip, values: [10.0.0.2] }]`,
      ),
      ["W_POLICY_CONTRADICTION 8:82"],
    ],
    [
      "a field that its own negation takes away",
      policyOf("p", `${WEB}\n      to: [{ operation: { paths: [/a], notPaths: [/a] } }]`),
      ["W_POLICY_NEVER_MATCHES 8:40"],
    ],
    [
      "a value that another one covers",
      policyOf("p", `${WEB}\n      to: [{ operation: { paths: [/a/*, /a/b] } }]`),
      ["W_POLICY_VALUE_REPEATED 8:27"],
    ],
    [
      "a value twice",
      policyOf("p", `${WEB}\n      to: [{ operation: { methods: [GET, GET] } }]`),
      ["W_POLICY_VALUE_REPEATED 8:27"],
    ],
    [
      "an unknown trust domain",
      policyOf("p", "    - from: [{ source: { principals: [other.org/x/y] } }]"),
      ["W_POLICY_TRUST_DOMAIN 7:26"],
    ],
    [
      "two items where one was meant",
      policyOf(
        "p",
        "    - from: [{ source: { principals: [example.org/a/b] } }, { source: { ipBlocks: [10.0.0.0/8] } }]",
      ),
      ["W_POLICY_TWO_ITEMS 7:73"],
    ],
    [
      "a selector that selects nothing",
      policyOf("p", WEB).replace("spec:\n", "spec:\n  selector: { matchLabels: { app: order } }\n"),
      ["W_POLICY_SELECTOR 1:1"],
    ],
    ["an unknown key", policyOf("p", "    - form: []"), ["E_POLICY_UNKNOWN_KEY 7:7"]],
  ])("%s", async (_, text, expected) => {
    const { code, found } = await lintOf(text);
    expect(found.map(({ code: what, line, column }) => `${what} ${line}:${column}`)).toEqual(expected);
    expect(found.every(({ message, fix, file }) => message !== "" && fix !== "" && file === "policies/p.yaml")).toBe(
      true,
    );
    expect(code).toBe(found.some(({ code: what }) => what.startsWith("E_")) ? 2 : 1);
  });

  it("names other files as it names those that it finds things in", async () => {
    const narrow = policyOf("b", `${WEB}\n      to: [{ operation: { methods: [GET] } }]`);
    const { policy } = policyWorkspace({ "policies/a.yaml": policyOf("a", WEB), "policies/b.yaml": narrow });
    const { out } = await policy("lint", "-c", "c.yaml");
    expect(out).toContain("ns[shop]-policy[a]-rule[0] (policies/a.yaml:7) matches whatever it matches");
  });

  it.each<[string, string]>([
    ["a public path", policyOf("p", "    - to: [{ operation: { paths: [/healthz] } }]")],
    ["callers without identity as such", policyOf("p", '    - from: [{ source: { notPrincipals: ["*"] } }]')],
    ["a DENY with a wide path", policyOf("p", "    - to: [{ operation: { paths: [/admin*] } }]", "DENY")],
    [
      "addresses that lie in each other",
      policyOf(
        "p",
        "    - from: [{ source: { ipBlocks: [10.1.2.3], remoteIpBlocks: [10.0.0.0/8] } }]\n      when: [{ key: source.ip, values: [10.0.0.0/8] }, { key: remote.ip, values: [10.1.0.0/16] }] ",
      ),
    ],
    ["a header as the condition", policyOf("p", '    - when: [{ key: "request.headers[x-key]", values: [a] }]')],
    [
      "a DENY that leaves something of an ALLOW",
      `${policyOf("a", WEB)}---\n${policyOf("d", "    - to: [{ operation: { paths: [/admin*] } }]", "DENY")}`,
    ],
    [
      "patterns that overlap",
      policyOf(
        "p",
        '    - from: [{ source: { principals: ["example.org/ns/shop/*"] } }]\n      when: [{ key: source.principal, values: ["*/sa/web"] }]',
      ),
    ],
  ])("nothing in %s", async (_, text) => {
    expect(await lintOf(text)).toEqual({ code: 0, found: [] });
  });
});

it.each([
  ["/.*", 'paths "/.*" also matches "/.-other"', "write the whole names that are meant"],
  ["/%2e*", '"/%2e*"', "write the whole names that are meant"],
  ["/caf%c3%a9*", 'paths "/caf%c3%a9*" also matches', 'write "/caf%c3%a9" and "/caf%c3%a9/*"'],
])("shows a path as it is written, and advises none that never matches: %s", async (path, message, fix) => {
  const { found } = await lintOf(policyOf("p", `${WEB}\n      to: [{ operation: { paths: ["${path}"] } }]`));
  const broad = found.find(({ code }) => code === "W_POLICY_BROAD");
  expect(broad?.message).toContain(message);
  expect(broad?.fix).toBe(fix);
});

it("shows findings to people by file, with place and fix", async () => {
  const { policy } = policyWorkspace({ "policies/p.yaml": policyOf("p", "    - {}") });
  expect(await policy("lint", "-c", "c.yaml")).toEqual({
    code: 1,
    out: `policies/p.yaml:7:7  warning W_POLICY_BROAD  ns[shop]-policy[p]-rule[0] lets anybody do anything, also callers without identity
    fix: name the callers, or what they may do

no errors, 1 warning
`,
    err: "",
  });
});

describe("--fix", () => {
  it("changes what can only have been meant one way, and leaves comments and layout", async () => {
    const text = `# who may call
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: p, namespace: shop }
spec:
  rule: # misspelt
    - from:
        - source:
            principal: ["spiffe://example.org/ns/shop/sa/web"] # the shop
      to:
        - operation:
            methods: [get, 'POST']
            ports: [ 8080 ]
            paths:
              - /orders//7   # doubled
              - /orders/8
              - /orders/8
              - "/a/./b*"
`;
    const { policy, folder } = policyWorkspace({ "policies/p.yaml": text });
    const { code, out } = await policy("lint", "-c", "c.yaml", "--fix");
    expect(readFileSync(join(folder, "policies/p.yaml"), "utf8")).toBe(`# who may call
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: p, namespace: shop }
spec:
  rules: # misspelt
    - from:
        - source:
            principals: ["example.org/ns/shop/sa/web"] # the shop
      to:
        - operation:
            methods: ["GET", 'POST']
            ports: [ "8080" ]
            paths:
              - "/orders/7"   # doubled
              - /orders/8
              - "/a/b*"
`);
    expect(out).toContain("fixed  policies/p.yaml  rule → rules\n");
    expect(out).toContain('fixed  policies/p.yaml  get → "GET"\n');
    expect(out).toContain("W_POLICY_BROAD"); // /a/b*: what was meant, nobody knows
    expect(code).toBe(1);
  });

  it.each([
    ["a key beside the one that it was meant to be", policyOf("p", `${WEB}\n      form: []`)],
    ["a middle star", policyOf("p", "    - to: [{ operation: { paths: [/a*b] } }]")],
    ["YAML that is none", "a: ["],
    ["what lets in too much", policyOf("p", "    - {}")],
  ])("leaves %s alone", async (_, text) => {
    const { policy, folder } = policyWorkspace({ "policies/p.yaml": text });
    const { code, out } = await policy("lint", "-c", "c.yaml", "--fix");
    expect(code).toBe(out.includes("  error ") ? 2 : 1);
    expect(readFileSync(join(folder, "policies/p.yaml"), "utf8")).toBe(text);
  });

  const paths = (list: string) => policyOf("p", `${WEB}\n      to: [{ operation: { paths: ${list} } }]`);
  const hosts = (list: string) => policyOf("p", `${WEB}\n      to: [{ operation: { hosts: ${list} } }]`);
  it.each<[string, string, string]>([
    ["a value thrice", paths("[/a, /a, /a]"), paths("[/a]")],
    ["the first ones", hosts("[b.a, c.a, '*.a']"), hosts("['*.a']")],
    ["some in the middle and the last", hosts("[b, b.a, '*.a', c, d.a]"), hosts("[b, '*.a', c]")],
    ["of two that mean the same the later one", paths("[/b, /b]"), paths("[/b]")],
    ["of two paths that differ by the case of an escape the later one", paths("[/%c3, /%C3]"), paths("[/%c3]")],
    [
      "of two lines that mean the same the later one",
      policyOf(
        "p",
        `${WEB}\n      to:\n        - operation:\n            hosts:\n              - A.example\n              - a.example`,
      ),
      policyOf("p", `${WEB}\n      to:\n        - operation:\n            hosts:\n              - A.example`),
    ],
  ])("removes %s", async (_, text, expected) => {
    const { policy, folder } = policyWorkspace({ "policies/p.yaml": text });
    expect((await policy("lint", "-c", "c.yaml", "--fix")).code).toBe(0);
    expect(readFileSync(join(folder, "policies/p.yaml"), "utf8")).toBe(expected);
  });

  it.each([
    // /a/b;x is answered with 400 as long as /a/b is there.
    ["a path that another one covers", paths("[/a/b, /a/*]"), ["W_POLICY_VALUE_REPEATED"]],
    ["a beginning that stands for more", paths('["/files/.*", "/a/..*", "/b/%2*"]'), Array(3).fill("W_POLICY_BROAD")],
    [
      "a value with a comment",
      paths("[\n            /a/*,\n            /a/b, # why\n            /c ]"),
      ["W_POLICY_VALUE_REPEATED"],
    ],
    [
      "a file with aliases",
      policyOf(
        "p",
        `${WEB}\n      to: [{ operation: { paths: &some [/a, /a] } }]\n      when: [{ key: "request.headers[x]", values: *some }]`,
      ),
      ["W_POLICY_VALUE_REPEATED", "W_POLICY_VALUE_REPEATED"],
    ],
    // A lone star would let in callers without identity.
    [
      "a star among others",
      policyOf("p", '    - from: [{ source: { notPrincipals: ["*", example.org/a/b] } }]'),
      ["W_POLICY_BROAD"],
    ],
  ])("does not remove a value in %s", async (_, text, codes) => {
    const { policy, folder } = policyWorkspace({ "policies/p.yaml": text });
    const { out } = await policy("lint", "-c", "c.yaml", "--fix", "--json");
    const { errors, warnings } = JSON.parse(out) as { errors: Finding[]; warnings: Finding[] };
    expect([errors, warnings.map(({ code }) => code)]).toEqual([[], codes]);
    expect(readFileSync(join(folder, "policies/p.yaml"), "utf8")).toBe(text);
  });

  it("does not remove what only an alias of our trust domain makes redundant", async () => {
    const text = policyOf(
      "p",
      "    - from: [{ source: { principals: [example.org/ns/a/sa/b, old.example/ns/a/sa/b] } }]",
    );
    const config = `${ORDERS_YAML}trustDomainAliases: [old.example]\n`;
    const { policy, folder } = policyWorkspace({ "policies/p.yaml": text, "c.yaml": config });
    const { out } = await policy("lint", "-c", "c.yaml", "--fix");
    expect(out).toContain("as long as example.org, old.example are one trust domain");
    expect(readFileSync(join(folder, "policies/p.yaml"), "utf8")).toBe(text);
  });

  it("changes what it can where the same stands elsewhere too and must stay, or comes from a change", async () => {
    const rule = (methods: string) => `${WEB}\n      to: [{ operation: { methods: ${methods} } }]`;
    const text = (...lists: readonly string[]) => policyOf("p", lists.map(rule).join("\n"));
    const { policy, folder } = policyWorkspace({
      "policies/p.yaml": text(
        "[GET, GET]",
        "[PUT, get, PUT]",
        "[PUT, GET, GET # why\n          ]",
        "[HEAD, HEAD, HEAD # why\n          ]",
      ),
    });
    await policy("lint", "-c", "c.yaml", "--fix");
    expect(readFileSync(join(folder, "policies/p.yaml"), "utf8")).toBe(
      text("[GET]", '[PUT, "GET"]', "[PUT, GET, GET # why\n          ]", "[HEAD, HEAD # why\n          ]"),
    );
  });

  const source = (text: string) => policyOf("p", `    - from:\n        - source:\n${text}`);
  it.each<[string, string, string, readonly string[]]>([
    [
      "folded over lines",
      source("            principals:\n              - >-\n                spiffe://example.org/ns/shop/sa/web\n"),
      "",
      [],
    ],
    [
      "on two lines",
      source('            principals:\n              - "spiffe://example.org/\\\n                ns/shop/sa/web"\n'),
      "",
      [],
    ],
    [
      "whose fix would be another error",
      policyOf("p", `${WEB}\n      to: [{ operation: { ports: [0x1F90, 8080] } }]`),
      policyOf("p", `${WEB}\n      to: [{ operation: { ports: [0x1F90, "8080"] } }]`),
      [
        'p.yaml:8:35  0x1F90 → "0x1F90": it would make an error: E_POLICY_PORT to[0].operation.ports[0]: "0x1F90" is no port',
      ],
    ],
    [
      "whose key uncovers an error that is left to people",
      policyOf("p", `${WEB}\n      to: [{ operation: { port: [80a, 8080], method: [GET] } }]`),
      policyOf("p", `${WEB}\n      to: [{ operation: { port: [80a, 8080], methods: [GET] } }]`),
      ['p.yaml:8:27  port → ports: it would make an error: E_POLICY_PORT to[0].operation.ports[0]: "80a" is no port'],
    ],
  ])("leaves a value %s, and does the rest", async (_, text, expected, notFixed) => {
    const { policy, folder } = policyWorkspace({ "policies/p.yaml": text });
    const { code, out } = await policy("lint", "-c", "c.yaml", "--fix");
    expect(readFileSync(join(folder, "policies/p.yaml"), "utf8")).toBe(expected === "" ? text : expected);
    expect([...out.matchAll(/^not fixed {2}policies\/(.*)$/gm)].map(([, line]) => line)).toEqual(notFixed);
    expect(code).toBe(2);
  });

  it("leaves what would be found all the same, and does the rest, in istio mode", async () => {
    const rules = (principals: string, methods: string) =>
      policyOf(
        "p",
        `    - from: [{ source: { principals: ${principals} } }]\n      to: [{ operation: { methods: ${methods} } }]`,
      );
    const { policy, folder } = policyWorkspace({
      "policies/p.yaml": rules("[spiffe://partner, spiffe://example.org/ns/a/sa/b]", "[get, GET, GET]"),
      "c.yaml": `${ORDERS_YAML}authorization: { mode: istio }\n`,
    });
    const { code, out } = await policy("lint", "-c", "c.yaml", "--fix");
    expect(readFileSync(join(folder, "policies/p.yaml"), "utf8")).toBe(
      rules('[spiffe://partner, "example.org/ns/a/sa/b"]', '["GET"]'),
    );
    expect(out).toContain(
      'not fixed  policies/p.yaml:7:39  spiffe://partner → "partner": W_POLICY_NEVER_MATCHES would be found there all the same\n',
    );
    expect(code).toBe(1);
  });

  it("does what it can of very many that do not settle", async () => {
    const bad = Array.from({ length: 300 }, (_, i) => `spiffe://partner${i}`);
    const { policy, folder } = policyWorkspace({
      "policies/p.yaml": policyOf(
        "p",
        `    - from: [{ source: { principals: [${bad.join(", ")}] } }]\n      to: [{ operation: { methods: [get] } }]`,
      ),
      "c.yaml": `${ORDERS_YAML}authorization: { mode: istio }\n`,
    });
    const { out } = await policy("lint", "-c", "c.yaml", "--fix", "--json");
    const { notFixed } = JSON.parse(out) as { notFixed: readonly { why: string }[] };
    expect(notFixed.length).toBe(300);
    expect(readFileSync(join(folder, "policies/p.yaml"), "utf8")).toContain('methods: ["GET"]');
  });

  it("says which file it cannot write, and writes none", async () => {
    const text = policyOf("p", `${WEB}\n      to: [{ operation: { methods: [get] } }]`);
    const { policy, folder, write } = policyWorkspace({ "policies/p.yaml": text });
    write("policies/q.yaml", text.replace("name: p", "name: q"));
    linkSync(join(folder, "policies/q.yaml"), join(folder, "other-name"));
    const { code, out, err } = await policy("lint", "-c", "c.yaml", "--fix");
    expect([code, out]).toEqual([1, ""]);
    expect(err).toContain("q.yaml: E_POLICY_FIX the file has 2 names");
    expect(readFileSync(join(folder, "policies/p.yaml"), "utf8")).toBe(text);
  });

  it("keeps a file's mode, and follows a link to it", async () => {
    const { policy, folder, write } = policyWorkspace();
    write("elsewhere.yaml", policyOf("p", `${WEB}\n      to: [{ operation: { methods: [get] } }]`));
    write("policies/README.md", "");
    symlinkSync("../elsewhere.yaml", join(folder, "policies/p.yaml"));
    const { mode } = statSync(join(folder, "elsewhere.yaml"));
    const { code, out } = await policy("lint", "-c", "c.yaml", "--fix", "--json");
    expect(code).toBe(0);
    expect(JSON.parse(out)).toEqual({
      errors: [],
      warnings: [],
      fixed: [{ file: "policies/p.yaml", what: 'get → "GET"' }],
      notFixed: [],
      accepted: [],
      notes: [],
    });
    expect(readFileSync(join(folder, "elsewhere.yaml"), "utf8")).toContain('methods: ["GET"]');
    expect(statSync(join(folder, "elsewhere.yaml")).mode).toBe(mode);
  });
});

it("takes warnings that comments accept out of what is found, leaves what they accept unfixed, and counts them", async () => {
  const text = policyOf(
    "p",
    `${WEB}
      to: [{ operation: { methods: [GET, GET] } }] # countersign-lint: accept W_POLICY_VALUE_REPEATED the generator writes it
    # countersign-lint: accept W_POLICY_BROAD public
    - {}`,
  );
  const { policy, folder } = policyWorkspace({ "policies/p.yaml": text.replace("action: ALLOW", "action: AUDIT") });
  expect((await policy("lint", "-c", "c.yaml", "--fix")).code).toBe(1); // AUDIT is never broad
  const other = policyWorkspace({ "policies/p.yaml": text });
  const { code, out } = await other.policy("lint", "-c", "c.yaml", "--fix", "--json");
  expect(readFileSync(join(other.folder, "policies/p.yaml"), "utf8")).toBe(text);
  expect(readFileSync(join(folder, "policies/p.yaml"), "utf8")).toContain("[GET, GET]");
  const { warnings, accepted, fixed } = JSON.parse(out) as Record<string, Finding[]>;
  expect({ code, warnings, fixed }).toEqual({
    code: 1,
    warnings: [expect.objectContaining({ code: "W_POLICY_SHADOWED" })],
    fixed: [],
  });
  expect(accepted?.map(({ code: what, line }) => `${what} ${line}`)).toEqual([
    "W_POLICY_VALUE_REPEATED 8",
    "W_POLICY_BROAD 10",
  ]);
  expect((await other.policy("lint", "-c", "c.yaml")).out).toMatch(
    /no errors, 1 warning\n2 warnings accepted by comments\n$/,
  );
});

it("refuses a folder without policies", async () => {
  const { policy, write } = policyWorkspace({ "policies/README.md": "" });
  expect(await policy("lint", "-c", "c.yaml")).toMatchObject({
    code: 2,
    err: expect.stringMatching(/c\.yaml:4:\d+: E_POLICY_NO_DOCUMENTS there is no policy file to look at; fix: /),
  });
  write("empty/README.md", "");
  expect(await policy("lint", "-c", "c.yaml", "empty")).toMatchObject({
    code: 2,
    err: expect.stringContaining("empty: E_POLICY_NO_DOCUMENTS"),
  });
});

it("notes policies of namespaces that no workload given has, without failing for them", async () => {
  const text = [
    policyOf("a", WEB),
    policyOf("deny", WEB, "DENY").replace("namespace: shop", "namespace: shoop"),
    policyOf("b", WEB).replace("namespace: shop", "namespace: payments"),
    policyOf("c", WEB, "DENY").replace("namespace: shop", "namespace: payments").replace("sa/web", "sa/c"),
  ].join("---\n");
  const { policy } = policyWorkspace({ "policies/p.yaml": text });
  expect(await policy("lint", "-c", "c.yaml")).toEqual({
    code: 0,
    out: `policies/p.yaml:9:1  note  shoop/deny applies to no workload given here, which is of namespace shop
    fix: did you mean "shop"?
policies/p.yaml:17:1  note  payments/b and 1 more of its namespace apply to no workload given here, which is of namespace shop
    fix: correct the namespace, if it is for this workload

no errors, no warnings
`,
    err: "",
  });
});

it("says that policies of a URL are not fetched", async () => {
  const { policy, write } = policyWorkspace({ "policies/p.yaml": policyOf("p", WEB) });
  write("c.yaml", ORDERS_YAML.replace("[policies]", "[policies, https://p.example/orders.yaml]"));
  const { code, err } = await policy("lint", "-c", "c.yaml");
  expect(code).toBe(0);
  expect(err).toContain("nothing is kept of https://p.example/orders.yaml yet");
});
