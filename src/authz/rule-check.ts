import type { CallView } from "./call-view.ts";
import type { CompiledField, CompiledGroup, CompiledRule, Matcher } from "./compiled-policy.ts";
import type { CompiledExpression } from "./match-expression.ts";

/** What is still to be asked of a rule that the index found. Rules that ask the same share it. */
export interface RuleCheck {
  /** One of these must hold; empty: anyone. */
  readonly sources: readonly MatcherGroup[];
  readonly operations: readonly MatcherGroup[];
  /** All must hold. */
  readonly conditions: MatcherGroup | undefined;
  readonly expression: CompiledExpression | undefined;
}

export interface MatcherGroup {
  readonly matchers: readonly Matcher[];
  /** Place of its answer among those of the connection, or -1 when it is not kept. */
  readonly kept: number;
}

/** Shares checks and groups of one set of policies. */
export interface CheckPool {
  /** Groups whose answers are kept so far. */
  kept: number;
  readonly groups: Map<string, MatcherGroup>;
  readonly checks: Map<string, RuleCheck>;
}

/** Each takes a byte of every connection. */
const MAX_KEPT = 1024;

export function checkPool(): CheckPool {
  return { kept: 0, groups: new Map(), checks: new Map() };
}

/** The check of a rule, without the fields that the index has already proved. */
export function ruleCheck(rule: CompiledRule, proved: ReadonlySet<CompiledField>, pool: CheckPool): RuleCheck {
  const left = (group: CompiledGroup) => group.filter((field) => !proved.has(field));
  const sources = rule.sources.map((group) => matcherGroup(left(group), pool));
  const operations = rule.operations.map((group) => matcherGroup(left(group), pool));
  const conditions = matcherGroup(left(rule.conditions), pool);
  const { expression } = rule;
  const parts = [sources, operations, [conditions]].map((groups) => groups.map(signatureOf).join("|"));
  const key = parts.join("/");
  const known = expression === undefined ? pool.checks.get(key) : undefined;
  if (known !== undefined) return known;
  // An alternative of which nothing is left to ask holds.
  const any = (groups: readonly MatcherGroup[]) => (groups.some(({ matchers }) => matchers.length === 0) ? [] : groups);
  const check: RuleCheck = {
    sources: any(sources),
    operations: any(operations),
    conditions: conditions.matchers.length === 0 ? undefined : conditions,
    expression,
  };
  if (expression === undefined) pool.checks.set(key, check);
  return check;
}

function signatureOf({ matchers }: MatcherGroup): string {
  return matchers.map(({ number }) => number).join();
}

function matcherGroup(group: CompiledGroup, pool: CheckPool): MatcherGroup {
  const key = group.map(({ matcher }) => matcher.number).join();
  const known = pool.groups.get(key);
  if (known !== undefined) return known;
  const matchers = group.map(({ matcher }) => matcher);
  const keeps = matchers.length > 0 && matchers.every(({ ofConnection }) => ofConnection) && pool.kept < MAX_KEPT;
  const made = { matchers, kept: keeps ? pool.kept++ : -1 };
  pool.groups.set(key, made);
  return made;
}

function groupHolds(group: MatcherGroup, call: CallView): boolean {
  const { kept, matchers } = group;
  const answers = call.connection.answers;
  if (kept < 0 || answers === undefined) return allHold(matchers, call);
  const known = answers.byGroup[kept] ?? 0;
  if (known !== 0) return known === 2;
  const holds = allHold(matchers, call);
  answers.byGroup[kept] = holds ? 2 : 1;
  return holds;
}

function allHold(matchers: readonly Matcher[], call: CallView): boolean {
  for (let i = 0; i < matchers.length; i++) if (matchers[i]?.matches(call) === false) return false;
  return true;
}

function anyHolds(groups: readonly MatcherGroup[], call: CallView): boolean {
  if (groups.length === 0) return true;
  for (let i = 0; i < groups.length; i++) {
    const group = groups[i];
    if (group !== undefined && groupHolds(group, call)) return true;
  }
  return false;
}

/** Any source, and any operation, and every condition, and the expression (authorization, section 1). */
export function checkHolds(check: RuleCheck, rule: CompiledRule, call: CallView): boolean {
  return (
    anyHolds(check.sources, call) &&
    anyHolds(check.operations, call) &&
    (check.conditions === undefined || groupHolds(check.conditions, call)) &&
    (check.expression === undefined || expressionHolds(check.expression, rule, call))
  );
}

/** An expression that fails is false where it would grant, and true elsewhere; either way the call's record says so (section 12). */
export function expressionHolds(expression: CompiledExpression, rule: CompiledRule, call: CallView): boolean {
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
