import fc from "fast-check";
import type { PolicyMode, PolicyOptions } from "../../../src/authz/policy-options.ts";
import type { CallFacts, RequestIdentity } from "../../../src/core/call-facts.ts";
import type { Peer } from "../../../src/core/identity.ts";
import { parseSpiffeId, parseTrustDomain, trustDomainOf } from "../../../src/core/spiffe-id.ts";
import type { Meaning, MeaningContext } from "./decide-linear.ts";

// Policies and calls over small alphabets, so that they meet often.

const principals = [
  "example.org/ns/shop/sa/web",
  "example.org/ns/shop/sa/orders",
  "example.org/ns/prod/sa/web",
  "old.example/ns/shop/sa/web",
  "partner.org/ns/shop/sa/web",
  "partner.org/ns/prod/sa/orders",
  "example.org/web",
  "example.org/team/ns/shop/sa/web",
  "example.org/ns/shop/x/sa/web/y",
  "example.org/ns/a/ns/shop/sa/web",
  "example.org/ns/shop/x/sa/webshop",
  "ns/shop/sa/web",
];
const principalValues = [
  ...principals.slice(0, 7),
  "cluster.local/ns/shop/sa/web",
  "cluster.local/ns/shop/*",
  "*/sa/web",
  "*/ns/shop/sa/web",
  "*.org/ns/shop/sa/web",
  "*example/ns/shop/sa/web",
  "example.org/ns/shop/*",
  "exam*",
  "*",
];
/** countersign.dev/v1 only. */
const principalTemplates = [
  "example.org/ns/{*}/sa/web",
  "example.org/{**}",
  "example.org/ns/shop/{**}",
  "cluster.local/ns/{*}/sa/web",
  "partner.org/ns/{*}/sa/{*}",
];
const requestPrincipals = [
  "https://id.example/ann",
  "https://id.example/bob",
  "https://id.example/*",
  "https://id.example/a*",
  "*/ann",
  "*.example/ann",
  "*nn",
  "https*",
  "*",
  "spiffe://example.org/ns/shop/sa/web",
];
const sourceFields = {
  principals: principalValues,
  namespaces: ["shop", "prod", "pro*", "*op", "*", "s*p"],
  trustDomains: ["example.org", "old.example", "partner.org", "*.org", "example*", "*", "cluster.local"],
  requestPrincipals,
  ipBlocks: ["10.0.0.1", "10.0.0.0/8", "192.168.0.0/16", "2001:db8::/32", "0.0.0.0/0"],
  remoteIpBlocks: ["10.0.0.1", "203.0.113.0/24"],
};
/** What a CUSTOM rule of Istio's own apiVersion may name. */
const addressFields = { ipBlocks: sourceFields.ipBlocks, remoteIpBlocks: sourceFields.remoteIpBlocks };
const accounts = ["shop/web", "prod/web", "web", "orders", "a/web"];
const operationFields = {
  hosts: ["shop.example", "SHOP.example:8080", "*.example", "shop*", "*:8080", "*", "[::1]", "shop.example."],
  methods: ["GET", "POST", "P*", "*T", "*"],
  paths: ["/", "/a", "/a/*", "/a*", "*/b", "/a/{*}", "/a/{**}", "/{*}/b", "/{**}/b", "/a/{*}/c/{**}", "*"],
  ports: ["8080", "9090"],
};
const plainConditions = [
  ["source.ip", ["10.0.0.0/8", "10.0.0.1"]],
  ["remote.ip", ["203.0.113.9", "10.0.0.0/8"]],
  ["destination.ip", ["10.9.0.1"]],
  ["destination.port", ["8080"]],
  ["connection.sni", ["shop.example", "*.EXAMPLE", "*"]],
  ["request.headers[X-Tenant]", ["a", "a,b", "a, b", "b*", "*b", "*"]],
  ["request.headers[Host]", ["shop.example", "Shop*", "*:8080", "*"]],
] as const;
/** Istio mode alone takes the pseudo-headers of HTTP/2. */
const pseudoConditions = [
  ["request.headers[:authority]", ["shop.example", "*.", "*"]],
  ["request.headers[:path]", ["/a", "/a*", "*=b", "/a/b?x=/../b", "*"]],
  ["request.headers[:method]", ["GET", "P*", "*"]],
  ["request.headers[:scheme]", ["https", "http", "*"]],
  ["request.headers[:status]", ["200", "*"]],
] as const;
const identityConditions = [
  ["source.namespace", ["shop", "prod"]],
  ["source.principal", ["example.org/ns/shop/sa/web", "*/sa/web", "*"]],
  ["source.trustDomain", ["partner.org", "*"]],
  ["source.serviceAccount", ["web", "prod/web"]],
  ["request.auth.principal", requestPrincipals],
  ["request.auth.audiences", ["shop", "sh*", "*"]],
  ["request.auth.presenter", ["app", "*p"]],
  ["request.auth.claims[groups]", ["admins", "dev*", "*"]],
  ["request.auth.claims[scope]", ["read", "write", "read write"]],
  ["request.auth.claims[org][team]", ["blue", "*"]],
] as const;

/** What source.namespace is; undefined: to ask for it fails. */
function sourceNamespace({ connection }: CallFacts, { grants, home }: MeaningContext): string | undefined {
  const id: string | undefined = connection.peer?.spiffeId;
  if (id === undefined) return undefined;
  const [, trustDomain = "", namespace] = /^spiffe:\/\/([^/]+)\/ns\/([^/]+)\/sa\/[^/]+$/.exec(id) ?? [];
  if (namespace !== undefined) return grants && !home.includes(trustDomain) ? undefined : namespace;
  return grants || /\/ns\/[^/]+\//.test(id) ? undefined : "";
}

/** Expressions, each with what it means in plain code. */
const commonMeanings: Readonly<Record<string, Meaning>> = {
  "connection.destinationPort < 9000": ({ connection }) => connection.destinationPort < 9000,
  'request.path.startsWith("/a") && request.method == "GET"': ({ request }) =>
    request === undefined ? "fault" : request.path.startsWith("/a") && request.method === "GET",
  'request.headers["x-tenant"].matches("^[ab]$")': ({ request }, { strict }) => {
    const lines = [...(request?.headers ?? []), ...(request?.written ?? [])].filter((_, i) => i % 2 === 1);
    const isFault = lines.length === 0 || (strict && lines.length > 1);
    return request === undefined || isFault ? "fault" : /^[ab]$/.test(lines.join(","));
  },
  'time < timestamp("2026-01-01T00:00:00Z")': ({ nowMs }) =>
    nowMs === undefined ? "fault" : nowMs < Date.parse("2026-01-01T00:00:00Z"),
};
const inboundMeanings: Readonly<Record<string, Meaning>> = {
  ...commonMeanings,
  'source.namespace == "shop"': (facts, where) => {
    const namespace = sourceNamespace(facts, where);
    return namespace === undefined ? "fault" : namespace === "shop";
  },
  'source.namespace != "shop"': (facts, where) => {
    const namespace = sourceNamespace(facts, where);
    return namespace === undefined ? "fault" : namespace !== "shop";
  },
  'has(source.trustDomain) && source.trustDomain != "partner.org"': ({ connection }) =>
    connection.peer !== undefined && connection.peer.trustDomain !== "partner.org",
  'workload.labels["app"] == "orders" && source.authenticated': ({ connection }) => connection.peer !== undefined,
  'request.auth.audiences.exists(a, a == "shop")': ({ request }, { grants }) => {
    if (request === undefined || (grants && request.identity === undefined)) return "fault";
    return request.identity?.audiences.includes("shop") ?? false;
  },
};
const outboundMeanings: Readonly<Record<string, Meaning>> = {
  ...commonMeanings,
  'destination.principal != "example.org/ns/shop/sa/web"': (_, { destination }) =>
    destination === "" || destination.endsWith("*") ? "fault" : destination !== "example.org/ns/shop/sa/web",
};
export const meanings = { ...inboundMeanings, ...outboundMeanings };

const negated = (key: string) => `not${key.charAt(0).toUpperCase()}${key.slice(1)}`;
type Group = Record<string, readonly unknown[]>;
type Fields = Readonly<Record<string, readonly unknown[]>>;

function group(fields: Fields): fc.Arbitrary<Group> {
  const entry = fc
    .tuple(fc.constantFrom(...Object.entries(fields)), fc.integer({ min: 1, max: 4 }), fc.nat(3))
    .chain(([[key, values], count, negate]) =>
      fc
        .subarray([...values], { minLength: 1, maxLength: Math.min(count, values.length) })
        .map((some) => [negate === 0 ? negated(key) : key, some] as const),
    );
  return fc.array(entry, { minLength: 1, maxLength: 3 }).map((entries) => Object.fromEntries(entries));
}

function source(fields: Fields): fc.Arbitrary<Group> {
  const serviceAccounts = fc
    .tuple(fc.subarray(accounts, { minLength: 1 }), fc.boolean())
    .map(([some, negate]): Group => ({ [negate ? "notServiceAccounts" : "serviceAccounts"]: some }));
  if (!("principals" in fields)) return group(fields);
  return fc.oneof({ weight: 5, arbitrary: group(fields) }, { weight: 1, arbitrary: serviceAccounts });
}

function condition(keys: readonly (readonly [string, readonly string[]])[]): fc.Arbitrary<object> {
  return fc
    .tuple(fc.constantFrom(...keys), fc.nat(2))
    .chain(([[key, values], negate]) =>
      fc
        .subarray([...values], { minLength: 1, maxLength: Math.min(2, values.length) })
        .map((some) => ({ key, [negate === 0 ? "notValues" : "values"]: some })),
    );
}

interface Language {
  readonly source: Fields;
  readonly operation: Fields;
  readonly conditions: readonly (readonly [string, readonly string[]])[];
  /** Those by which an index tells rules apart. */
  readonly regular: readonly (readonly [string, readonly string[]])[];
  readonly ours: boolean;
  /** Of conditions. */
  readonly expressions: readonly string[];
}

function rule({ source: sourceFieldsOf, operation, conditions, ours, expressions }: Language): fc.Arbitrary<object> {
  const parts = {
    ...(Object.keys(sourceFieldsOf).length === 0
      ? {}
      : {
          from: fc.array(
            source(sourceFieldsOf).map((fields) => ({ source: fields })),
            { minLength: 1, maxLength: 2 },
          ),
        }),
    to: fc.array(
      group(operation).map((fields) => ({ operation: fields })),
      { minLength: 1, maxLength: 2 },
    ),
    when: fc.array(condition(conditions), { minLength: 1, maxLength: 2 }),
    ...(ours ? { conditions: fc.constantFrom(...expressions) } : {}),
  };
  return fc.record(parts, { requiredKeys: [] });
}

/** Conditions by which an index tells rules apart. */
const regularConditions = [
  ["request.headers[x-tenant]", ["a", "b", "a,b", "a, b", "b*", "*b"]],
  ["connection.sni", ["shop.example", "Shop.Example", "*.EXAMPLE", "sh*", "bank.example"]],
  ["request.auth.audiences", ["shop", "bank", "sh*", "*nk"]],
  ["request.auth.presenter", ["app", "a*", "*p", "web"]],
  ["request.auth.claims[groups]", ["admins", "dev*", "ops", "*s", "none"]],
  ["request.auth.claims[scope]", ["read", "write", "read write", "*te"]],
  ["request.auth.claims[org][team]", ["blue", "red", "b*", "green"]],
] as const;
const regularPseudoConditions = [
  ["request.headers[:path]", ["/a", "/a/b", "/a*", "/a/b?x=/a", "*b"]],
  ["request.headers[:authority]", ["shop.example", "Shop*", "*:8080", "[::1]"]],
  ["request.headers[:scheme]", ["http", "https"]],
] as const;

/** Rules that all have the same few fields, as those of a fleet do: what the index splits by. */
const regularRules = (conditions: Language["conditions"]): fc.Arbitrary<object[]> =>
  fc
    .record({
      source: fc.subarray(["principals", "namespaces", "trustDomains", "serviceAccounts", "ipBlocks"] as const, {
        maxLength: 1,
      }),
      operation: fc.subarray(["hosts", "methods", "paths", "ports"] as const, { maxLength: 2 }),
      when: fc.option(fc.constantFrom(...conditions), { freq: 3 }),
    })
    .chain(({ source: sourceKeys, operation: operationKeys, when }) => {
      const one = (values: readonly string[]) =>
        fc.subarray([...values], { minLength: 1, maxLength: 2 }).filter((some) => !some.includes("*"));
      const fields = { ...sourceFields, ...operationFields, serviceAccounts: accounts };
      const record = (keys: readonly (keyof typeof fields)[]) =>
        fc.record(Object.fromEntries(keys.map((key) => [key, one(fields[key])])));
      const parts = {
        ...(sourceKeys.length > 0 ? { from: record(sourceKeys).map((some) => [{ source: some }]) } : {}),
        ...(operationKeys.length > 0 ? { to: record(operationKeys).map((some) => [{ operation: some }]) } : {}),
        ...(when === null
          ? {}
          : { when: fc.constantFrom(...when[1]).map((value) => [{ key: when[0], values: [value] }]) }),
      };
      return fc.array(fc.record(parts), { minLength: 1, maxLength: 40 });
    });

export interface Document {
  readonly apiVersion: string;
  readonly spec: Readonly<Record<string, unknown>>;
  readonly namespace: string;
  readonly dryRun: boolean;
}

function documentOf(language: Language, spec: object, dryRun = false): fc.Arbitrary<Document> {
  const rules = fc.array(rule(language), { minLength: 1, maxLength: 6 });
  const both = language.ours || "provider" in spec ? rules : fc.oneof(rules, regularRules(language.regular));
  return fc.record({
    apiVersion: fc.constant(language.ours ? "countersign.dev/v1" : "security.istio.io/v1"),
    namespace: fc.constantFrom("shop", "istio-system"),
    dryRun: fc.constant(dryRun),
    spec: both.map((some) => ({ ...spec, rules: some })),
  });
}

const istio: Language = {
  source: sourceFields,
  operation: operationFields,
  // The last ones speak to few calls: more of them, so that each decides often enough.
  conditions: [
    ...plainConditions,
    ...identityConditions,
    ...identityConditions.slice(5),
    ...plainConditions.slice(2, 5),
  ],
  regular: regularConditions,
  ours: false,
  expressions: [],
};
const ours: Language = {
  ...istio,
  source: {
    ...sourceFields,
    principals: [...principalValues, ...principalTemplates],
    requestPrincipals: [
      ...requestPrincipals,
      { issuer: "*", subject: "spiffe://example.org/ns/shop/sa/web" },
      { issuer: "https://id.*", subject: "*n" },
    ],
  },
  ours: true,
  expressions: Object.keys(inboundMeanings),
};

/** In istio mode. */
const whole: Language = {
  ...istio,
  conditions: [...istio.conditions, ...pseudoConditions],
  regular: [...regularConditions, ...regularPseudoConditions],
};

/** Documents about inbound calls: all actions, both apiVersions. */
const inboundPoliciesIn = (language: Language): fc.Arbitrary<Document[]> =>
  fc.array(
    fc.oneof(
      { weight: 6, arbitrary: documentOf(language, { action: "ALLOW" }) },
      { weight: 2, arbitrary: documentOf(ours, { action: "ALLOW" }) },
      { weight: 3, arbitrary: documentOf(language, { action: "DENY" }) },
      { weight: 1, arbitrary: documentOf(ours, { action: "DENY" }) },
      { weight: 1, arbitrary: documentOf(istio, { action: "AUDIT" }) },
      { weight: 1, arbitrary: documentOf(istio, { action: "ALLOW" }, true) },
      { weight: 1, arbitrary: documentOf(istio, { action: "DENY" }, true) },
      {
        weight: 1,
        arbitrary: documentOf(
          { ...istio, source: addressFields, conditions: plainConditions },
          { action: "CUSTOM", provider: { name: "opa" } },
        ),
      },
      { weight: 1, arbitrary: documentOf(ours, { action: "CUSTOM", provider: { name: "other" } }) },
    ),
    { maxLength: 4 },
  );

/** Such as both modes take. */
export const inboundPolicies = inboundPoliciesIn(istio);
/** Such as istio mode takes. */
export const istioInboundPolicies = inboundPoliciesIn(whole);

const outbound: Language = {
  source: {},
  operation: { principals: [...principalValues, ...principalTemplates], ...operationFields },
  conditions: [...plainConditions.slice(2), ["destination.principal", principalValues]],
  regular: regularConditions,
  ours: true,
  expressions: Object.keys(outboundMeanings),
};

/** Documents about outbound calls. */
export const outboundPolicies = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: documentOf(outbound, { action: "ALLOW", direction: "OUTBOUND" }) },
    { weight: 1, arbitrary: documentOf(outbound, { action: "DENY", direction: "OUTBOUND" }) },
    {
      weight: 1,
      arbitrary: documentOf(outbound, { action: "CUSTOM", direction: "OUTBOUND", provider: { name: "opa" } }),
    },
    { weight: 1, arbitrary: documentOf(istio, { action: "DENY" }) },
  ),
  { maxLength: 3 },
);

const identity: fc.Arbitrary<RequestIdentity> = fc.record({
  issuer: fc.constantFrom("https://id.example", "https://other.example"),
  subject: fc.constantFrom("ann", "bob", "spiffe://example.org/ns/shop/sa/web", ""),
  audiences: fc.subarray(["shop", "bank"]),
  presenter: fc.constantFrom("", "app"),
  claims: fc.record(
    {
      groups: fc.oneof(fc.subarray(["admins", "dev", "ops"]), fc.constant("admins"), fc.constant(7)),
      scope: fc.constantFrom("read", "read write", ""),
      org: fc.constantFrom({ team: "blue" }, { team: ["red", "blue"] }, "blue"),
    },
    { requiredKeys: [] },
  ),
});

export const call: fc.Arbitrary<CallFacts> = fc.record(
  {
    connection: fc
      .record({
        peer: fc.constantFrom(undefined, ...principals, ...principals.slice(0, 3)).map(peerOf),
        sourceIp: fc.constantFrom("10.0.0.1", "10.2.0.1", "192.168.1.1", "2001:db8::1", ""),
        remoteIp: fc.constantFrom("10.0.0.1", "203.0.113.9"),
        // "": not known, or not yet
        destinationIp: fc.constantFrom("10.9.0.1", "10.9.0.1", "10.9.0.2", "10.9.0.2", ""),
        destinationPort: fc.constantFrom(8080, 9090),
        sni: fc.constantFrom("", "shop.example", "Shop.Example"),
        addressPending: fc.boolean(),
      })
      .map((made) => ({ ...made, addressPending: made.addressPending && made.destinationIp === "" })),
    request: fc.option(
      fc
        .record(
          {
            method: fc.constantFrom("GET", "POST", "PUT"),
            authority: fc.constantFrom(
              "shop.example",
              "Shop.Example:8080",
              "shop.example.",
              "shop.example.:9090",
              "[::1]:8080",
              "[::1]",
              "",
            ),
            path: fc.constantFrom("/", "/a", "/a/", "/a/b", "/a//b", "/a/b/c/d", "/x/b", "/a|b/b"),
            query: fc.constantFrom("", "", "?x=/../b", "?x=/a"),
            scheme: fc.constantFrom("http" as const, "https" as const),
            headers: fc
              .array(fc.constantFrom("a", "b", "bb", "a,b", ""), { maxLength: 3 })
              .map((values) => values.flatMap((value, i) => [i === 0 ? "x-tenant" : "X-Tenant", value])),
            remoteIp: fc.constantFrom("203.0.113.9", "10.0.0.1", "198.51.100.1"),
            identity,
            /** The sidecar's own, where the caller sends none. */
            own: fc.constantFrom("a", "bb"),
            /** Whether the app may leave out the port. */
            omitsPort: fc.boolean(),
          },
          { requiredKeys: ["method", "authority", "path", "query", "headers"] },
        )
        .map(({ query, own, omitsPort = false, ...rest }) => ({
          ...rest,
          ...(omitsPort ? { shortAuthority: rest.authority.replace(/:[0-9]+$/, "") } : {}),
          target: rest.path + query,
          ...(own === undefined || rest.headers.length > 0 ? {} : { written: ["x-tenant", own] }),
        })),
      { nil: undefined, freq: 6 },
    ),
    destinationPrincipals: fc.array(
      fc.constantFrom(...principals.slice(0, 6), "example.org/ns/shop/sa/*", "example.org/*"),
      { maxLength: 2 },
    ),
    nowMs: fc.constantFrom(Date.parse("2025-06-01T00:00:00Z"), Date.parse("2026-06-01T00:00:00Z")),
  },
  { requiredKeys: ["connection", "request"] },
);

function peerOf(principal: string | undefined): Peer | undefined {
  if (principal === undefined) return undefined;
  const spiffeId = parseSpiffeId(`spiffe://${principal}`);
  const times = { notAfterMs: 0, validUntilMs: 0 };
  return { spiffeId, trustDomain: trustDomainOf(spiffeId), serial: "1", issuer: "", fingerprint: "", ...times };
}

export function optionsOf(mode: PolicyMode, fallback: "allow" | "deny"): PolicyOptions {
  return {
    mode,
    default: fallback,
    pathNormalization: "MERGE_SLASHES",
    rootNamespace: "istio-system",
    workload: { namespace: "shop", labels: new Map([["app", "orders"]]) },
    localTrustDomain: parseTrustDomain("example.org"),
    trustDomainAliases: [parseTrustDomain("old.example")],
    listeners: [],
  };
}

/** JSON is YAML. */
export function textOf(documents: readonly Document[]): string {
  return documents
    .map(({ apiVersion, namespace, spec, dryRun }, index) => {
      const annotations = dryRun ? { annotations: { "istio.io/dry-run": "true" } } : {};
      const metadata = { name: `p${index}`, namespace, ...annotations };
      return JSON.stringify({ apiVersion, kind: "AuthorizationPolicy", metadata, spec });
    })
    .join("\n---\n");
}
