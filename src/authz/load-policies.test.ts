import { describe, expect, it } from "vitest";
import { CountersignErrors, formatError } from "../core/errors.ts";
import { parseTrustDomain } from "../core/spiffe-id.ts";
import { loadPolicies } from "./load-policies.ts";
import type { PolicyMode, PolicyOptions } from "./policy-options.ts";
import "./use-cel.ts";

const strictOptions: PolicyOptions = {
  mode: "strict",
  default: "deny",
  pathNormalization: "MERGE_SLASHES",
  rootNamespace: "istio-system",
  workload: { namespace: "shop", labels: new Map([["app", "orders"]]) },
  localTrustDomain: parseTrustDomain("example.org"),
  trustDomainAliases: [],
  listeners: [{ name: "web", appPort: 8080, protocol: "http" }],
};

const head = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: web, namespace: shop }
`;

function problemsOf(text: string, mode: PolicyMode = "strict"): readonly string[] {
  try {
    loadPolicies([{ file: "p.yaml", text }], { ...strictOptions, mode });
    return [];
  } catch (error) {
    if (!(error instanceof CountersignErrors)) throw error;
    return error.errors.map(formatError);
  }
}

function warningsOf(text: string, mode: PolicyMode = "strict"): readonly string[] {
  return loadPolicies([{ file: "p.yaml", text }], { ...strictOptions, mode }).warnings.map(formatError);
}

/** A rule of the policy above: what it begins with stands in line 6, column 5. */
const rule = (text: string) => `${head}spec:\n  rules:\n  - ${text}\n`;

describe("loadPolicies refuses in both modes", () => {
  it.each([
    [
      "an unknown key of the document",
      `${head}extra: 1\n`,
      'p.yaml:4:1: E_POLICY_UNKNOWN_KEY the policy has no key "extra"; fix: write one of apiVersion, kind, metadata, spec, status; remove it only if',
    ],
    [
      "an unknown key of the spec",
      `${head}spec: { rule: [{}] }\n`,
      'p.yaml:4:9: E_POLICY_UNKNOWN_KEY spec has no key "rule"; fix: did you mean "rules"?',
    ],
    [
      "an unknown key of a rule",
      rule("form: []"),
      'p.yaml:6:5: E_POLICY_UNKNOWN_KEY rules[0] has no key "form"; fix: did you mean "from"?',
    ],
    [
      "an unknown key of a source",
      rule("from: [{ source: { principal: [a/b] } }]"),
      'p.yaml:6:24: E_POLICY_UNKNOWN_KEY from[0].source has no key "principal"; fix: did you mean "principals"?',
    ],
    [
      "a misspelt key of a source",
      rule("from: [{ source: { princpals: [a/b] } }]"),
      'E_POLICY_UNKNOWN_KEY from[0].source has no key "princpals"; fix: did you mean "principals"?',
    ],
    [
      "an operation's key in a source",
      rule("from: [{ source: { methods: [GET] } }]"),
      'E_POLICY_UNKNOWN_KEY from[0].source has no key "methods"',
    ],
    [
      "an unknown key of a condition",
      rule("when: [{ key: source.ip, value: [10.0.0.1] }]"),
      'E_POLICY_UNKNOWN_KEY when[0] has no key "value"; fix: did you mean "values"?',
    ],
    [
      "what kubectl prints of several objects",
      "apiVersion: v1\nkind: List\nitems: []\n",
      "p.yaml:1:13: E_POLICY_UNSUPPORTED the document is a List, as kubectl prints several objects; fix: write each of its items as a document of its own, parted by ---",
    ],
    ["an empty from", rule("from: []"), "p.yaml:6:11: E_POLICY_EMPTY from is empty"],
    ["an empty to", rule("to: []"), "p.yaml:6:9: E_POLICY_EMPTY to is empty"],
    ["an empty item of from", rule("from: [{}]"), "E_POLICY_EMPTY from[0].source is empty"],
    ["an empty source", rule("from: [{ source: {} }]"), "p.yaml:6:22: E_POLICY_EMPTY from[0].source is empty"],
    ["an empty operation", rule("to: [{ operation: {} }]"), "p.yaml:6:23: E_POLICY_EMPTY to[0].operation is empty"],
    ["a source of empty lists only", rule("from: [{ source: { principals: [] } }]"), "from[0].source is empty"],
    [
      "a rule that is nothing",
      `${head}spec:\n  rules:\n  -\n`,
      "E_POLICY_EMPTY spec.rules[0] is empty; fix: write {} for a rule that always matches",
    ],
    [
      "an empty value",
      rule('to: [{ operation: { methods: [""] } }]'),
      "p.yaml:6:35: E_POLICY_EMPTY to[0].operation.methods[0] is an empty text",
    ],
    [
      "a value that is null",
      rule("to: [{ operation: { methods: [~] } }]"),
      "E_POLICY_EMPTY to[0].operation.methods[0] is empty",
    ],
    [
      "a number as a value",
      rule("to: [{ operation: { ports: [8080] } }]"),
      'p.yaml:6:33: E_POLICY_TYPE to[0].operation.ports[0] is 8080, which YAML reads as no text; fix: put it in quotes: "8080"',
    ],
    [
      "a text where a list belongs",
      rule("to: [{ operation: { methods: GET } }]"),
      "p.yaml:6:34: E_POLICY_TYPE to[0].operation.methods is a text where a list",
    ],
    [
      "rules that are a mapping",
      `${head}spec: { rules: { a: b } }\n`,
      "E_POLICY_TYPE spec.rules is a mapping where a list",
    ],
    [
      "DENY without rules",
      `${head}spec: { action: DENY }\n`,
      "p.yaml:4:7: E_POLICY_NO_RULES a DENY policy without rules denies nothing",
    ],
    ["DENY with an empty list of rules", `${head}spec: { action: DENY, rules: [] }\n`, "E_POLICY_NO_RULES"],
    [
      "an action that does not exist",
      `${head}spec: { action: deny, rules: [{}] }\n`,
      'E_POLICY_TYPE spec.action "deny" does not exist; fix: write one of ALLOW, DENY, AUDIT, CUSTOM',
    ],
    [
      "a provider without CUSTOM",
      `${head}spec: { provider: { name: p }, rules: [{}] }\n`,
      "p.yaml:4:9: E_POLICY_COMBINATION spec.provider belongs to action CUSTOM only",
    ],
    [
      "service accounts beside principals",
      rule("from: [{ source: { serviceAccounts: [a], principals: [b/c] } }]"),
      "E_POLICY_COMBINATION from[0].source has service accounts beside",
    ],
    [
      "notServiceAccounts beside namespaces",
      rule("from: [{ source: { notServiceAccounts: [a], namespaces: [b] } }]"),
      "E_POLICY_COMBINATION",
    ],
    ["a service account with a star", rule('from: [{ source: { serviceAccounts: ["a/*"] } }]'), "E_POLICY_STAR"],
    ["a service account of three parts", rule("from: [{ source: { serviceAccounts: [a/b/c] } }]"), "E_POLICY_IDENTITY"],
    [
      "17 service accounts",
      rule(`from: [{ source: { serviceAccounts: [${Array.from({ length: 17 }, (_, i) => `a${i}`).join()}] } }]`),
      "E_POLICY_LIMIT from[0].source.serviceAccounts has more than 16 values",
    ],
    [
      "513 rules",
      `${head}spec: { rules: [${"{},".repeat(513)}] }\n`,
      "E_POLICY_LIMIT spec.rules has more than 512 rules",
    ],
    [
      "a bad CIDR",
      rule("from: [{ source: { ipBlocks: [10.0.0.0/33] } }]"),
      'p.yaml:6:35: E_POLICY_CIDR from[0].source.ipBlocks[0]: "10.0.0.0/33" is no IP address and no block',
    ],
    [
      "a host name as address",
      rule("when: [{ key: source.ip, values: [localhost] }]"),
      "E_POLICY_CIDR when[0].values[0]",
    ],
    ["port 0", rule('to: [{ operation: { ports: ["0"] } }]'), "E_POLICY_PORT"],
    ["port 65536", rule('to: [{ operation: { ports: ["65536"] } }]'), "E_POLICY_PORT"],
    ["a named port", rule('when: [{ key: destination.port, values: ["http"] }]'), "E_POLICY_PORT"],
    ["an operator after {**}", rule('to: [{ operation: { paths: ["/{**}/{*}"] } }]'), "E_POLICY_TEMPLATE"],
    ["a named operator", rule('to: [{ operation: { paths: ["/users/{id}"] } }]'), "E_POLICY_TEMPLATE"],
    ["an operator inside a segment", rule('to: [{ operation: { paths: ["/a{*}"] } }]'), "E_POLICY_TEMPLATE"],
    ["a star beside an operator", rule('to: [{ operation: { paths: ["/{*}/a*"] } }]'), "E_POLICY_TEMPLATE"],
    ["a condition without key", rule("when: [{ values: [a] }]"), "E_POLICY_MISSING when[0] has no key"],
    [
      "a condition key that does not exist",
      rule("when: [{ key: source.name, values: [a] }]"),
      'p.yaml:6:19: E_POLICY_WHEN_KEY when[0].key "source.name" does not exist',
    ],
    ["a condition key of Object.prototype", rule("when: [{ key: constructor, values: [a] }]"), "E_POLICY_WHEN_KEY"],
    ["a header without name", rule('when: [{ key: "request.headers[]", values: [a] }]'), "E_POLICY_WHEN_KEY"],
    [
      "a key with neither values nor notValues",
      rule("when: [{ key: source.ip }]"),
      "E_POLICY_EMPTY when[0] (source.ip) has neither values nor notValues",
    ],
    ["a key with empty values", rule("when: [{ key: source.ip, values: [] }]"), "has neither values nor notValues"],
    [
      "a selector beside targetRefs",
      `${head}spec: { selector: { matchLabels: { a: b } }, targetRefs: [{ kind: Service, name: s }], rules: [{}] }\n`,
      "E_POLICY_COMBINATION spec.targetRefs beside spec.selector",
    ],
    [
      "a star in a selector",
      `${head}spec: { selector: { matchLabels: { app: "a*" } }, rules: [{}] }\n`,
      "E_POLICY_SELECTOR",
    ],
    [
      "an unknown key of a selector",
      `${head}spec: { selector: { app: a }, rules: [{}] }\n`,
      'E_POLICY_UNKNOWN_KEY spec.selector has no key "app"',
    ],
    ["a file without documents", "# nothing\n", "p.yaml:1:1: E_POLICY_NO_DOCUMENTS"],
    ["an empty file", "", "p.yaml:1:1: E_POLICY_NO_DOCUMENTS"],
    ["separators only", "---\n---\n", "E_POLICY_NO_DOCUMENTS"],
    ["a document that is a list", "- a\n", "p.yaml:1:1: E_POLICY_TYPE the document is a list where a mapping"],
    ["a document without kind", "apiVersion: security.istio.io/v1\n", "E_POLICY_MISSING the document has no kind"],
    [
      "a kind of something else",
      "apiVersion: v1\nkind: Service\n",
      'p.yaml:1:13: E_POLICY_UNSUPPORTED kind "Service" of apiVersion "v1" is no policy; fix: keep only documents of kind',
    ],
    [
      "a policy without metadata",
      "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n",
      "E_POLICY_MISSING the policy has no metadata",
    ],
    [
      "a policy without name",
      "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { namespace: a }\n",
      "E_POLICY_MISSING metadata has no name",
    ],
    [
      "a name that could forge a log line",
      'apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: "a]\\nx", namespace: a }\n',
      'E_POLICY_NAME metadata.name "a]\\nx" is no name',
    ],
    [
      "a duplicate policy",
      `${head}---\n${head}`,
      "p.yaml:5:1: E_POLICY_DUPLICATE policy shop/web already stands at p.yaml:1",
    ],
    [
      "a duplicate key",
      `${head}spec: { rules: [{}], rules: [{}] }\n`,
      'p.yaml:4:22: E_POLICY_YAML the key "rules" already stands at line 4',
    ],
    ["a tab as indentation", `${head}spec:\n\trules: [{}]\n`, "E_POLICY_YAML"],
    ["a tag", `${head}spec: !!js/function { rules: [{}] }\n`, "E_POLICY_YAML"],
    ["an alias of nothing", `${head}spec: *nothing\n`, "E_POLICY_YAML"],
    ["an alias of itself", `${head}spec: &a { rules: [*a] }\n`, "E_POLICY_YAML the alias *a contains itself"],
    ["nesting without end", `${head}spec: ${"[".repeat(50)}${"]".repeat(50)}\n`, "E_POLICY_YAML nested too deeply"],
  ])("%s", (_, text, expected) => {
    for (const mode of ["strict", "istio"] as const) {
      const problems = problemsOf(text, mode);
      expect(problems.join("\n")).toContain(expected);
    }
  });
});

describe("loadPolicies", () => {
  it("reports all errors of all files at once, in their order", () => {
    const one = `${head}spec:\n  rules:\n  - to: [{ operation: { ports: ["x"] } }]\n    from: [{ source: { ipBlocks: [y] } }]\n  - bad: 1\n`;
    const two = `${head}spec: { action: NO }\n`;
    const load = () =>
      loadPolicies(
        [
          { file: "b.yaml", text: one },
          { file: "a.yaml", text: two },
        ],
        strictOptions,
      );
    let found: readonly string[] = [];
    try {
      load();
    } catch (error) {
      found = error instanceof CountersignErrors ? error.errors.map(formatError) : [];
    }
    expect(found.map((line) => line.split(" ", 2).join(" "))).toEqual([
      "b.yaml:6:33: E_POLICY_PORT",
      "b.yaml:7:35: E_POLICY_CIDR",
      "b.yaml:8:5: E_POLICY_UNKNOWN_KEY",
      "a.yaml:4:17: E_POLICY_TYPE",
    ]);
  });

  it.each([
    [
      "a principal with spiffe://",
      rule('from: [{ source: { principals: ["spiffe://example.org/x"] } }]'),
      "E_POLICY_PRINCIPAL",
      'write "example.org/x"',
    ],
    [
      "a principal without a path",
      rule("from: [{ source: { principals: [example.org] } }]"),
      "E_POLICY_PRINCIPAL",
      "has no path",
    ],
    [
      "a principal with a space",
      rule('from: [{ source: { principals: ["example.org/a b"] } }]'),
      "E_POLICY_PRINCIPAL",
      "outside A-Z",
    ],
    [
      "a principal with a capital in the trust domain",
      rule("from: [{ source: { principals: [Example.org/a] } }]"),
      "E_POLICY_PRINCIPAL",
      "trust domain",
    ],
    [
      "a middle star in a principal",
      rule('from: [{ source: { principals: ["example.org/*/web"] } }]'),
      "E_POLICY_STAR",
      "literal text",
    ],
    ["a star at both ends of a path", rule('to: [{ operation: { paths: ["*a*"] } }]'), "E_POLICY_STAR", "literal text"],
    ["a middle star in a host", rule('to: [{ operation: { hosts: ["a.*.b"] } }]'), "E_POLICY_STAR", "literal text"],
    [
      "a middle star in a trust domain",
      rule('from: [{ source: { trustDomains: ["a*b"] } }]'),
      "E_POLICY_STAR",
      "literal text",
    ],
    [
      "a middle star in a header value",
      rule('when: [{ key: "request.headers[a]", values: ["a*b"] }]'),
      "E_POLICY_STAR",
      "literal text",
    ],
    [
      "a trust domain with a path",
      rule("from: [{ source: { trustDomains: [a/b] } }]"),
      "E_POLICY_IDENTITY",
      "is no trust domain",
    ],
    [
      "a namespace with a space",
      rule('from: [{ source: { namespaces: ["a b"] } }]'),
      "E_POLICY_IDENTITY",
      "no SPIFFE ID may have",
    ],
  ])("refuses %s in strict mode, and warns in istio mode that it can never match", (_, text, code, message) => {
    const [problem = "", ...more] = problemsOf(text);
    expect(more).toEqual([]);
    expect(problem).toContain(code);
    expect(problem).toContain(message);
    expect(problemsOf(text, "istio")).toEqual([]);
    const warning = warningsOf(text, "istio").find((line) => line.includes("W_POLICY_NEVER_MATCHES"));
    expect(warning).toContain("so it can never match");
  });

  it("refuses an empty list in strict mode, where it would widen the rule; istio takes it as not set", () => {
    const text = rule("from: [{ source: { principals: [], namespaces: [a] } }]");
    expect(problemsOf(text)).toEqual([
      expect.stringContaining("E_POLICY_EMPTY from[0].source.principals is an empty list"),
    ]);
    expect(problemsOf(text, "istio")).toEqual([]);
  });

  it("takes what Kubernetes writes into a document, and anchors", () => {
    const text = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: web
  namespace: shop
  uid: 0b0c
  generation: 2
  creationTimestamp: 2026-01-01T00:00:00Z
  labels: { a: b }
  annotations: { note: x, istio.io/dry-run: "false" }
spec:
  rules:
  - from: [{ source: &us { namespaces: [shop] } }]
  - from: [{ source: *us }]
    to: [{ operation: { paths: [/a] } }]
status: {}
---
`;
    expect(problemsOf(text)).toEqual([]);
  });

  it("gives the version to content and options, not to comments or places", () => {
    const version = (text: string, options: Partial<PolicyOptions> = {}) =>
      loadPolicies([{ file: "p.yaml", text }], { ...strictOptions, ...options }).policy.version;
    const plain = version(rule("to: [{ operation: { paths: [/a] } }]"));
    expect(plain).toMatch(/^[0-9a-f]{16}$/);
    expect(version(`# why\n${rule("to:\n    - operation:\n        paths: [/a]")}`)).toBe(plain);
    expect(version(rule("to: [{ operation: { paths: [/b] } }]"))).not.toBe(plain);
    expect(version(rule("to: [{ operation: { paths: [/a] } }]"), { default: "allow" })).not.toBe(plain);
    expect(version(rule("to: [{ operation: { paths: [/a] } }]"), { localTrustDomain: undefined })).not.toBe(plain);
    const labels = new Map([["app", "other"]]);
    expect(version(rule("to: [{ operation: { paths: [/a] } }]"), { workload: { namespace: "shop", labels } })).not.toBe(
      plain,
    );
  });

  it("counts the policies and rules that apply", () => {
    const other = head.replace("shop", "prod");
    const text = `${rule("{}")}---\n${other}spec: { rules: [{}] }\n`;
    const { policy } = loadPolicies([{ file: "p.yaml", text }], strictOptions);
    expect([policy.policyCount, policy.ruleCount]).toEqual([1, 1]);
  });

  it("loads a set without files: the default decides", () => {
    expect(loadPolicies([], strictOptions).policy.policyCount).toBe(0);
  });

  it.each([
    ["more values than a file may hold", "the file holds too many values", 2_000, 511],
    ["more aliases than a file may hold", "the file holds more than 1000 aliases", 2, 1_000],
  ])("says of %s just that", (_, expected, values, aliases) => {
    const paths = Array.from({ length: values }, (__, i) => `/${i}`).join(", ");
    const rules = Array.from({ length: aliases }, () => "  - to: [{ operation: { paths: *paths } }]\n");
    const text = rule(`to: [{ operation: { paths: &paths [${paths}] } }]`) + rules.join("");
    expect(problemsOf(text)).toEqual([expect.stringContaining(`E_POLICY_YAML ${expected}`)]);
  });

  it("stops a bomb of aliases", () => {
    const levels = Array.from({ length: 9 }, (_, i) => `l${i + 1}: &l${i + 1} [${`*l${i},`.repeat(10)}]`);
    const problems = problemsOf(`l0: &l0 [x]\n${levels.join("\n")}\n`);
    expect(problems.join("\n")).toContain("E_POLICY_YAML the file holds more than 1000 aliases");
  });
});

describe("loadPolicies warns", () => {
  it("of what a document is bound to, which is no sidecar", () => {
    const bound = (spec: string) => warningsOf(`${head}spec: { ${spec} }\n`, "istio").join();
    expect(bound("targetRefs: [{ kind: Service, name: a }]")).toContain(
      "spec.targetRefs binds the policy to a Service,",
    );
    expect(bound("targetRef: { kind: Gateway, name: a }")).toContain("spec.targetRef binds the policy to a Gateway,");
    expect(bound("targetRefs: [{ name: a }]")).toContain("spec.targetRefs binds the policy to a gateway,");
  });

  it.each([
    [
      "of a path that normalisation gives to no request",
      rule("to: [{ operation: { paths: [/a//b] } }]"),
      'W_POLICY_NEVER_MATCHES to[0].operation.paths[0]: "/a//b" is not in the form',
      'write "/a/b"',
    ],
    [
      "of a path with a query",
      rule('to: [{ operation: { paths: ["/a?b=c"] } }]'),
      "W_POLICY_NEVER_MATCHES",
      "without query",
    ],
    [
      "of a path without slash",
      rule("to: [{ operation: { paths: [a/b] } }]"),
      "W_POLICY_NEVER_MATCHES",
      'write "/a/b"',
    ],
    [
      "of a path that is refused",
      rule('to: [{ operation: { paths: ["/a%00"] } }]'),
      "W_POLICY_NEVER_MATCHES",
      "E_PATH_NUL",
    ],
    [
      "of a method in small letters",
      rule("to: [{ operation: { methods: [get] } }]"),
      "W_POLICY_NEVER_MATCHES",
      'write "GET"',
    ],
    ["of a host with a path", rule("to: [{ operation: { hosts: [a.example/x] } }]"), "W_POLICY_NEVER_MATCHES", "host"],
    [
      "of a field that its negation takes away",
      rule('to: [{ operation: { methods: [GET], notMethods: ["*"] } }]'),
      "W_POLICY_NEVER_MATCHES",
      "to[0].operation.notMethods takes away all",
    ],
    [
      "of one item of several, by its name",
      rule('to: [{ operation: { paths: [/a] } }, { operation: { paths: [/b], notMethods: ["*"] } }]'),
      "W_POLICY_NEVER_MATCHES",
      "takes away, so to[1] can never match; fix: name what is meant, or remove to[1]",
    ],
    [
      "of the only item as of the whole rule",
      rule('to: [{ operation: { paths: [/b], notMethods: ["*"] } }]'),
      "W_POLICY_NEVER_MATCHES",
      "takes away, so the rule can never match; fix: name what is meant, or remove the rule",
    ],
    [
      "of an unknown trust domain",
      rule("from: [{ source: { principals: [exmaple.org/x] } }]"),
      "W_POLICY_TRUST_DOMAIN",
      '"exmaple.org"',
    ],
    [
      "of two sources where one was probably meant",
      rule("from: [{ source: { namespaces: [a] } }, { source: { ipBlocks: [10.0.0.0/8] } }]"),
      "W_POLICY_TWO_ITEMS",
      "one item",
    ],
    [
      "of two operations where one was probably meant",
      rule("to: [{ operation: { methods: [GET] } }, { operation: { paths: [/a] } }]"),
      "W_POLICY_TWO_ITEMS",
      "one item",
    ],
    [
      "of two rules where one was probably meant",
      rule("from: [{ source: { namespaces: [a] } }]\n  - to: [{ operation: { paths: [/a] } }]"),
      "W_POLICY_TWO_ITEMS",
      "one rule",
    ],
    [
      "of a rule that another covers",
      rule("to: [{ operation: { paths: [/a*] } }]\n  - to: [{ operation: { paths: [/ab], methods: [GET] } }]"),
      "W_POLICY_SHADOWED",
      "rule[1] changes nothing: rule 0",
    ],
    [
      "of a rule beside an open one",
      rule("to: [{ operation: { paths: [/a*] } }]\n  - {}"),
      "W_POLICY_SHADOWED",
      "rule[0] changes nothing: rule 1",
    ],
    [
      "of a selector that selects nothing",
      `${head}spec: { selector: { matchLabels: { app: order } }, rules: [{}] }\n`,
      "W_POLICY_SELECTOR",
      "the workload lacks app=order",
    ],
  ])("%s", (_, text, code, message) => {
    const [warning = "", ...more] = warningsOf(text);
    expect(more).toEqual([]);
    expect(warning).toContain(code);
    expect(warning).toContain(message);
    expect(warning).toMatch(/^p\.yaml:\d+:\d+: /);
    expect(warning).toContain("; fix: ");
  });

  it.each([
    [
      "two sources with one and the same field",
      rule("from: [{ source: { namespaces: [a] } }, { source: { namespaces: [b] } }]"),
    ],
    [
      "sources of several fields",
      rule("from: [{ source: { namespaces: [a], ipBlocks: [10.0.0.1] } }, { source: { ipBlocks: [10.0.0.2] } }]"),
    ],
    [
      "rules that overlap",
      rule("to: [{ operation: { paths: [/a*] } }]\n  - to: [{ operation: { paths: [/ab, /b] } }]"),
    ],
    [
      "a principal's star that does not cover a partner",
      rule('from: [{ source: { principals: ["*"] } }]\n  - from: [{ source: { principals: ["example.org/x"] } }]'),
    ],
    ["a policy for another namespace", head.replace("shop", "prod")],
    ["a home principal", rule("from: [{ source: { principals: [example.org/x, cluster.local/ns/a/sa/b] } }]")],
  ])("not of %s", (_, text) => {
    expect(warningsOf(text)).toEqual([]);
  });

  it("not of trust domains before ours is known", () => {
    const text = rule("from: [{ source: { principals: [partner.org/x] } }]");
    const { warnings } = loadPolicies([{ file: "p.yaml", text }], { ...strictOptions, localTrustDomain: undefined });
    expect(warnings).toEqual([]);
  });
});

it("says of a template that it is to be rendered first, once for a document", () => {
  const text = `{{- if .Values.on }}\n${head}spec:\n  rules:\n  - from: {{ toYaml .Values.from }}\n    to: {{ .Values.to }}\n{{- end }}\n`;
  expect(problemsOf(text)).toEqual([
    expect.stringMatching(
      /^p\.yaml:\d+:\d+: E_POLICY_YAML .*; fix: the file holds \{\{, .*render the template first \(helm template\)$/,
    ),
  ]);
  // Texts may have braces.
  expect(problemsOf(rule('when: [{ key: "request.headers[x]", values: ["{{a}}"] }]'))).toEqual([]);
});

it.each([
  ["when", rule("when: []"), "when"],
  ["values", rule("when: [{ key: source.ip, values: [10.0.0.1], notValues: [] }]"), "when[0].notValues"],
  [
    "what a token is read from",
    `${head.replace("AuthorizationPolicy", "RequestAuthentication")}spec: { jwtRules: [{ issuer: "https://i.example", audiences: [a], fromCookies: [] }] }\n`,
    "jwtRules[0].fromCookies",
  ],
])("an empty list is an error in strict mode alone: of %s", (_, text, name) => {
  expect(problemsOf(text)).toEqual([expect.stringContaining(`E_POLICY_EMPTY ${name} is an empty list`)]);
  expect(problemsOf(text, "istio")).toEqual([]);
});

/** A content that is commented out leaves its key with nothing. */
describe("a key with nothing after it", () => {
  const about = (apiVersion: string, kind: string, spec: string) =>
    `apiVersion: ${apiVersion}\nkind: ${kind}\nmetadata: { name: a, namespace: shop }\n${spec}\n`;
  const policy = (spec: string) => about("security.istio.io/v1", "AuthorizationPolicy", spec);
  const ruled = (text: string) => policy(`spec:\n  rules:\n  - ${text}`);
  const to = "to: [{ operation: { methods: [GET] } }]";
  const peer = (spec: string) => about("security.istio.io/v1", "PeerAuthentication", spec);
  const token = (text: string) =>
    about(
      "security.istio.io/v1",
      "RequestAuthentication",
      `spec:\n  jwtRules:\n  - { issuer: "https://i.example", audiences: [a], ${text} }`,
    );

  it.each<[string, string, string]>([
    ["from", ruled(`from:\n    # - source: { principals: [a/b] }\n    ${to}`), "6:5 rules[0].from"],
    ["to", ruled("to: ~"), "6:5 rules[0].to"],
    ["when", ruled(`${to}\n    when:`), "7:5 rules[0].when"],
    [
      "a field beside another one",
      ruled("from: [{ source: { principals: null, ipBlocks: [10.0.0.1] } }]"),
      "from[0].source.principals",
    ],
    ["a negated field", ruled("to: [{ operation: { methods: [GET], notPaths: } }]"), "to[0].operation.notPaths"],
    [
      "notValues beside values",
      ruled("when: [{ key: source.ip, values: [10.0.0.1], notValues: }]"),
      "when[0].notValues",
    ],
    ["rules", policy("spec:\n  rules:"), "5:3 spec.rules"],
    ["a selector", policy("spec: { selector: , rules: [{}] }"), "spec.selector"],
    ["matchLabels", policy("spec: { selector: { matchLabels: }, rules: [{}] }"), "spec.selector.matchLabels"],
    ["an action", policy("spec: { action: , rules: [{}] }"), "spec.action"],
    ["mtls", peer("spec:\n  mtls:\n    # mode: STRICT"), "5:3 spec.mtls"],
    ["a mode", peer("spec: { mtls: { mode: } }"), "spec.mtls.mode"],
    [
      "the mode of a port",
      peer("spec: { selector: { matchLabels: { a: b } }, portLevelMtls: { 8080: } }"),
      "spec.portLevelMtls.8080",
    ],
    ["the spec, of which a DENY was commented out", policy("spec:\n# action: DENY\n# rules: [{}]"), "4:1 spec"],
    ["the spec of a PeerAuthentication", peer("spec:"), "4:1 spec"],
    ["jwtRules", about("security.istio.io/v1", "RequestAuthentication", "spec: { jwtRules: }"), "spec.jwtRules"],
    ["forwardOriginalToken", token("forwardOriginalToken: "), "jwtRules[0].forwardOriginalToken"],
    ["a prefix", token("fromHeaders: [{ name: x, prefix: }]"), "jwtRules[0].fromHeaders[0].prefix"],
  ])("is an error in strict mode, a warning in istio mode: %s", (_, text, where) => {
    const [place = "", name = place] = where.split(" ");
    const strict = problemsOf(text);
    expect(strict).toEqual([
      expect.stringContaining(
        `E_POLICY_EMPTY ${name} is written with nothing after it; fix: write what is meant, or remove the key if `,
      ),
    ]);
    if (name !== place) expect(strict[0]).toContain(`p.yaml:${place}:`);
    expect(warningsOf(text, "istio")).toContainEqual(
      expect.stringContaining(
        `W_POLICY_EMPTY ${name} is written with nothing after it, so it counts as not written; fix: `,
      ),
    );
  });

  it("is an error under our own apiVersion in istio mode too", () => {
    const text = about("countersign.dev/v1", "AuthorizationPolicy", `spec: { rules: [{ conditions: , ${to} }] }`);
    expect(problemsOf(text, "istio")).toEqual([
      expect.stringContaining("E_POLICY_EMPTY rules[0].conditions is written"),
    ]);
  });

  it("says what a rule without the key means", () => {
    expect(problemsOf(ruled(`from:\n    ${to}`))).toEqual([
      expect.stringContaining("or remove the key if every caller is meant"),
    ]);
  });

  it.each<[string, string, string]>([
    ["from", ruled("from: [{ source: { ipBlocks: [10.0.0.1] } }, ]\n    to:\n    -"), "to[0]"],
    ["values", ruled("from: [{ source: { requestPrincipals: [i/s, ~] } }]"), "from[0].source.requestPrincipals[1]"],
    ["when", ruled("when: [~]"), "when[0]"],
    ["jwtRules", about("security.istio.io/v1", "RequestAuthentication", "spec: { jwtRules: [~] }"), "spec.jwtRules[0]"],
    ["fromHeaders", token("fromHeaders: [{ name: x }, ~]"), "jwtRules[0].fromHeaders[1]"],
    ["outputClaimToHeaders", token("outputClaimToHeaders: [~]"), "jwtRules[0].outputClaimToHeaders[0]"],
    ["audiences", token("fromParams: [a, ~]"), "jwtRules[0].fromParams[1]"],
  ])("as an item is an error in both modes, as Kubernetes takes none: of %s", (_, text, name) => {
    for (const mode of ["strict", "istio"] as const)
      expect(problemsOf(text, mode)).toEqual([expect.stringContaining(`E_POLICY_EMPTY ${name} is empty; fix: `)]);
  });
});
