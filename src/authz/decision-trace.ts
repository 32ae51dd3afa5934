import type { AskDecision, Decision, DryRunVerdict, NearestRule, ProviderRequest, RuleId } from "../core/decision.ts";
import type { SourcePosition } from "../core/errors.ts";
import type { PolicyAction } from "./policy-model.ts";

/** The whole evaluation of one call as a tree, for people. Every rule is asked, also those that the index passes over. Texts that came
 *  from the call are escaped and shortened; header values and claims are never shown. */
export interface DecisionTrace {
  /** What decide() says: the same verdict, rule and reason. */
  readonly decision: Decision | AskDecision;
  readonly direction: "inbound" | "outbound";
  readonly policyVersion: string;
  /** In the order of evaluation: CUSTOM, DENY, ALLOW, AUDIT. Actions without policies are left out. */
  readonly steps: readonly TraceStep[];
  /** Providers that must be asked. */
  readonly providers: readonly ProviderRequest[];
  /** Among all ALLOW rules, when none matched. */
  readonly nearest: NearestRule | undefined;
  readonly dryRun: DryRunVerdict | undefined;
}

export interface TraceStep {
  readonly action: PolicyAction;
  /** The first rule that matched, of policies that are enforced. */
  readonly rule: RuleId | undefined;
  /** One line: what the step means for the call. */
  readonly outcome: string;
  /** Whether it settled the verdict. */
  readonly decides: boolean;
  readonly policies: readonly TracePolicy[];
}

export interface TracePolicy {
  readonly namespace: string;
  readonly name: string;
  readonly at: SourcePosition;
  readonly dryRun: boolean;
  readonly provider: string | undefined;
  readonly matches: boolean;
  readonly rules: readonly TraceRule[];
}

export interface TraceRule {
  readonly id: RuleId;
  readonly at: SourcePosition;
  readonly matches: boolean;
  /** Why the rule is passed over whole, such as HTTP fields on TCP. */
  readonly dropped: string | undefined;
  /** One of them must match; empty: anyone. */
  readonly from: readonly TraceAlternative[];
  /** One of them must match; empty: anything. */
  readonly to: readonly TraceAlternative[];
  /** All must match. */
  readonly when: readonly TraceField[];
  readonly expression: TraceExpression | undefined;
}

export interface TraceAlternative {
  readonly matches: boolean;
  readonly fields: readonly TraceField[];
}

export interface TraceField {
  /** As in NearestRule, like `from[0].source.principals`. */
  readonly label: string;
  readonly matches: boolean;
  readonly expected: string;
  readonly actual: string;
  /** Why the answer is not what the values alone say: no identity, no HTTP, several header lines. */
  readonly because: string | undefined;
}

export interface TraceExpression {
  readonly text: string;
  /** What it counts as. */
  readonly matches: boolean;
  /** What went wrong, if something did. */
  readonly fault: string | undefined;
}
