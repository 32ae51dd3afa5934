import type { ConnectionView } from "./call-view.ts";
import { compilePathTemplate, isPathTemplate, matchesPathTemplate, type PathTemplate } from "./path-template.ts";
import { inTextSet, parseTextPattern, type TextPattern, type TextSet, textSet } from "./text-pattern.ts";

/** Where a match of an identity may come from. `home`: the pattern stands only for these trust domains, and a namespace or service
 *  account only in an ID of Kubernetes form (strict ALLOW; authorization, section 1). `anywhere`: any trust domain, any depth. */
export type Reach =
  | { readonly kind: "anywhere" }
  | { readonly kind: "kubernetes"; readonly trustDomains: ReadonlySet<string> | undefined };

type ConnectionMatch = (connection: ConnectionView) => boolean;

/** A star that stands for part of the trust domain. */
export function reachesTrustDomain(pattern: TextPattern): boolean {
  switch (pattern.form) {
    case "exact":
      return false;
    case "prefix":
      return !pattern.text.includes("/");
    case "suffix":
    case "any":
      return true;
  }
}

/** `values` are already expanded over the trust domain's aliases. Templates, where they are allowed, name their trust domain, so their reach is
 *  plain. */
export function matchPrincipal(values: readonly string[], reach: Reach, mayBeTemplates: boolean): ConnectionMatch {
  if (!mayBeTemplates) return matchPlainPrincipal(values, reach);
  const templates = values.filter(isPathTemplate).map(compilePrincipalTemplate);
  const plain = matchPlainPrincipal(
    values.filter((value) => !isPathTemplate(value)),
    reach,
  );
  if (templates.length === 0) return plain;
  return (connection) => {
    if (plain(connection)) return true;
    for (const template of templates) if (matchesPathTemplate(template, connection.principal)) return true;
    return false;
  };
}

/** `<trust domain>/<path template>`: the trust domain is a literal beginning like any other. */
export function compilePrincipalTemplate(value: string): PathTemplate {
  return compilePathTemplate(value, false);
}

function matchPlainPrincipal(values: readonly string[], reach: Reach): ConnectionMatch {
  const patterns = values.map(parseTextPattern);
  const home = reach.kind === "kubernetes" ? reach.trustDomains : undefined;
  if (home === undefined) {
    const all = textSet(patterns);
    return (connection) => inTextSet(all, connection.principal);
  }
  const free = textSet(patterns.filter((pattern) => !reachesTrustDomain(pattern)));
  const bound = textSet(patterns.filter(reachesTrustDomain));
  return ({ principal, trustDomain }) =>
    inTextSet(free, principal) || (home.has(trustDomain) && inTextSet(bound, principal));
}

export function matchTrustDomain(values: readonly string[]): ConnectionMatch {
  const all: TextSet = textSet(values.map(parseTextPattern));
  return (connection) => inTextSet(all, connection.trustDomain);
}

/** A namespace value split at its stars, any number of which may stand anywhere. */
type Glob = readonly string[];

function globMatchesWhole(glob: Glob, text: string): boolean {
  const first = glob[0] ?? "";
  if (glob.length === 1) return text === first;
  const last = glob[glob.length - 1] ?? "";
  if (!text.startsWith(first) || !text.endsWith(last)) return false;
  let at = first.length;
  const end = text.length - last.length;
  for (let i = 1; i < glob.length - 1; i++) {
    const part = glob[i] ?? "";
    const found = text.indexOf(part, at);
    if (found === -1) return false;
    at = found + part.length;
  }
  return at <= end;
}

function globOccurs(glob: Glob, text: string): boolean {
  let at = 0;
  for (const part of glob) {
    const found = text.indexOf(part, at);
    if (found === -1) return false;
    at = found + part.length;
  }
  return true;
}

/** Namespaces: anywhere, `.*\/ns/<value>/.*` on the whole ID, where a star crosses `/`. */
export function matchNamespace(values: readonly string[], reach: Reach): ConnectionMatch {
  if (reach.kind === "kubernetes") {
    const globs = values.map((value) => value.split("*"));
    return ({ kubernetes, trustDomain }) => {
      if (kubernetes === undefined || reach.trustDomains?.has(trustDomain) === false) return false;
      for (const glob of globs) if (globMatchesWhole(glob, kubernetes.namespace)) return true;
      return false;
    };
  }
  const globs = values.map((value) => `/ns/${value}/`.split("*"));
  return ({ id }) => {
    for (const glob of globs) if (globOccurs(glob, id)) return true;
    return false;
  };
}

/** The first character after `spiffe://` and at least one more. */
const FIRST_NS_AT = "spiffe://".length + 1;

/** `spiffe://.+/ns/<ns>/(.+/|)sa/<sa>(/.+)?` without a regular expression. The first `/ns/<ns>/` leaves the most text
 *  for what must follow, so no other needs to be tried. */
function hasAccountAnywhere(id: string, nsPart: string, saPart: string): boolean {
  const nsAt = id.indexOf(nsPart, FIRST_NS_AT);
  if (nsAt === -1) return false;
  // The slash that ends nsPart may be the one that begins saPart.
  for (let at = nsAt + nsPart.length - 1; ; at++) {
    at = id.indexOf(saPart, at);
    if (at === -1) return false;
    const end = at + saPart.length;
    if (end === id.length || id.charCodeAt(end) === 0x2f) return true;
  }
}

/** Service accounts as `<namespace>/<name>`. */
export function matchServiceAccount(values: readonly string[], reach: Reach): ConnectionMatch {
  if (reach.kind === "kubernetes") {
    const accounts = new Set(values);
    return ({ kubernetes, trustDomain }) =>
      kubernetes !== undefined && reach.trustDomains?.has(trustDomain) !== false && accounts.has(kubernetes.account);
  }
  const parts = values.map((value) => {
    const [namespace = "", account = ""] = value.split("/");
    return { nsPart: `/ns/${namespace}/`, saPart: `/sa/${account}` };
  });
  return ({ id }) => {
    for (const { nsPart, saPart } of parts) if (hasAccountAnywhere(id, nsPart, saPart)) return true;
    return false;
  };
}
