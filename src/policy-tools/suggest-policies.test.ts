import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { loadPolicies } from "../authz/load-policies.ts";
import type { PathNormalization, PolicyMode, PolicyOptions } from "../authz/policy-options.ts";
import { parseSpiffeId, parseTrustDomain } from "../core/spiffe-id.ts";
import { type AskContext, askPolicy } from "./ask-policy.ts";
import type { AskedCall, AskedRequest } from "./asked-call.ts";
import { createSuggester, type SuggestOptions } from "./suggest-policies.ts";
import { suggestionYaml } from "./suggest-yaml.ts";
import "../authz/use-cel.ts";

const options: PolicyOptions = {
  mode: "strict",
  default: "deny",
  pathNormalization: "MERGE_SLASHES",
  rootNamespace: "istio-system",
  workload: { namespace: "shop", labels: new Map([["app", "orders"]]) },
  localTrustDomain: parseTrustDomain("example.org"),
  trustDomainAliases: [],
  listeners: [{ name: "web", appPort: 8080, protocol: "auto" }],
};
const ask: AskContext = {
  see: ({ source }: AskedCall) => ({ headers: [], remoteIp: source.ip }),
  defaultPort: () => 8080,
  nowMs: 0,
  outboundDefault: () => "allow",
};

interface Row {
  readonly from?: string;
  readonly method?: string;
  readonly path?: string;
  readonly tcp?: true;
  readonly port?: number;
  readonly denied?: true;
}

function callOf({ from = "web", method = "GET", path = "/", tcp, port = 8080 }: Row): AskedCall {
  return {
    direction: "inbound",
    source: {
      spiffeId: from === "" ? undefined : parseSpiffeId(`spiffe://example.org/ns/shop/sa/${from}`),
      ip: "10.0.0.7",
      remoteIp: undefined,
    },
    destination: { spiffeId: undefined, ip: "", port },
    sni: "",
    timeMs: undefined,
    request: tcp === true ? undefined : { method, host: "orders", path, headers: [], claims: undefined },
  };
}

/** GET /x, or `web POST /x`. */
function row(text: string): Row {
  const [path = "", method = "GET", from = "web"] = text.split(" ").toReversed();
  return { path, method, from: from === "nobody" ? "" : from };
}

function suggest(rows: readonly Row[], over: Partial<SuggestOptions> = {}) {
  const suggester = createSuggester({
    direction: "inbound",
    mode: "strict",
    pathNormalization: "MERGE_SLASHES",
    idsForTemplate: 2,
    namesForTemplate: 4,
    severalPorts: false,
    ...over,
  });
  for (const [i, one] of rows.entries())
    suggester.add({
      id: `call-${i}`,
      time: `2030-01-01T00:00:${String(i % 60).padStart(2, "0")}.000000Z`,
      call: callOf(one),
      decision: one.denied === true ? "deny" : "allow",
      rule: undefined,
      reason: undefined,
      policyVersion: "v",
    });
  const suggestion = suggester.suggest();
  const target = {
    namespace: "shop",
    name: "suggested",
    labels: options.workload.labels,
    direction: "inbound",
  } as const;
  const yaml = suggestionYaml(suggestion, { ...target, source: "audit.jsonl" });
  const { policy } = loadPolicies([{ file: "suggested.yaml", text: yaml }], options);
  return { yaml, suggestion, allows: (one: Row) => askPolicy(policy, callOf(one), ask).decision === "allow" };
}

function suggestOutbound(log: readonly AskedCall[]) {
  const suggester = createSuggester({
    direction: "outbound",
    mode: "strict",
    pathNormalization: "MERGE_SLASHES",
    idsForTemplate: 2,
    namesForTemplate: 4,
    severalPorts: false,
  });
  const about = { id: "", time: "", rule: undefined, reason: undefined, policyVersion: "" };
  for (const call of log) suggester.add({ ...about, call, decision: "allow" });
  const suggestion = suggester.suggest();
  const target = { namespace: "shop", name: "out", labels: new Map<string, string>(), direction: "outbound" } as const;
  const yaml = suggestionYaml(suggestion, { ...target, source: "audit.jsonl" });
  const { policy } = loadPolicies([{ file: "suggested.yaml", text: yaml }], options);
  const context: AskContext = { ...ask, outboundDefault: () => "deny", defaultPort: () => 0 };
  return { yaml, suggestion, allows: (call: AskedCall) => askPolicy(policy, call, context).decision === "allow" };
}

describe("suggested policies", () => {
  it("allow the calls of the log and deny their neighbours", () => {
    const log = [
      "GET /orders",
      "POST /orders",
      "GET /orders/7",
      "GET /orders/8",
      "DELETE /orders/8",
      "admin GET /admin",
    ];
    const { allows } = suggest(log.map(row));
    const allowed = [...log, "GET /orders/9", "DELETE /orders/7"];
    const denied = [
      "PUT /orders",
      "DELETE /orders",
      "HEAD /orders",
      "GET /orders/",
      "GET /orders/7/items",
      "POST /orders/7",
      "GET /",
      "GET /admin",
      "admin GET /orders",
      "other GET /orders",
      "nobody GET /orders",
    ];
    expect(allowed.filter((text) => !allows(row(text)))).toEqual([]);
    expect(denied.filter((text) => allows(row(text)))).toEqual([]);
  });

  it("make templates of ids, and leave names apart from them", () => {
    const { allows, suggestion } = suggest(
      ["GET /orders/7", "GET /orders/8", "DELETE /orders/9", "GET /orders/search", "POST /orders/search"].map(row),
    );
    expect(
      suggestion.rules[0]?.operations.map(({ methods, paths, notPaths }) => ({ methods, paths, notPaths })),
    ).toEqual([
      { methods: ["GET"], paths: ["/orders/search", "/orders/{*}"], notPaths: [] },
      { methods: ["POST"], paths: ["/orders/search"], notPaths: [] },
      { methods: ["DELETE"], paths: ["/orders/{*}"], notPaths: ["/orders/search"] },
    ]);
    expect(allows(row("DELETE /orders/search"))).toBe(false);
    expect(allows(row("DELETE /orders/1"))).toBe(true);
  });

  it.each([
    ["numbers", ["/o/1", "/o/2"], "/o/{*}"],
    ["one number only", ["/o/1"], "/o/1"],
    ["UUIDs", ["/o/0190b2f0-6a4c-7c3e-8f00-000000000001", "/o/0190b2f0-6a4c-7c3e-8f00-000000000002"], "/o/{*}"],
    ["names with numbers", ["/o/ord_17/x", "/o/ord_18/x"], "/o/{*}/x"],
    ["ids of ids", ["/o/1/i/1", "/o/2/i/2", "/o/2/i/3"], "/o/{*}/i/{*}"],
    ["days", ["/d/2030-01-01", "/d/2030-01-02"], "/d/{*}"],
    ["names in many forms", ["/u/ann", "/u/ben", "/u/cem", "/u/dea", "/u/eva"], "/u/{*}"],
    ["versions", ["/v1/x", "/v2/x"], "/v1/x /v2/x"],
    ["paths that a template may not have", ['/o/1/"x"', '/o/2/"x"'], '/o/1/"x" /o/2/"x"'],
  ])("of %s", (_, paths, expected) => {
    const { suggestion, allows } = suggest(paths.map((path) => ({ path })));
    expect(suggestion.rules[0]?.operations.flatMap((operation) => operation.paths).join(" ")).toBe(expected);
    expect(paths.every((path) => allows({ path }))).toBe(true);
  });

  it("have no templates when every path is to stay as it was called", () => {
    const { suggestion } = suggest([{ path: "/o/1" }, { path: "/o/2" }], { idsForTemplate: Number.POSITIVE_INFINITY });
    expect(suggestion.rules[0]?.operations[0]?.paths).toEqual(["/o/1", "/o/2"]);
  });

  it("share a rule among callers that did the same, and none with those that did more", () => {
    const { suggestion } = suggest(["a GET /x", "b GET /x", "c GET /x", "c POST /x"].map(row));
    expect(suggestion.rules.map(({ callers }) => callers.map(({ principal }) => principal))).toEqual([
      ["example.org/ns/shop/sa/a", "example.org/ns/shop/sa/b"],
      ["example.org/ns/shop/sa/c"],
    ]);
    expect(suggestion.rules[0]?.operations[0]?.evidence[0]?.calls).toBe(2);
  });

  it("name ports where there are several, and for TCP", () => {
    const rows: Row[] = [
      { path: "/a", port: 8080 },
      { path: "/b", port: 9090 },
      { tcp: true, port: 5432, from: "db" },
    ];
    const { allows } = suggest(rows);
    expect(rows.every(allows)).toBe(true);
    expect(allows({ path: "/a", port: 9090 })).toBe(false);
    expect(allows({ tcp: true, port: 5432 })).toBe(false);
    expect(allows({ tcp: true, port: 5433, from: "db" })).toBe(false);
  });

  it("give connections a rule of their own: an ALLOW rule that looks at HTTP is passed over on TCP", () => {
    const rows: Row[] = [
      { path: "/a", port: 8080 },
      { tcp: true, port: 5432 },
    ];
    const { allows, suggestion } = suggest(rows);
    expect(suggestion.rules.map(({ callers }) => callers.map(({ calls }) => calls))).toEqual([[1], [1]]);
    expect(rows.filter((one) => !allows(one))).toEqual([]);
    expect(allows({ path: "/b", port: 8080 })).toBe(false);
  });

  it("leave out connections on a port where HTTP was seen: the rule would allow all of that too", () => {
    const { allows, suggestion } = suggest([{ path: "/a" }, { tcp: true, from: "db" }, { tcp: true, from: "db" }]);
    expect(suggestion.leftOut).toEqual([
      { why: "a policy that allows TCP on a port allows all HTTP there", calls: 2, example: "TCP" },
    ]);
    expect(suggestion.calls).toBe(1);
    expect(allows({ path: "/b", from: "db" })).toBe(false);
  });

  it("allow callers without identity as such, and nobody else with them", () => {
    const { allows, yaml } = suggest([row("nobody GET /open")]);
    expect(yaml).toContain('notPrincipals: ["*"]');
    expect(allows(row("nobody GET /open"))).toBe(true);
    expect(allows(row("web GET /open"))).toBe(false);
  });

  it("leave out what was denied, and say so", () => {
    const { allows, yaml } = suggest([{ path: "/a" }, { path: "/secret", denied: true }]);
    expect(allows({ path: "/secret" })).toBe(false);
    expect(yaml).toContain('# Left out: 1 call (denied), e.g. "GET /secret".');
  });

  it.each(["/*", "/orders*", "/a/*/b", "/{**}", "/a/{*}", "*"])(
    "never make %j, which a caller sent, mean more than itself",
    (path) => {
      const { allows, suggestion } = suggest([
        { path: "/plain" },
        { path },
        { path, method: "*" },
        { path: "/x", method: "*" },
      ]);
      expect(suggestion.leftOut.reduce((sum, { calls }) => sum + calls, 0)).toBe(3);
      expect([{ path: "/a" }, { path: "/orders/1" }, { path: "/a/x/b" }, { path: "/x" }].some(allows)).toBe(false);
    },
  );

  it("of calls that this app makes name who answered, and else the host", () => {
    const outbound = (to: string | undefined, request: Partial<AskedRequest> | undefined, port = 443): AskedCall => ({
      ...callOf({}),
      direction: "outbound",
      source: { spiffeId: undefined, ip: "127.0.0.1", remoteIp: undefined },
      destination: {
        spiffeId: to === undefined ? undefined : parseSpiffeId(`spiffe://${to}`),
        ip: "",
        port,
      },
      request:
        request === undefined
          ? undefined
          : { method: "GET", host: "pay", path: "/charges", headers: [], claims: undefined, ...request },
    });
    const payments = "example.org/ns/pay/sa/payments";
    const log = [
      outbound(payments, {}),
      outbound(payments, { method: "POST" }),
      outbound(undefined, { host: "api.example.com" }),
      outbound(undefined, { method: "CONNECT", host: "api.example.com:443", path: "" }),
      outbound("example.org/ns/db/sa/db", undefined, 5432),
    ];
    const leftOut = [outbound(undefined, undefined), outbound("example.org/ns/db/sa/db", undefined, 0)];
    const { suggestion, allows } = suggestOutbound([...log, ...leftOut]);
    expect(suggestion.leftOut).toEqual([
      { why: "nothing says whom it was to", calls: 1, example: "TCP" },
      { why: "nothing says to which port it was", calls: 1, example: "TCP" },
    ]);
    expect(log.filter((call) => !allows(call))).toEqual([]);
    const neighbours = [
      outbound(payments, { method: "DELETE" }),
      outbound(payments, { path: "/refunds" }),
      outbound("example.org/ns/pay/sa/other", {}),
      outbound(undefined, { host: "other.example.com" }),
      outbound(undefined, { method: "CONNECT", host: "api.example.com:8443", path: "" }),
      outbound("example.org/ns/db/sa/other", undefined, 5432),
      outbound("example.org/ns/db/sa/db", undefined, 22),
      outbound("example.org/ns/db/sa/db", {}),
    ];
    expect(neighbours.filter(allows)).toEqual([]);
  });

  it.each<[PolicyMode, PathNormalization, string, string]>([
    ["strict", "MERGE_SLASHES", "//charge", "not in its plain form"],
    ["strict", "BASE", "//charge", ""],
    ["strict", "MERGE_SLASHES", "/a/../b", "not in its plain form"],
    ["strict", "NONE", "/a/../b", ""],
    ["strict", "MERGE_SLASHES", "/%zz", "two hexadecimal digits"],
    ["istio", "BASE", "/%zz", ""],
    ["strict", "MERGE_SLASHES", "/a%00b", "an encoded NUL"],
    ["strict", "MERGE_SLASHES", "/%41", "not in its plain form"],
    ["strict", "MERGE_SLASHES", '/a"b', ""],
    ["istio", "BASE", '/a"b', "not in its plain form"],
    ["istio", "BASE", "/a|b", "not in its plain form"],
    ["istio", "BASE", "/a^b", "not in its plain form"],
  ])(
    "leave out what normalisation changes or refuses: in %s mode with %s, %s",
    (mode, pathNormalization, path, why) => {
      const { suggestion } = suggest([{ path }], { mode, pathNormalization });
      expect(suggestion.leftOut.map((one) => [why !== "" && one.why.includes(why), one.example])).toEqual(
        why === "" ? [] : [[true, `GET ${path}`]],
      );
      expect(suggestion.isLeftOut(callOf({ path }))).toBe(why !== "");
    },
  );

  it("leave out a method that differs from a standard one only in case", () => {
    const { suggestion, yaml } = suggest([{ path: "/a", method: "get" }]);
    expect(suggestion.leftOut).toMatchObject([{ calls: 1, example: "get /a" }]);
    expect(yaml).not.toContain('"get"]');
  });

  it("name the port of a host that names none, and leave out the calls whose port nobody knows", () => {
    const to = (port: number | undefined, host = "api.example.com"): AskedCall => ({
      ...callOf({}),
      direction: "outbound",
      destination: { spiffeId: undefined, ip: "", port },
      request: { method: "GET", host, path: "/v1", headers: [], claims: undefined },
    });
    const { allows, suggestion, yaml } = suggestOutbound([to(80), to(8443), to(undefined), to(443, "b.example:443")]);
    expect(suggestion.leftOut).toEqual([{ why: "nothing says to which port it was", calls: 1, example: "GET /v1" }]);
    expect(yaml.match(/ports: .*/g)).toEqual(['ports: ["80"]', 'ports: ["8443"]']);
    expect([to(80), to(8443), to(443, "b.example:443")].every(allows)).toBe(true);
    expect([to(6379), to(undefined), to(80, "b.example:80")].some(allows)).toBe(false);
  });

  it("of no calls allow nothing", () => {
    expect(suggest([]).allows({})).toBe(false);
  });

  it("are split where a policy would have too many rules", () => {
    const rows = Array.from({ length: 600 }, (_, i) => ({ from: `s${i}`, path: `/only-${i}/x` }));
    const { yaml, allows } = suggest(rows);
    expect(yaml.match(/^kind: AuthorizationPolicy$/gm)).toHaveLength(2);
    expect(rows.every(allows)).toBe(true);
  });

  it("of more different calls than there is memory for are refused", () => {
    const suggester = createSuggester({
      direction: "inbound",
      mode: "strict",
      pathNormalization: "MERGE_SLASHES",
      idsForTemplate: 2,
      namesForTemplate: 1e9,
      severalPorts: false,
    });
    const call = (i: number) => ({ call: callOf({ path: `/x${i}x/y/z` }), decision: "allow", time: "" }) as const;
    expect(() => {
      for (let i = 0; i < 200_000; i++)
        suggester.add({ ...call(i), id: "", rule: undefined, reason: undefined, policyVersion: "" });
    }).toThrow("too many different paths");
  });

  it("allow every call of any log, and load, whatever callers send", () => {
    const segment = fc.oneof(
      fc.constantFrom("a", "b", "orders", "7", "8", "", "x y", '"', "#", "é", "{*}", "*", "\n", "a:", "- b", "'"),
      fc.string({ maxLength: 4 }),
    );
    const rows = fc.array(
      fc.record({
        from: fc.constantFrom("web", "admin", ""),
        method: fc.constantFrom("GET", "POST", "PUT"),
        path: fc.array(segment, { maxLength: 4 }).map((parts) => `/${parts.join("/").replaceAll("?", "")}`),
      }),
      { maxLength: 12 },
    );
    fc.assert(
      fc.property(rows, (some) => {
        // As policy saw it: normalised, and nothing that was refused before.
        const free = loadPolicies([], { ...options, default: "allow" }).policy;
        const seen = some.flatMap((one) => {
          const path = askPolicy(free, callOf(one), ask).facts?.request?.path;
          return path === undefined || /[*{};]|%2f|%5c/i.test(path) ? [] : [{ ...one, path }];
        });
        const { allows } = suggest(seen);
        expect(seen.filter((one) => !allows(one))).toEqual([]);
        // A method that no caller used on any path is allowed nowhere.
        expect(seen.some((one) => allows({ ...one, method: "DELETE" }))).toBe(false);
      }),
      { numRuns: 200 },
    );
  });
});
