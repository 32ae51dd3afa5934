import { BlockList, isIPv6 } from "node:net";
import type { CompiledPolicy } from "../../../src/authz/compiled-policy.ts";
import type { FieldGroup, FieldModel, PolicyModel, RuleModel } from "../../../src/authz/policy-model.ts";
import type { CallFacts, RequestIdentity } from "../../../src/core/call-facts.ts";

/** What the plain evaluator says: enough to compare with a CallDecision. */
export interface LinearDecision {
  readonly kind: "allow" | "deny";
  /** The rule that decided, or undefined for a default. */
  readonly rule: string | undefined;
  /** Providers that must be asked first, each with the rule that matched. */
  readonly ask: readonly string[];
  readonly audit: string | undefined;
  /** What the dry-run policies would make of it: verdict and rule. */
  readonly dryRun: readonly [verdict: "allow" | "deny", rule: string | undefined] | undefined;
}

/** What a rule's CEL expression means, in plain code; "fault": it fails. */
export type Meaning = (facts: CallFacts, where: MeaningContext) => boolean | "fault";

export interface MeaningContext {
  readonly strict: boolean;
  /** It stands in an ALLOW. */
  readonly grants: boolean;
  readonly home: readonly string[];
  /** Outbound: one of the facts' destination principals, or "". */
  readonly destination: string;
}

export interface LinearOptions {
  readonly direction?: "inbound" | "outbound";
  readonly fallback?: "allow" | "deny";
  readonly meanings?: Readonly<Record<string, Meaning>>;
  /** A kind of field that counts as matching always: to see how often it decides. */
  readonly without?: FieldModel["kind"] | "expression";
}

interface Setting {
  readonly without: LinearOptions["without"];
  readonly action: PolicyModel["action"];
  readonly facts: CallFacts;
  /** Outbound: one of the facts' destination principals, or "". */
  readonly destination: string;
  readonly strict: boolean;
  readonly direction: "inbound" | "outbound";
  readonly home: readonly string[];
  readonly meanings: Readonly<Record<string, Meaning>>;
}

/** Decides by asking every rule, written from the text of the specification with regular expressions and without any part of the
 *  compiled form: the oracle for the index and the matchers. */
export function decideLinear(policy: CompiledPolicy, facts: CallFacts, asked: LinearOptions = {}): LinearDecision {
  const { direction = "inbound" } = asked;
  if (direction === "inbound") return decideOne(policy, facts, "", asked);
  const all = (facts.destinationPrincipals ?? [""]).map((destination) => decideOne(policy, facts, destination, asked));
  const last = all[all.length - 1] ?? decideOne(policy, facts, "", asked);
  const ask = (all.length === 0 ? [last] : all).flatMap((one) => one.ask);
  const isFirst = (one: string, i: number): boolean =>
    ask.findIndex((other) => other.split(" ")[0] === one.split(" ")[0]) === i;
  return { ...(all.find(({ kind }) => kind === "deny") ?? last), ask: ask.filter(isFirst) };
}

function decideOne(
  policy: CompiledPolicy,
  facts: CallFacts,
  destination: string,
  { direction = "inbound", fallback, meanings = {}, without }: LinearOptions,
): LinearDecision {
  const { options } = policy;
  const home = [options.localTrustDomain, ...options.trustDomainAliases].filter((name) => name !== undefined);
  const documents = policy.policies.filter((document) => document.direction.toLowerCase() === direction);
  const setting = { facts, direction, destination, strict: options.mode === "strict", home, meanings, without };
  const first = (action: PolicyModel["action"], some: readonly PolicyModel[]) => {
    for (const document of some) {
      if (document.action !== action) continue;
      const rule = document.rules.find((candidate) => ruleHolds(candidate, { ...setting, action }));
      if (rule !== undefined) return `ns[${document.namespace}]-policy[${document.name}]-rule[${rule.index}]`;
    }
    return undefined;
  };
  const enforced = documents.filter(({ dryRun }) => !dryRun);
  const verdict = (some: readonly PolicyModel[]): readonly ["allow" | "deny", string | undefined] => {
    const denied = first("DENY", some);
    if (denied !== undefined) return ["deny", denied];
    if (!some.some(({ action }) => action === "ALLOW")) return [fallback ?? options.default, undefined];
    const allowed = first("ALLOW", some);
    return [allowed === undefined ? "deny" : "allow", allowed];
  };
  const [kind, rule] = verdict(enforced);
  const providers = [...new Set(documents.map(({ provider }) => provider))].filter((name) => name !== undefined);
  const ask = providers.flatMap((provider) => {
    const found = first(
      "CUSTOM",
      documents.filter((document) => document.provider === provider),
    );
    return found === undefined ? [] : [`${provider} by ${found}`];
  });
  const dryRun = documents.length === enforced.length ? undefined : verdict(documents);
  return { kind, rule, ask, audit: first("AUDIT", enforced), dryRun };
}

const TOKEN = ["requestPrincipal", "audience", "presenter", "claim"];
const HTTP = ["host", "method", "path", "header", ...TOKEN];
const IDENTITY = ["principal", "namespace", "serviceAccount", "trustDomain"];

function ruleHolds(rule: RuleModel, setting: Setting): boolean {
  const fields = [...rule.sources.flat(), ...rule.operations.flat(), ...rule.conditions];
  const readsHttp =
    fields.some(({ kind }) => HTTP.includes(kind)) || (rule.expression?.text.includes("request.") ?? false);
  if (setting.facts.request === undefined && readsHttp && setting.action === "ALLOW") return false;
  const groupHolds = (group: FieldGroup) => group.every((field) => fieldHolds(field, group, setting));
  const anyHolds = (groups: readonly FieldGroup[]) => groups.length === 0 || groups.some(groupHolds);
  return (
    anyHolds(rule.sources) &&
    anyHolds(rule.operations) &&
    groupHolds(rule.conditions) &&
    (rule.expression === undefined ||
      setting.without === "expression" ||
      expressionHolds(rule.expression.text, setting))
  );
}

function expressionHolds(text: string, setting: Setting): boolean {
  const { meanings, facts, action } = setting;
  const meaning = meanings[text];
  if (meaning === undefined) throw new TypeError(`no meaning for ${text}`);
  const answer = meaning(facts, { ...setting, grants: action === "ALLOW" });
  return answer === "fault" ? action !== "ALLOW" : answer;
}

function fieldHolds(field: FieldModel, group: FieldGroup, setting: Setting): boolean {
  const { action, facts, strict, destination } = setting;
  if (field.kind === setting.without) return true;
  const grants = action === "ALLOW";
  const isStar = field.values.join() === "*";
  if (HTTP.includes(field.kind) && facts.request === undefined) return !grants;
  const isAnonymous =
    (IDENTITY.includes(field.kind) && facts.connection.peer === undefined) ||
    (field.kind === "destinationPrincipal" && destination === "");
  if (isAnonymous) {
    if (!strict) return field.negated;
    return !grants || (field.negated && isStar);
  }
  if (TOKEN.includes(field.kind) && facts.request?.identity === undefined)
    return field.negated && (!strict || !grants || isStar);
  if (field.kind === "header") return headerHolds(field, setting);
  const isOpen = field.kind === "destinationIp" && field.negated && facts.connection.addressPending === true;
  if (isOpen && setting.direction === "outbound" && (action === "DENY" || action === "CUSTOM")) return false;
  if (field.kind === "destinationPrincipal" && destination.endsWith("*")) return openHolds(field, setting);
  return field.values.some((value) => valueHolds(field, value, group, setting)) !== field.negated;
}

/** Of all the principals that an open destination may turn out to be, an ALLOW wants every one to hold and the others any: tried with the
 *  ones that could make a difference. */
function openHolds(field: FieldModel, { destination, home, action }: Setting): boolean {
  const start = destination.slice(0, -1);
  const values = field.values.flatMap((value) => expansions(value, home));
  // The end of a text that fits a value, set behind the beginning, is what could make it fit.
  const samples = values.map((value) => value.replace(/^\*/, "zzz").replaceAll(/\{\*\*?\}|\*$/g, "zzz"));
  const tried = ["zzz", ...samples.flatMap((sample) => sample.split("").map((_, i) => sample.slice(i)))]
    .map((end) => `${start}${end}`)
    .concat(samples.filter((sample) => sample.startsWith(start)));
  const holds = tried.map((principal) => values.some((value) => principalHolds(value, principal)) !== field.negated);
  return action === "ALLOW" ? holds.every(Boolean) : holds.some(Boolean);
}

function principalHolds(value: string, principal: string): boolean {
  return /\{\*\*?\}/.test(value) ? pathHolds(value, principal, true) : patternOf(value).test(principal);
}

const escapeRegExp = (text: string) => text.replaceAll(/[\\^$.*+?()[\]{}|/]/g, "\\$&");

/** Section 2, as a regular expression; `star` is what the star stands for. */
function patternOf(value: string, flags = "u"): RegExp {
  if (value === "*") return /^.+$/su;
  if (value.startsWith("*")) return new RegExp(`^.*${escapeRegExp(value.slice(1))}$`, `s${flags}`);
  if (value.endsWith("*")) return new RegExp(`^${escapeRegExp(value.slice(0, -1))}.*$`, `s${flags}`);
  return new RegExp(`^${escapeRegExp(value)}$`, flags);
}

function valueHolds(field: FieldModel, value: string, group: FieldGroup, setting: Setting): boolean {
  const { connection, request } = setting.facts;
  switch (field.kind) {
    case "principal":
    case "namespace":
    case "serviceAccount":
      return identityHolds(field, value, group, setting);
    case "trustDomain": {
      const values = setting.home.includes(value) ? setting.home : [value];
      return values.some((one) => patternOf(one).test(connection.peer?.trustDomain ?? ""));
    }
    case "sourceIp":
    case "destinationIp":
      return addressHolds(value, connection[field.kind]);
    case "remoteIp":
      return addressHolds(value, request?.remoteIp ?? connection.remoteIp);
    case "destinationPrincipal":
      return expansions(value, setting.home).some((one) => principalHolds(one, setting.destination));
    case "requestPrincipal":
    case "audience":
    case "presenter":
    case "claim":
      return tokenHolds(field, value, request?.identity);
    case "port":
      return Number(value) === connection.destinationPort;
    case "sni":
      return patternOf(value, setting.strict ? "iu" : "u").test(connection.sni.toLowerCase());
    case "host":
      return spellings(request, setting.strict).some((authority) => hostHolds(value, authority, setting.strict));
    case "method":
      return patternOf(value).test(request?.method ?? "");
    case "path":
      return pathHolds(value, request?.path ?? "", setting.strict);
    case "header":
      throw new TypeError("headers are asked with all of their lines");
  }
}

function identityHolds(field: FieldModel, value: string, group: FieldGroup, setting: Setting): boolean {
  const { strict, action, home } = setting;
  const id: string = setting.facts.connection.peer?.spiffeId ?? "";
  const [trustDomain = ""] = id.slice("spiffe://".length).split("/");
  const narrow = strict && action === "ALLOW" && !field.negated;
  const anyHome = group.some(({ kind, negated }) => kind === "trustDomain" && !negated) || home.includes(trustDomain);
  if (field.kind === "principal") {
    const principal = id.slice("spiffe://".length);
    return expansions(value, home).some((one) => {
      if (/\{\*\*?\}/.test(one)) return pathHolds(one, principal, true);
      const starAt = one.indexOf("*");
      const reaches = starAt !== -1 && (starAt === 0 || !one.slice(0, starAt).includes("/"));
      return patternOf(one).test(principal) && (!narrow || !reaches || anyHome);
    });
  }
  if (narrow) {
    const [, ns, account] = /^spiffe:\/\/[^/]+\/ns\/([^/]+)\/sa\/([^/]+)$/.exec(id) ?? [];
    if (ns === undefined || !anyHome) return false;
    if (field.kind === "serviceAccount") return value === `${ns}/${account}`;
    return new RegExp(`^${value.split("*").map(escapeRegExp).join(".*")}$`).test(ns);
  }
  if (field.kind === "namespace")
    return new RegExp(`^.*/ns/${value.split("*").map(escapeRegExp).join(".*")}/.*$`).test(id);
  const [ns = "", account = ""] = value.split("/").map(escapeRegExp);
  return new RegExp(`^spiffe://.+/ns/${ns}/(.+/|)sa/${account}(/.+)?$`).test(id);
}

/** Section 5. */
function expansions(value: string, home: readonly string[]): readonly string[] {
  const parts = value.split("/");
  const [trustDomain = ""] = parts;
  if (parts.length !== 5 || trustDomain === "*" || home.length === 0) return [value];
  const known = trustDomain === "cluster.local" || home.some((name) => patternOf(trustDomain).test(name));
  if (!known) return [value];
  return home.map((name) =>
    trustDomain.startsWith("*") && patternOf(trustDomain).test(name) ? value : [name, ...parts.slice(1)].join("/"),
  );
}

function addressHolds(block: string, address: string): boolean {
  if (address === "") return false;
  const family = (text: string) => (isIPv6(text) ? "ipv6" : "ipv4");
  const [base = "", bits] = block.split("/");
  const list = new BlockList();
  list.addSubnet(base, Number(bits ?? (isIPv6(base) ? 128 : 32)), family(base));
  return isIPv6(base) === isIPv6(address) && list.check(address, family(address));
}

/** A host that may be written with its port or without: strict mode knows what a port is, istio mode means both texts. */
function spellings(request: CallFacts["request"], strict: boolean): readonly string[] {
  const { authority = "", shortAuthority } = request ?? {};
  return strict || shortAuthority === undefined ? [authority] : [authority, shortAuthority];
}

function hostHolds(value: string, authority: string, strict: boolean): boolean {
  if (authority === "") return false;
  if (!strict) return patternOf(value, "iu").test(authority);
  const [, name = "", port] = /^(.*?)\.?(?::([0-9]*))?$/s.exec(authority) ?? [];
  const wanted = value.replace(/(?<=.)\.(?=$|:[0-9]*$)/, "");
  const hasPort = wanted.replace(/^.*\]/, "").includes(":");
  return patternOf(wanted, "iu").test(hasPort && port !== undefined ? `${name}:${port}` : name);
}

function pathHolds(value: string, path: string, strict: boolean): boolean {
  if (!/\{\*\*?\}/.test(value)) return patternOf(value).test(path);
  const one = strict ? "[^/]" : "[A-Za-z0-9\\-._~%!$&'()+,;:@=]";
  const any = strict ? ".*" : "[A-Za-z0-9\\-._~%!$&'()+,;:@=/]*";
  const source = value
    .split(/(\{\*\*?\})/)
    .map((part) => (part === "{*}" ? `${one}+` : part === "{**}" ? any : escapeRegExp(part)))
    .join("");
  return new RegExp(`^${source}$`, "s").test(path);
}

/** Sections 1 and 4. */
function tokenHolds(field: FieldModel, value: string, identity: RequestIdentity | undefined): boolean {
  if (identity === undefined) return false;
  if (field.kind === "requestPrincipal") return requestPrincipalHolds(value, identity);
  const wanted = patternOf(value);
  if (field.kind === "audience") return identity.audiences.some((audience) => wanted.test(audience));
  if (field.kind === "presenter") return wanted.test(identity.presenter);
  const path = field.claim ?? [];
  const found = path.reduce<unknown>(
    (at, name) => (at as Record<string, unknown> | undefined)?.[name],
    identity.claims,
  );
  const split =
    path.length === 1 && ["scope", "permission", ...(identity.spaceDelimitedClaims ?? [])].includes(path[0] ?? "");
  const members = typeof found === "string" ? (split ? found.split(" ") : [found]) : found;
  return Array.isArray(members) && members.some((member) => typeof member === "string" && wanted.test(member));
}

function requestPrincipalHolds(value: string, { issuer, subject }: RequestIdentity): boolean {
  const pair = /^\{issuer: (.*), subject: (.*)\}$/.exec(value);
  if (pair !== null) return patternOf(pair[1] ?? "").test(issuer) && patternOf(pair[2] ?? "").test(subject);
  const some = issuer !== "" && subject !== "";
  const [, x = "", y = ""] = /^(.*)\/([^/]*)$/s.exec(value) ?? [];
  if (value === "*") return some;
  if (value.startsWith("*/")) return issuer !== "" && subject === value.slice(2);
  if (value.startsWith("*")) {
    if (!value.includes("/")) return issuer !== "" && subject.endsWith(value.slice(1));
    return issuer.endsWith(x.slice(1)) && subject === y;
  }
  if (!value.endsWith("*")) return issuer === x && subject === y;
  if (!value.includes("/")) return subject !== "" && issuer.startsWith(value.slice(0, -1));
  return issuer === x && (y === "*" ? subject !== "" : subject.startsWith(y.slice(0, -1)));
}

/** What Envoy shows of a request as its pseudo-headers, with Host as another name of one. */
function pseudoHeaders(request: CallFacts["request"], strict: boolean): Readonly<Record<string, readonly string[]>> {
  const hosts = spellings(request, strict).filter((authority) => authority !== "");
  const some = (text: string | undefined) => (text === undefined ? [] : [text]);
  return {
    host: hosts,
    ":authority": hosts,
    ":method": some(request?.method),
    ":path": some(request?.target ?? request?.path),
    ":scheme": some(request?.scheme),
  };
}

function headerHolds(field: FieldModel, { action, facts, strict }: Setting): boolean {
  const headers = [...(facts.request?.headers ?? []), ...(facts.request?.written ?? [])];
  const isPseudo = /^(?::.*|host)$/.test(field.header);
  const lines = isPseudo
    ? (pseudoHeaders(facts.request, strict)[field.header] ?? [])
    : headers.filter((_, i) => i % 2 === 1 && headers[i - 1]?.toLowerCase() === field.header);
  if (lines.length === 0) return field.negated;
  const readings = (text: string) => [
    Buffer.from(text, "latin1").toString("utf8"),
    ...(strict && action !== "ALLOW" && !field.negated ? [text] : []),
  ];
  const matches = (text: string) =>
    field.values.some((value) => value === "*" || readings(text).some((reading) => patternOf(value).test(reading)));
  if (!strict) return lines.some(matches) !== field.negated;
  const fits = (text: string) => matches(text) !== field.negated;
  const joined = [",", ", ", ...(field.header === "cookie" ? ["; "] : [])].map((joint) => lines.join(joint));
  if (lines.length === 1) return lines.every(fits);
  return action !== "ALLOW" && [...lines, ...joined].some(fits);
}
