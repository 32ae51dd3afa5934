import type { CallView } from "./call-view.ts";
import type { CompiledField, CompiledGroup, CompiledRule, Matcher } from "./compiled-policy.ts";
import type { CompiledExpression } from "./match-expression.ts";

/** What is still to be asked of a rule that the index found. Rules that ask the same share it. */
export interface RuleCheck {
  /** All must hold: conditions, and the fields of a source or an operation that is the only one. */
  readonly all: readonly Matcher[];
  /** One of these groups must hold, when there are several sources. */
  readonly sources: readonly (readonly Matcher[])[] | undefined;
  /** The same of operations. */
  readonly operations: readonly (readonly Matcher[])[] | undefined;
  readonly expression: CompiledExpression | undefined;
  /** Whose expression it is. */
  readonly rule: CompiledRule | undefined;
}

/** The check of a rule, without the fields that the index has already proved. */
export function ruleCheck(rule: CompiledRule, proved: ReadonlySet<CompiledField>): RuleCheck {
  const left = (group: CompiledGroup) => group.filter((field) => !proved.has(field)).map(({ matcher }) => matcher);
  const sources = rule.sources.map(left);
  const operations = rule.operations.map(left);
  const several = (groups: readonly (readonly Matcher[])[]) =>
    // An alternative of which nothing is left to ask holds.
    groups.length < 2 || groups.some((group) => group.length === 0) ? undefined : groups;
  const only = (groups: readonly (readonly Matcher[])[]) => (groups.length === 1 ? (groups[0] ?? []) : []);
  return {
    all: [...only(sources), ...only(operations), ...left(rule.conditions)],
    sources: several(sources),
    operations: several(operations),
    expression: rule.expression,
    rule: rule.expression === undefined ? undefined : rule,
  };
}

/** The same text for checks that ask the same; "" when nothing is left to ask. */
export function checkKey({ all, sources = [], operations = [], rule }: RuleCheck): string {
  const groups = (some: readonly (readonly Matcher[])[]) =>
    some.map((group) => group.map(({ number }) => number).join()).join("|");
  const key = [groups([all]), groups(sources), groups(operations), rule?.order ?? ""].join("/");
  return key === "///" ? "" : key;
}

function holds(matcher: Matcher, call: CallView): boolean {
  const { kept } = matcher;
  const answers = call.connection.answers;
  if (kept < 0 || answers === undefined) return matcher.matches(call);
  const known = answers.byMatcher[kept] ?? 0;
  if (known !== 0) return known === 2;
  const answer = matcher.matches(call);
  answers.byMatcher[kept] = answer ? 2 : 1;
  return answer;
}

function allHold(matchers: readonly Matcher[], call: CallView): boolean {
  for (let i = 0; i < matchers.length; i++) {
    const matcher = matchers[i];
    if (matcher !== undefined && !holds(matcher, call)) return false;
  }
  return true;
}

function anyHolds(groups: readonly (readonly Matcher[])[], call: CallView): boolean {
  for (let i = 0; i < groups.length; i++) {
    const group = groups[i];
    if (group !== undefined && allHold(group, call)) return true;
  }
  return false;
}

/** Any source, and any operation, and every condition, and the expression (authorization, section 1). */
export function checkHolds(check: RuleCheck, call: CallView): boolean {
  return (
    allHold(check.all, call) &&
    (check.sources === undefined || anyHolds(check.sources, call)) &&
    (check.operations === undefined || anyHolds(check.operations, call)) &&
    (check.expression === undefined || check.rule === undefined || expressionHolds(check.expression, check.rule, call))
  );
}

/** An expression that fails is false where it would grant, and true elsewhere; either way the call's record says so (section 12). */
function expressionHolds(expression: CompiledExpression, rule: CompiledRule, call: CallView): boolean {
  const answer = expression.ask(call);
  if (typeof answer === "boolean") return answer;
  const fault = {
    rule: rule.id,
    message: `the conditions of ${rule.id} count as ${rule.action !== "ALLOW"}: ${answer}`,
  };
  if (call.faults === undefined) call.faults = [fault];
  else if (call.faults.length < 16) call.faults.push(fault);
  return rule.action !== "ALLOW";
}
