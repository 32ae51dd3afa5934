import type { CompiledPolicy } from "../authz/compiled-policy.ts";
import type { DecisionTrace, TraceRule, TraceStep } from "../authz/decision-trace.ts";
import { explainDecision } from "../authz/explain-decision.ts";
import { type AskContext, askPolicy, type PolicyAnswer } from "./ask-policy.ts";
import type { AskedCall } from "./asked-call.ts";

/** An answer with the whole evaluation behind it. */
export interface ExplainedCall {
  readonly answer: PolicyAnswer;
  /** undefined: the request is refused before policy is asked. */
  readonly trace: DecisionTrace | undefined;
}

/** Decides about a call and asks every rule, field by field. */
export function explainCall(policy: CompiledPolicy, call: AskedCall, context: AskContext): ExplainedCall {
  const answer = askPolicy(policy, call, context);
  if (answer.facts === undefined) return { answer, trace: undefined };
  const side =
    call.direction === "outbound"
      ? ({ direction: "outbound", fallback: context.outboundDefault(call) } as const)
      : undefined;
  return { answer, trace: explainDecision(policy, answer.facts, side) };
}

/** A step with the rules that are worth showing. */
export interface ShownStep {
  readonly step: TraceStep;
  readonly rules: readonly TraceRule[];
  /** How many are left out; none of them matches. */
  readonly more: number;
}

/** Of each step the rules that match, the nearest, and as many others as there is room for. */
export function shownSteps(trace: DecisionTrace, room: number): readonly ShownStep[] {
  return trace.steps.map((step) => {
    const all = step.policies.flatMap(({ rules }) => rules);
    const matters = ({ id, matches }: TraceRule) => matches || id === trace.nearest?.rule;
    let left = room - all.filter(matters).length;
    const rules = all.filter((rule) => matters(rule) || left-- > 0);
    return { step, rules, more: all.length - rules.length };
  });
}
