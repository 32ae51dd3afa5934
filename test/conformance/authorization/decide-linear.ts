import { BlockList, isIPv6 } from "node:net";
import type { CompiledPolicy } from "../../../src/authz/compiled-policy.ts";
import type { FieldGroup, FieldModel, PolicyModel, RuleModel } from "../../../src/authz/policy-model.ts";
import type { CallFacts } from "../../../src/core/call-facts.ts";

/** What the plain evaluator says: enough to compare with a Decision. */
export interface LinearDecision {
  readonly kind: "allow" | "deny";
  /** The rule that decided, or undefined for a default. */
  readonly rule: string | undefined;
}

interface Setting {
  readonly policy: CompiledPolicy;
  readonly action: PolicyModel["action"];
  readonly facts: CallFacts;
  readonly strict: boolean;
  readonly home: readonly string[];
}

/** Decides by asking every rule, written from the text of the specification with regular expressions and without any part of the
 *  compiled form: the oracle for the index and the matchers. */
export function decideLinear(policy: CompiledPolicy, facts: CallFacts): LinearDecision {
  const { options } = policy;
  const home = [options.localTrustDomain, ...options.trustDomainAliases].filter((name) => name !== undefined);
  const first = (action: PolicyModel["action"]) => {
    const setting = { policy, action, facts, strict: options.mode === "strict", home };
    for (const document of policy.policies) {
      if (document.action !== action) continue;
      const rule = document.rules.find((candidate) => ruleHolds(candidate, setting));
      if (rule !== undefined) return `ns[${document.namespace}]-policy[${document.name}]-rule[${rule.index}]`;
    }
    return undefined;
  };
  const denied = first("DENY");
  if (denied !== undefined) return { kind: "deny", rule: denied };
  if (!policy.policies.some(({ action }) => action === "ALLOW")) return { kind: options.default, rule: undefined };
  const allowed = first("ALLOW");
  return { kind: allowed === undefined ? "deny" : "allow", rule: allowed };
}

const HTTP = ["host", "method", "path", "header"];
const IDENTITY = ["principal", "namespace", "serviceAccount", "trustDomain"];

function ruleHolds(rule: RuleModel, setting: Setting): boolean {
  const fields = [...rule.sources.flat(), ...rule.operations.flat(), ...rule.conditions];
  const dropped = setting.facts.request === undefined && fields.some(({ kind }) => HTTP.includes(kind));
  if (dropped && setting.action === "ALLOW") return false;
  const groupHolds = (group: FieldGroup) => group.every((field) => fieldHolds(field, group, setting));
  const anyHolds = (groups: readonly FieldGroup[]) => groups.length === 0 || groups.some(groupHolds);
  return anyHolds(rule.sources) && anyHolds(rule.operations) && groupHolds(rule.conditions);
}

function fieldHolds(field: FieldModel, group: FieldGroup, setting: Setting): boolean {
  const { action, facts, strict } = setting;
  if (HTTP.includes(field.kind) && facts.request === undefined) return action === "DENY";
  if (IDENTITY.includes(field.kind) && facts.connection.peer === undefined) {
    if (!strict) return field.negated;
    return action === "DENY" || (field.negated && field.values.join() === "*");
  }
  if (field.kind === "header") return headerHolds(field, setting);
  return field.values.some((value) => valueHolds(field, value, group, setting)) !== field.negated;
}

const escapeRegExp = (text: string) => text.replaceAll(/[\\^$.*+?()[\]{}|/-]/g, "\\$&");

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
    case "remoteIp":
    case "destinationIp":
      return addressHolds(value, connection[field.kind]);
    case "port":
      return Number(value) === connection.destinationPort;
    case "sni":
      return patternOf(value, setting.strict ? "iu" : "u").test(connection.sni);
    case "host":
      return hostHolds(value, request?.authority ?? "", setting.strict);
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

function headerHolds(field: FieldModel, { action, facts, strict }: Setting): boolean {
  const headers = facts.request?.headers ?? [];
  const lines = headers.filter((_, i) => i % 2 === 1 && headers[i - 1]?.toLowerCase() === field.header);
  if (lines.length === 0) return field.negated;
  const fits = (text: string) =>
    field.values.some((value) => value === "*" || patternOf(value).test(text)) !== field.negated;
  const joined = lines.join(",");
  if (!strict || lines.length === 1) return fits(joined);
  return action === "DENY" && [...lines, joined].some(fits);
}
