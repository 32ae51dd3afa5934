import type { IstioFields, IstioPolicy, IstioRule } from "./istio-policies.ts";

type Json = Readonly<Record<string, unknown>>;

/** Envoy's RBAC rules for Istio policies, field by field as Istio's own generator writes them (pilot/pkg/security/authz). */
export function envoyRules(
  action: "ALLOW" | "DENY",
  policies: readonly IstioPolicy[],
  namespace: string,
  protocol: "http" | "tcp" = "http",
): Json {
  const all = policies.filter((policy) => policy.action === action).flatMap((policy) => policy.rules);
  const rules = protocol === "http" ? all : all.flatMap((rule) => tcpRule(action, rule));
  const named = rules.map((rule, i) => [`rule-${i}`, envoyPolicy(rule, namespace)]);
  return { action, policies: Object.fromEntries(named) };
}

const HTTP_FIELDS = [
  "requestPrincipals",
  "notRequestPrincipals",
  "hosts",
  "methods",
  "paths",
  "notHosts",
  "notMethods",
  "notPaths",
];

/** On TCP Istio leaves HTTP-only fields out of a DENY, and an ALLOW rule that has one out whole. */
function tcpRule(action: "ALLOW" | "DENY", { from = [], to = [], when = [] }: IstioRule): readonly IstioRule[] {
  const isHttp = (field: string): boolean => HTTP_FIELDS.includes(field) || field.startsWith("request.");
  const fields = [...from.map(({ source }) => source), ...to.map(({ operation }) => operation)].flatMap(Object.keys);
  if (action === "ALLOW" && [...fields, ...when.map(({ key }) => key)].some(isHttp)) return [];
  const left = (some: IstioFields): IstioFields =>
    Object.fromEntries(Object.entries(some).filter(([name]) => !isHttp(name)));
  return [
    {
      from: from.map(({ source }) => ({ source: left(source) })),
      to: to.map(({ operation }) => ({ operation: left(operation) })),
      when: when.filter(({ key }) => !isHttp(key)),
    },
  ];
}

interface Part {
  readonly permissions: readonly Json[];
  readonly principals: readonly Json[];
}

function envoyPolicy({ from = [], to = [], when = [] }: IstioRule, namespace: string): Json {
  const conditions = when.map(({ key, values = [], notValues = [] }): Part => {
    const both = [...asIs(key, values, namespace), ...inverted(key, notValues, namespace)];
    const isPermission = PERMISSION_KEYS.includes(key);
    return { permissions: isPermission ? both : [], principals: isPermission ? [] : both };
  });
  const groups = (list: readonly IstioFields[], names: Readonly<Record<string, string>>) =>
    list.map((fields) =>
      Object.entries(fields).flatMap(([name, values]) => {
        const isNegated = name.startsWith("not");
        const plain = isNegated ? name.charAt(3).toLowerCase() + name.slice(4) : name;
        const key = names[plain] ?? plain;
        return isNegated ? inverted(key, values, namespace) : asIs(key, values, namespace);
      }),
    );
  const sources = groups(
    from.map(({ source }) => source),
    SOURCE_KEYS,
  );
  const operations = groups(
    to.map(({ operation }) => operation),
    {},
  );
  const principals = conditions.flatMap((part) => part.principals);
  const permissions = conditions.flatMap((part) => part.permissions);
  const all = (ids: readonly Json[], name: "and_rules" | "and_ids") =>
    ids.length === 0 ? { any: true } : { [name]: name === "and_rules" ? { rules: ids } : { ids } };
  const alternatives = (list: readonly (readonly Json[])[], more: readonly Json[], name: "and_rules" | "and_ids") =>
    (list.length === 0 ? [[]] : list).map((group) => all([...group, ...more], name));
  return {
    permissions: alternatives(operations, permissions, "and_rules"),
    principals: alternatives(sources, principals, "and_ids"),
  };
}

const SOURCE_KEYS: Readonly<Record<string, string>> = {
  principals: "source.principal",
  namespaces: "source.namespace",
  serviceAccounts: "source.serviceAccount",
  trustDomains: "source.trustDomain",
  ipBlocks: "source.ip",
  remoteIpBlocks: "remote.ip",
  requestPrincipals: "request.auth.principal",
};
const PERMISSION_KEYS = ["destination.ip", "destination.port", "connection.sni", "hosts", "methods", "paths", "ports"];

function asIs(key: string, values: readonly string[], namespace: string): readonly Json[] {
  if (values.length === 0) return [];
  const some = values.map((value) => matcher(key, value, namespace));
  return [PERMISSION_KEYS.includes(key) ? { or_rules: { rules: some } } : { or_ids: { ids: some } }];
}

function inverted(key: string, values: readonly string[], namespace: string): readonly Json[] {
  return asIs(key, values, namespace).map((some) => ({
    [PERMISSION_KEYS.includes(key) ? "not_rule" : "not_id"]: some,
  }));
}

function matcher(key: string, value: string, namespace: string): Json {
  switch (key) {
    case "source.principal":
      return authenticated(text(value, "spiffe://"));
    case "source.namespace":
      return authenticated(regex(`.*/ns/${value.replaceAll("*", ".*")}/.*`));
    case "source.trustDomain":
      return authenticated(regex(`spiffe://${value.replaceAll(".", "\\.").replaceAll("*", "[^/]*")}/.*`));
    case "source.serviceAccount": {
      const [ns, account] = value.includes("/") ? value.split("/") : [namespace, value];
      return authenticated(regex(`spiffe://.+/ns/${ns}/(.+/|)sa/${account}(/.+)?`));
    }
    case "source.ip":
      return { direct_remote_ip: block(value) };
    case "remote.ip":
      return { remote_ip: block(value) };
    case "destination.ip":
      return { destination_ip: block(value) };
    case "destination.port":
    case "ports":
      return { destination_port: Number(value) };
    case "connection.sni":
      return { requested_server_name: text(value) };
    case "hosts":
      return { header: header(":authority", value, true) };
    case "methods":
      return { header: header(":method", value) };
    case "paths":
      return value.includes("{") ? template(value) : { url_path: { path: text(value) } };
    case "request.auth.principal": {
      const [issuer, subject] = requestPrincipal(value);
      return { and_ids: { ids: [claim(["iss"], text(issuer)), claim(["sub"], text(subject))] } };
    }
    case "request.auth.audiences":
      return listClaim(["aud"], value);
    case "request.auth.presenter":
      return claim(["azp"], text(value));
    default: {
      const claims = /^request\.auth\.claims\[(.*)\]$/.exec(key)?.[1];
      if (claims !== undefined) return listClaim(claims.split("]["), value);
      const name = /^request\.headers\[(.*)\]$/.exec(key)?.[1];
      if (name === undefined) throw new TypeError(`no translation of ${key}`);
      return { header: header(name.toLowerCase(), value) };
    }
  }
}

/** What Istio asks of issuer and subject: parted by the last slash; without one, a star says which of the two is meant. */
function requestPrincipal(value: string): readonly [issuer: string, subject: string] {
  const slash = value.lastIndexOf("/");
  if (slash !== -1) return [value.slice(0, slash), value.slice(slash + 1)];
  if (value.endsWith("*")) return [value, "*"];
  return ["*", value];
}

/** What the JWT filter leaves of a token. */
function claim(path: readonly string[], string_match: Json): Json {
  return metadata(path, { string_match });
}

function listClaim(path: readonly string[], value: string): Json {
  const string_match = text(value);
  return metadata(path, {
    or_match: { value_matchers: [{ list_match: { one_of: { string_match } } }, { string_match }] },
  });
}

function metadata(path: readonly string[], value: Json): Json {
  const keys = ["payload", ...path].map((key) => ({ key }));
  return { metadata: { filter: "envoy.filters.http.jwt_authn", path: keys, value } };
}

function authenticated(principal_name: Json): Json {
  return { authenticated: { principal_name } };
}

function regex(pattern: string): Json {
  return { safe_regex: { regex: pattern } };
}

const escaped = (literal: string) => literal.replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&");

function text(value: string, prefix = "", ignoreCase = false): Json {
  const fold = ignoreCase ? { ignore_case: true } : {};
  if (value === "*") return regex(".+");
  if (value.startsWith("*"))
    return prefix === "" ? { suffix: value.slice(1), ...fold } : regex(`${prefix}.*${escaped(value.slice(1))}`);
  if (value.endsWith("*")) return { prefix: prefix + value.slice(0, -1), ...fold };
  return { exact: prefix + value, ...fold };
}

function header(name: string, value: string, ignoreCase = false): Json {
  return value === "*" ? { name, present_match: true } : { name, string_match: text(value, "", ignoreCase) };
}

function template(value: string): Json {
  const path_template = value.replaceAll("{**}", "**").replaceAll("{*}", "*");
  const type = "type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig";
  return { uri_template: { name: "uri-template", typed_config: { "@type": type, path_template } } };
}

function block(value: string): Json {
  const [address_prefix, bits] = value.split("/");
  return { address_prefix, prefix_len: Number(bits ?? 32) };
}
