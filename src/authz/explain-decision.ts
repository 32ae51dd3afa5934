import type { CallFacts } from "../core/call-facts.ts";
import type { CallDecision, RuleId } from "../core/decision.ts";
import type { CallView } from "./call-view.ts";
import type { CompiledField, CompiledGroup, CompiledPolicy, CompiledRule, RuleSet } from "./compiled-policy.ts";
import { decideCall, decideOutboundCall, decideView, dryRunVerdict, type Side, viewOf } from "./decide.ts";
import type {
  DecisionTrace,
  TraceAlternative,
  TraceField,
  TracePolicy,
  TraceRule,
  TraceStep,
} from "./decision-trace.ts";
import { isPseudoHeader, joinedHeader, nextHeaderLine } from "./header-lines.ts";
import { actualText, expectedText, nearestRule } from "./nearest-rule.ts";
import { isHttpOnly, isIdentity, isToken, type PolicyAction } from "./policy-model.ts";
import { rulesOf } from "./rule-index.ts";

const ACTIONS: readonly PolicyAction[] = ["CUSTOM", "DENY", "ALLOW", "AUDIT"];

/** Decides about a call and says why in full: every rule of every policy that applies, field by field. For people, not for the hot path: it asks
 *  every rule. `side` as for decideOutboundCall; inbound when absent. Of several destination principals the first that is denied is shown. */
export function explainDecision(policy: CompiledPolicy, facts: CallFacts, side?: Side): DecisionTrace {
  const asked: Side = side ?? { direction: "inbound", fallback: policy.options.default };
  const { direction, fallback } = asked;
  const isInbound = direction === "inbound";
  const rules = isInbound ? policy.inbound : policy.outbound;
  const call = viewOf(policy, facts, isInbound ? "" : shownDestination(policy, facts, rules, asked));
  const decision = isInbound ? decideCall(policy, facts) : decideOutboundCall(policy, facts, fallback);
  const verdict = decision.kind === "ask" ? decision.decision : decision;
  const allowed = verdict.kind === "allow";
  return {
    decision,
    direction,
    policyVersion: policy.version,
    steps: stepsOf(policy, rules, decision, call),
    providers: decision.kind === "ask" ? decision.providers : [],
    nearest: allowed || verdict.rule !== undefined ? undefined : nearestRule(rules.allow, call, direction, true),
    dryRun: dryRunVerdict(policy, rules, call, asked),
  };
}

function shownDestination(policy: CompiledPolicy, facts: CallFacts, rules: RuleSet, side: Side): string {
  const all = facts.destinationPrincipals ?? [];
  const denied = all.find(
    (principal) => decideView(policy, rules, viewOf(policy, facts, principal), side).kind === "deny",
  );
  return denied ?? all[all.length - 1] ?? "";
}

function stepsOf(policy: CompiledPolicy, rules: RuleSet, decision: CallDecision, call: CallView): readonly TraceStep[] {
  const compiled = allRules(rules);
  const steps: TraceStep[] = [];
  const verdict = decision.kind === "ask" ? decision.decision : decision;
  const decidedBy = verdict.kind === "allow" ? verdict.permit.rule : verdict.rule;
  for (const action of ACTIONS) {
    const policies = policy.policies
      .filter((document) => document.action === action && compiledDirection(rules, policy) === document.direction)
      .map((document): TracePolicy => {
        const own = compiled.filter((rule) => rule.policy === document).map((rule) => traceRule(rule, call, policy));
        const { namespace, name, at, dryRun, provider } = document;
        return { namespace, name, at, dryRun, provider, matches: own.some(({ matches }) => matches), rules: own };
      });
    if (policies.length === 0) continue;
    const enforced = policies.filter(({ dryRun }) => !dryRun);
    const rule = enforced.flatMap((document) => document.rules).find(({ matches }) => matches)?.id;
    const decides =
      (action === "DENY" && rule !== undefined) ||
      (action === "ALLOW" && enforced.length > 0 && !steps.some((step) => step.decides && step.action === "DENY")) ||
      (action === "CUSTOM" && rule !== undefined && decidedBy === rule);
    steps.push({ action, rule, outcome: outcomeOf(action, rule, enforced.length), decides, policies });
  }
  return steps;
}

function compiledDirection(rules: RuleSet, policy: CompiledPolicy): "INBOUND" | "OUTBOUND" {
  return rules === policy.inbound ? "INBOUND" : "OUTBOUND";
}

function allRules({ custom, deny, allow, audit, dryRun }: RuleSet): readonly CompiledRule[] {
  const indexes = [...custom.map(({ rules }) => rules), deny, allow, audit];
  if (dryRun !== undefined) indexes.push(dryRun.deny, dryRun.allow);
  return indexes.flatMap((index) => rulesOf(index)).toSorted((a, b) => a.order - b.order);
}

function outcomeOf(action: PolicyAction, rule: RuleId | undefined, enforced: number): string {
  switch (action) {
    case "CUSTOM":
      return rule === undefined ? "no rule matches: no provider is asked" : "its provider must allow the call first";
    case "DENY":
      return rule === undefined ? "no rule matches" : "the call is denied";
    case "ALLOW":
      if (enforced === 0) return "dry-run policies alone: the default decides";
      return rule === undefined ? "no rule matches: the call is denied by default" : "the call is allowed";
    case "AUDIT":
      return rule === undefined ? "no rule matches" : "the record is marked";
  }
}

function traceRule(rule: CompiledRule, call: CallView, policy: CompiledPolicy): TraceRule {
  const isDropped = call.request === undefined && rule.readsHttp && rule.action === "ALLOW";
  const from = rule.sources.map((group) => traceGroup(group, rule, call, policy));
  const to = rule.operations.map((group) => traceGroup(group, rule, call, policy));
  const when = traceGroup(rule.conditions, rule, call, policy).fields;
  const expression = rule.expression === undefined ? undefined : traceExpression(rule, call);
  const any = (alternatives: readonly TraceAlternative[]) =>
    alternatives.length === 0 || alternatives.some(({ matches }) => matches);
  return {
    id: rule.id,
    at: rule.model.at,
    matches:
      !isDropped && any(from) && any(to) && when.every(({ matches }) => matches) && expression?.matches !== false,
    dropped: isDropped ? "an ALLOW rule that looks at HTTP is passed over on TCP" : undefined,
    from,
    to,
    when,
    expression,
  };
}

function traceExpression(rule: CompiledRule, call: CallView): TraceRule["expression"] {
  const answer = rule.expression?.ask(call) ?? true;
  const fault = typeof answer === "string" ? answer : undefined;
  return {
    text: rule.expression?.text ?? "",
    matches: typeof answer === "boolean" ? answer : rule.action !== "ALLOW",
    fault,
  };
}

function traceGroup(
  group: CompiledGroup,
  rule: CompiledRule,
  call: CallView,
  policy: CompiledPolicy,
): TraceAlternative {
  const fields = group.map((field): TraceField => {
    const matches = field.matcher.matches(call);
    const expected = expectedText(field);
    const actual = actualText(field, call, matches);
    return { label: field.model.label, matches, expected, actual, because: becauseOf(field, rule, call, policy) };
  });
  return { matches: fields.every(({ matches }) => matches), fields };
}

/** What besides the values gave the answer. */
function becauseOf(
  { model: { kind, header } }: CompiledField,
  { action }: CompiledRule,
  { connection, request, destination }: CallView,
  { options }: CompiledPolicy,
): string | undefined {
  const strict = options.mode === "strict";
  if (isHttpOnly(kind) && request === undefined)
    return action === "ALLOW" ? "there is no HTTP on this connection" : "the field is dropped on TCP";
  if ((isIdentity(kind) && !connection.hasPeer) || (kind === "destinationPrincipal" && destination === ""))
    return strict && action !== "ALLOW"
      ? "a rule that refuses meets those without identity as well"
      : "there is no identity";
  if (isToken(kind) && request?.identity === undefined) return "the request brought no token";
  if (kind !== "header" || request === undefined || joinedHeader(request, header) === undefined) return undefined;
  const first = nextHeaderLine(request, header, 0);
  const isRepeated = first !== -1 && nextHeaderLine(request, header, first + 1) !== -1;
  if (!isRepeated || isPseudoHeader(header)) return undefined;
  if (!strict) return "the header came on several lines, each of which is looked at";
  return action === "ALLOW"
    ? "the header came on several lines, which never grant anything"
    : "the header came on several lines, any of which is enough";
}
