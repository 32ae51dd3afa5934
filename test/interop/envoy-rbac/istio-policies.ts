import fc from "fast-check";

/** AuthorizationPolicies of Istio as data, over values that a client on loopback can have. */
export interface IstioPolicy {
  readonly action: "ALLOW" | "DENY";
  readonly rules: readonly IstioRule[];
}
export interface IstioRule {
  readonly from?: readonly { readonly source: IstioFields }[];
  readonly to?: readonly { readonly operation: IstioFields }[];
  readonly when?: readonly {
    readonly key: string;
    readonly values?: readonly string[];
    readonly notValues?: readonly string[];
  }[];
}
export type IstioFields = Readonly<Record<string, readonly string[]>>;

export interface IstioCall {
  /** undefined: no client certificate. */
  readonly principal: string | undefined;
  readonly sourceIp: string;
  /** Which of the two listeners. */
  readonly listener: 0 | 1;
  readonly sni: string;
  readonly method: string;
  readonly host: string;
  readonly path: string;
  /** With its question mark. */
  readonly query: string;
  readonly tenants: readonly string[];
  /** Claims of its token; undefined: none. */
  readonly claims: Claims | undefined;
}
export type Claims = Readonly<Record<string, unknown>>;

/** Of tokens: a few, so that each is signed once. */
export const CLAIMS: readonly Claims[] = [
  { iss: "https://id.example", sub: "ann", aud: "shop", azp: "app", groups: ["dev", "admins"], scope: "read write" },
  { iss: "https://id.example", sub: "bob", aud: ["shop", "bank"], groups: "admins", org: { team: "blue" } },
  { iss: "https://id.example", sub: "a/ann", aud: [], azp: "", groups: ["ops"], org: { team: ["red", "blue"] } },
  { iss: "https://id.example", aud: "bank", groups: 7, scope: "readwrite", org: "blue" },
  { iss: "https://other.example", sub: "ann", azp: "webapp", groups: [], scope: ["write"], permission: "read" },
  { iss: "https://other.example", sub: "joann", aud: "shopping", groups: { admins: "admins" }, scope: "" },
];

export const PRINCIPALS = [
  "example.org/ns/shop/sa/web",
  "example.org/ns/shop/sa/orders",
  "example.org/ns/prod/sa/web",
  "partner.org/ns/shop/sa/web",
  "example.org/team/ns/shop/sa/web",
  "example.org/ns/shop/x/sa/web/y",
  "example.org/web",
];

const REQUEST_PRINCIPALS = [
  "https://id.example/ann",
  "https://id.example/*",
  "https://id.example/a*",
  "https://id.example/a/ann",
  "https*",
  "*.example/ann",
  "*/ann",
  "*nn",
  "*",
];

/** Fields that no TCP connection has. */
const HTTP_FIELDS = ["requestPrincipals", "hosts", "methods", "paths"];

/** `ports` are those of the two listeners. For TCP most fields are ones that it has. */
export function istioPolicies(
  ports: readonly [number, number],
  protocol: "http" | "tcp" = "http",
): fc.Arbitrary<readonly IstioPolicy[]> {
  const weigh = <T extends readonly [string, ...unknown[]]>(all: readonly T[]): readonly T[] =>
    protocol === "http"
      ? all
      : all.flatMap((one) =>
          Array<T>(HTTP_FIELDS.includes(one[0]) || one[0].startsWith("request.") ? 1 : 12).fill(one),
        );
  const sources = {
    principals: [...PRINCIPALS.slice(0, 5), "*/sa/web", "example.org/ns/shop/*", "exam*", "*"],
    namespaces: ["shop", "prod", "pro*", "*op", "s*p", "*"],
    trustDomains: ["example.org", "partner.org", "*.org", "example*", "*"],
    ipBlocks: ["127.0.0.1", "127.0.0.0/30", "10.0.0.0/8", "0.0.0.0/0"],
    remoteIpBlocks: ["127.0.0.2", "127.0.0.0/8"],
    requestPrincipals: REQUEST_PRINCIPALS,
  };
  const operations = {
    hosts: ["shop.example", "SHOP.example:8080", "*.example", "shop*", "*:8080", "*"],
    methods: ["GET", "POST", "P*", "*T", "*"],
    paths: ["/", "/a", "/a/*", "/a*", "*/b", "/a/{*}", "/a/{**}", "/{*}/b", "/{**}/b", "/a/{*}/c/{**}", "*"],
    ports: ports.map(String),
  };
  const conditions = [
    ["source.ip", ["127.0.0.1", "127.0.0.2/31"]],
    ["remote.ip", ["127.0.0.3"]],
    ["destination.ip", ["127.0.0.1", "10.0.0.0/8"]],
    ["destination.ip", ["127.0.0.1"]],
    ["destination.ip", ["10.0.0.0/8"]],
    ["destination.port", ports.map(String)],
    ["connection.sni", ["shop.example", "Shop.Example", "*.example", "*.Example", "*"]],
    ["source.namespace", ["shop", "prod"]],
    ["source.principal", ["example.org/ns/shop/sa/web", "*/sa/web", "*"]],
    ["source.trustDomain", ["partner.org"]],
    ["source.serviceAccount", ["shop/web", "prod/web"]],
    ["request.headers[X-Tenant]", ["a", "a,b", "b*", "*b", "*"]],
    ["request.headers[X-Tenant]", ["a", "b", "*"]],
    ["request.headers[Host]", ["shop.example", "Shop*", "*:8080", "*"]],
    ["request.headers[:authority]", ["shop.example", "*.", "*"]],
    ["request.headers[:path]", ["/a", "/a*", "*/b", "/a/b?x=/../b", "*"]],
    ["request.headers[:Method]", ["GET", "P*", "*"]],
    ["request.headers[:scheme]", ["https", "http", "*"]],
    ["request.headers[:status]", ["200", "*"]],
    ["request.auth.principal", REQUEST_PRINCIPALS],
    ["request.auth.audiences", ["shop", "sh*", "*k", "*"]],
    ["request.auth.audiences", ["shop", "bank"]],
    ["request.auth.presenter", ["app", "*p", "web*", "*"]],
    ["request.auth.presenter", ["app", "*"]],
    ["request.auth.claims[groups]", ["admins", "d*", "*"]],
    ["request.auth.claims[scope]", ["read", "write", "read write", "*e"]],
    ["request.auth.claims[permission]", ["read"]],
    ["request.auth.claims[org][team]", ["blue", "r*"]],
  ] as const;
  const group = (fields: IstioFields): fc.Arbitrary<IstioFields> => {
    const entry = fc
      .tuple(fc.constantFrom(...weigh(Object.entries(fields))), fc.nat(3))
      .chain(([[key, values], negate]) =>
        fc
          .subarray([...values], { minLength: 1, maxLength: Math.min(3, values.length) })
          .map((some) => [negate === 0 ? `not${key.charAt(0).toUpperCase()}${key.slice(1)}` : key, some] as const),
      );
    return fc.array(entry, { minLength: 1, maxLength: 3 }).map((entries) => Object.fromEntries(entries));
  };
  const accounts = fc
    .tuple(fc.subarray(["shop/web", "prod/web", "web", "orders"], { minLength: 1 }), fc.boolean())
    .map(([some, negate]): IstioFields => ({ [negate ? "notServiceAccounts" : "serviceAccounts"]: some }));
  const source = fc.oneof({ weight: 5, arbitrary: group(sources) }, { weight: 1, arbitrary: accounts });
  const condition = fc
    .tuple(fc.constantFrom(...weigh(conditions)), fc.nat(2))
    .chain(([[key, values], negate]) =>
      fc
        .subarray([...values], { minLength: 1, maxLength: Math.min(2, values.length) })
        .map((some) => ({ key, [negate === 0 ? "notValues" : "values"]: some })),
    );
  const rule = fc.record(
    {
      from: fc.array(
        source.map((fields) => ({ source: fields })),
        { minLength: 1, maxLength: 2 },
      ),
      to: fc.array(
        group(operations).map((fields) => ({ operation: fields })),
        { minLength: 1, maxLength: 2 },
      ),
      when: fc.array(condition, { minLength: 1, maxLength: 2 }),
    },
    { requiredKeys: [] },
  );
  const rules = fc.array(rule, { minLength: 1, maxLength: 5 });
  const allow = rules.map((some): IstioPolicy => ({ action: "ALLOW", rules: some }));
  const deny = rules.map((some): IstioPolicy => ({ action: "DENY", rules: some }));
  return fc.array(fc.oneof({ weight: 2, arbitrary: allow }, { weight: 1, arbitrary: deny }), {
    minLength: 1,
    maxLength: 3,
  });
}

export const istioCall: fc.Arbitrary<IstioCall> = fc.record({
  principal: fc.constantFrom(undefined, ...PRINCIPALS, ...PRINCIPALS.slice(0, 3)),
  sourceIp: fc.constantFrom("127.0.0.1", "127.0.0.2", "127.0.0.9"),
  listener: fc.constantFrom(0, 1),
  sni: fc.constantFrom("", "shop.example", "Shop.Example"),
  method: fc.constantFrom("GET", "POST", "PUT"),
  host: fc.constantFrom("shop.example", "Shop.Example:8080", "shop.example.", "shop.example:9090"),
  path: fc.constantFrom("/", "/a", "/a/", "/a/b", "/a//b", "/a/b/c/d", "/x/b", "/a|b/b"),
  query: fc.constantFrom("", "", "?x=/../b", "?/b"),
  tenants: fc.array(fc.constantFrom("a", "b", "bb", "a,b", ""), { maxLength: 2 }),
  claims: fc.constantFrom(undefined, ...CLAIMS, ...CLAIMS.slice(0, 2)),
});
