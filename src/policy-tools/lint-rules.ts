import { addressBits } from "../authz/address-bits.ts";
import { ruleIdOf } from "../authz/compile-rule.ts";
import { isPathTemplate } from "../authz/path-template.ts";
import { deadPathValue } from "../authz/path-value.ts";
import { type FieldModel, isIdentity, isToken, type PolicyModel, type RuleModel } from "../authz/policy-model.ts";
import type { PolicyOptions } from "../authz/policy-options.ts";
import { parseTextPattern, type TextPattern } from "../authz/text-pattern.ts";
import { expandPrincipal, expandTrustDomain, homeTrustDomains } from "../authz/trust-domains.ts";
import type { Warning } from "../core/errors.ts";
import { parseCidr } from "../core/ip-address.ts";
import { repeatedValues } from "./lint-values.ts";

/** What can be said of each rule by itself: fields that cannot hold together, values that add nothing, and ALLOW rules that let in more than
 *  was probably meant. */
export function lintRules(policies: readonly PolicyModel[], options: PolicyOptions): readonly Warning[] {
  const home = homeTrustDomains(options);
  const found: Warning[] = [];
  for (const policy of policies)
    for (const rule of policy.rules) {
      found.push(...contradictions(policy, rule, options, home), ...repeatedValues(policy, rule, options.mode, home));
      if (policy.action === "ALLOW" && !policy.dryRun) found.push(...broad(policy, rule, options));
    }
  return found;
}

/** Kinds of which a call has one text, so that two fields about it must agree. A header may come on several lines. */
const SINGLE: ReadonlySet<FieldModel["kind"]> = new Set([
  "principal",
  "serviceAccount",
  "trustDomain",
  "method",
  "path",
  "port",
  "sni",
  "sourceIp",
  "remoteIp",
  "destinationIp",
]);

/** Two fields that must both hold, of which no text fits both. */
function contradictions(
  policy: PolicyModel,
  rule: RuleModel,
  { mode }: PolicyOptions,
  home: readonly string[],
): readonly Warning[] {
  const found: Warning[] = [];
  const groups = [...rule.sources, ...rule.operations];
  for (const [number, other] of rule.conditions.entries()) {
    if (other.negated || !SINGLE.has(other.kind)) continue;
    // strict: a rule that does not grant is also about callers without identity, whatever it names.
    if (mode === "strict" && policy.action !== "ALLOW" && isIdentity(other.kind)) continue;
    for (const field of [...groups.flat(), ...rule.conditions.slice(0, number)]) {
      if (field.negated || other.kind !== field.kind || mayBothHold(field, other, home)) continue;
      const message = `${ruleIdOf(policy, rule)}: ${field.label} and ${other.label} have no value in common, so they never both hold`;
      found.push({
        code: "W_POLICY_CONTRADICTION",
        message,
        at: other.at,
        fix: "correct one of the two: without either the rule matches more",
      });
    }
  }
  return found;
}

/** `true` may mean "cannot tell". */
function mayBothHold(one: FieldModel, two: FieldModel, home: readonly string[]): boolean {
  const [all, others] = [one, two].map(({ kind, values }) => values.flatMap((value) => meaningsOf(kind, value, home)));
  if (all === undefined || others === undefined || [...all, ...others].some(isPathTemplate)) return true;
  const patternOf = isAddress(one) ? blockPattern : parseTextPattern;
  const patterns = others.map(patternOf);
  return all.map(patternOf).some((a) => patterns.some((b) => mayBothMatch(a, b)));
}

function isAddress({ kind }: FieldModel): boolean {
  return kind === "sourceIp" || kind === "remoteIp" || kind === "destinationIp";
}

/** A block is the beginning of its addresses. */
function blockPattern(text: string): TextPattern {
  const block = parseCidr(text);
  return block === undefined ? { form: "any" } : { form: "prefix", text: addressBits(block, block.prefixBits) };
}

function meaningsOf(kind: FieldModel["kind"], value: string, home: readonly string[]): readonly string[] {
  if (kind === "principal") return expandPrincipal(value, home);
  return kind === "trustDomain" ? expandTrustDomain(value, home) : [value];
}

function mayBothMatch(a: TextPattern, b: TextPattern): boolean {
  if (a.form === "any" || b.form === "any") return true;
  if (a.form === "exact") return fits(b, a.text);
  if (b.form === "exact") return fits(a, b.text);
  if (a.form !== b.form) return true;
  return a.form === "prefix"
    ? a.text.startsWith(b.text) || b.text.startsWith(a.text)
    : a.text.endsWith(b.text) || b.text.endsWith(a.text);
}

function fits(pattern: TextPattern, text: string): boolean {
  switch (pattern.form) {
    case "any":
      return true;
    case "exact":
      return pattern.text === text;
    case "prefix":
      return text.startsWith(pattern.text);
    case "suffix":
      return text.endsWith(pattern.text);
  }
}

function fieldsOf(rule: RuleModel): readonly FieldModel[] {
  return [...rule.sources.flat(), ...rule.operations.flat(), ...rule.conditions];
}

function broad(policy: PolicyModel, rule: RuleModel, options: PolicyOptions): readonly Warning[] {
  const id = ruleIdOf(policy, rule);
  const warn = (message: string, at: RuleModel["at"], fix: string): Warning => ({
    code: "W_POLICY_BROAD",
    message: `${id} ${message}`,
    at,
    fix,
  });
  const found: Warning[] = [];
  const anything = rule.operations.length === 0 || rule.operations.some((group) => group.every(isUnlimited));
  if (policy.direction === "INBOUND" && anything) {
    const sources = rule.sources.length === 0 ? [[]] : rule.sources;
    const open = sources.find((group) => [...group, ...rule.conditions].every((field) => !limitsCallers(field)));
    if (open !== undefined && rule.expression === undefined)
      found.push(
        warn(
          open.length === 0
            ? "lets anybody do anything, also callers without identity"
            : "lets nearly anybody do anything: it only names stars, or callers that it leaves out",
          open[0]?.at ?? rule.at,
          "name the callers, or what they may do",
        ),
      );
  }
  for (const field of fieldsOf(rule)) {
    if (field.negated) continue;
    for (const value of field.written ?? field.values) {
      const wide = tooWide(field, value, options);
      if (wide !== undefined)
        found.push(warn(`${field.label} ${JSON.stringify(value)} ${wide.why}`, field.at, wide.fix));
    }
  }
  return found;
}

/** Says nothing about what may be done. */
function isUnlimited({ kind, negated, values }: FieldModel): boolean {
  if (negated || !["method", "path", "host"].includes(kind)) return false;
  return values.some((value) => value === "*" || (kind === "path" && (value === "/*" || value === "/{**}")));
}

/** Says who may call. What only leaves somebody out does not. */
function limitsCallers({ kind, negated, values }: FieldModel): boolean {
  if (negated) return values.length === 1 && values[0] === "*"; // callers without identity, as such
  if (isIdentity(kind) || isToken(kind)) return !values.includes("*");
  if (kind === "sourceIp" || kind === "remoteIp") return !values.some(isEverywhere);
  return kind === "header" || kind === "sni" || kind === "destinationIp";
}

function isEverywhere(block: string): boolean {
  return block.endsWith("/0");
}

/** A star or block that stands for more than it seems to. */
function tooWide(
  { kind }: FieldModel,
  value: string,
  options: PolicyOptions,
): { readonly why: string; readonly fix: string } | undefined {
  const pattern = parseTextPattern(value);
  if ((kind === "sourceIp" || kind === "remoteIp") && isEverywhere(value))
    return { why: "is every address", fix: "remove it, or write the block that is meant" };
  if (isPathTemplate(value) || pattern.form === "any" || pattern.form === "exact") return undefined;
  if (kind === "path" && pattern.form === "prefix" && /[^/]$/.test(pattern.text))
    return {
      why: `also matches ${JSON.stringify(`${pattern.text}-other`)}`,
      // Of a name that begins with dots, and of an escape, the beginning alone is no path.
      fix:
        deadPathValue(pattern.text, options) === undefined
          ? `write ${JSON.stringify(pattern.text)} and ${JSON.stringify(`${pattern.text}/*`)}`
          : "write the whole names that are meant",
    };
  if (kind === "principal" && pattern.form === "prefix" && /[^/]$/.test(pattern.text))
    return {
      why: `also matches ${JSON.stringify(`${pattern.text}-other/…`)}`,
      fix: `write ${JSON.stringify(`${pattern.text}/*`)}`,
    };
  if (kind === "principal" && pattern.form === "suffix" && /^[^/]/.test(pattern.text))
    return {
      why: `also matches ${JSON.stringify(`…/other-${pattern.text}`)}`,
      fix: `write ${JSON.stringify(`*/${pattern.text}`)}`,
    };
  if (kind === "trustDomain" && pattern.form === "prefix")
    return { why: "matches trust domains of anybody who names one so", fix: "write the whole name" };
  return undefined;
}
