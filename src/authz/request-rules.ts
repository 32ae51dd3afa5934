import type { CallFacts } from "../core/call-facts.ts";
import type { RuleId } from "../core/decision.ts";
import type { CallView } from "./call-view.ts";
import type { CompiledField, CompiledGroup, CompiledPolicy, CompiledRule } from "./compiled-policy.ts";
import { viewOf } from "./decide.ts";
import { type FieldModel, isHttpOnly } from "./policy-model.ts";
import { rulesOf } from "./rule-index.ts";
import { fieldsOf } from "./rule-store.ts";

/** What is decided about a tunnel of the egress proxy, and no request is. */
const TUNNEL = "CONNECT";

/** Which of all the requests that a tunnel may carry something fits. */
const NONE = 0;
const SOME = 1;
const ALL = 2;
type Fit = typeof NONE | typeof SOME | typeof ALL;

const least = (fits: readonly Fit[]): Fit => fits.reduce<Fit>((a, b) => (a < b ? a : b), ALL);
const most = (fits: readonly Fit[]): Fit => fits.reduce<Fit>((a, b) => (a > b ? a : b), NONE);

/** Whether a field asks what only the requests in a tunnel tell. */
function asksRequest({ kind, negated, values }: FieldModel): boolean {
  return isHttpOnly(kind) && kind !== "host" && !(kind === "method" && !negated && values.includes("*"));
}

/** Whether a rule asks more of an outbound call than a tunnel tells, which has a host, a port and whom the server must prove to be. A policy that is
 *  not enforced, and one that marks records, refuse nothing. */
export function looksIntoTunnels(rule: CompiledRule): boolean {
  const { action, dryRun } = rule.policy;
  if (action === "AUDIT" || dryRun) return false;
  return rule.expression?.readsHttp === true || fieldsOf(rule).some(({ model }) => asksRequest(model));
}

/** The first OUTBOUND rule that looks at requests and may apply to some that a tunnel could carry, where the proxy cannot read what it carries:
 *  the caller must not choose which rules see it (authorization, section 7). undefined: none, or an ALLOW rule lets everything through that goes to
 *  this destination. `facts`: the tunnel, as the request CONNECT, at its address. Its cost grows with the number of such rules. */
export function ruleAboutRequests(policy: CompiledPolicy, facts: CallFacts): RuleId | undefined {
  const { requestRules, memory } = policy;
  if (requestRules.length === 0) return undefined;
  for (const principal of facts.destinationPrincipals ?? [""]) {
    const call = viewOf(policy, facts, principal);
    let isOpen: boolean | undefined;
    for (const number of requestRules) {
      const rule = memory.rules.ruleAt(number);
      const fit = fitOf(rule, call);
      if (fit === NONE) continue;
      if (rule.action !== "ALLOW") return rule.id;
      // what one of them allows whatever is in it, no other one limits
      isOpen ??= rulesOf(policy.outbound.allow).some((other) => fitOf(other, call) === ALL);
      if (!isOpen) return rule.id;
    }
  }
  return undefined;
}

function fitOf(rule: CompiledRule, call: CallView): Fit {
  const { sources, operations, conditions } = rule;
  const ofGroup = (group: CompiledGroup): Fit => least(group.map((field) => fitOfField(field, call)));
  const ofAny = (groups: readonly CompiledGroup[]): Fit => (groups.length === 0 ? ALL : most(groups.map(ofGroup)));
  const fields = least([ofAny(sources), ofAny(operations), ofGroup(conditions)]);
  return fields === NONE ? NONE : least([fields, fitOfExpression(rule, call)]);
}

function fitOfField({ model, matcher }: CompiledField, call: CallView): Fit {
  if (!isHttpOnly(model.kind) || model.kind === "host") return matcher.matches(call) ? ALL : NONE;
  const { kind, values, negated } = model;
  if (kind !== "method" && kind !== "path") return SOME;
  if (values.includes("*")) return negated ? NONE : ALL;
  if (kind === "method" && values.every((value) => value === TUNNEL)) return negated ? ALL : NONE;
  return SOME;
}

function fitOfExpression({ expression, action }: CompiledRule, call: CallView): Fit {
  if (expression === undefined) return ALL;
  if (expression.readsHttp) return SOME;
  const answer = expression.ask(call);
  const holds = typeof answer === "boolean" ? answer : action !== "ALLOW";
  return holds ? ALL : NONE;
}
