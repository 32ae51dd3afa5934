import type { TraceAlternative, TraceField, TraceRule } from "../authz/decision-trace.ts";
import { asciiJson, printable } from "../core/safe-text.ts";
import type { AskedCall } from "../policy-tools/asked-call.ts";
import { type ExplainedCall, shownSteps } from "../policy-tools/explain-call.ts";

/** Rules that a JSON line has of each step: matching ones, the nearest, and others up to this many. */
const JSON_RULES = 32;

/** One line: `{"decision", "rule", "reason", "nearest", "trace", …}`. */
export function explainedJson({ answer, trace }: ExplainedCall): string {
  const { decision, rule, reason, detail, nearest, providers, dryRun, notes } = answer;
  const steps =
    trace === undefined
      ? null
      : shownSteps(trace, JSON_RULES).map(({ step: { action, rule: first, outcome, decides }, rules, more }) => ({
          action,
          rule: first ?? null,
          outcome,
          decides,
          rules: rules.map((rule) => ({ ...rule, at: undefined })),
          more,
        }));
  const document = {
    decision,
    rule: rule ?? null,
    reason,
    nearest: nearest ?? null,
    trace: trace === undefined ? null : { policyVersion: trace.policyVersion, direction: trace.direction, steps },
    detail,
    providers,
    dryRun: dryRun ?? null,
    notes,
  };
  return `${asciiJson(JSON.stringify(document))}\n`;
}

export interface ExplainViewOptions {
  readonly room: number;
  readonly nameFile: (file: string) => string;
  readonly colour: boolean;
}

/** The verdict, then the evaluation as a tree. */
export function explainedText(call: AskedCall, explained: ExplainedCall, options: ExplainViewOptions): string {
  const paint = (code: number, text: string) => (options.colour ? `\u001b[${code}m${text}\u001b[0m` : text);
  const { answer, trace } = explained;
  const verdict = answer.decision === "allow" ? paint(32, "ALLOW") : paint(31, "DENY");
  const lines = [`${verdict}  ${printable(callText(call, explained))}`, `  ${printable(answer.detail)}`];
  if (answer.decision === "deny") lines.push(`  ${answer.reason}`);
  for (const { provider, rule } of answer.providers)
    lines.push(
      answer.decision === "allow"
        ? `  if ${printable(provider)} allows it, which ${rule} asks`
        : `  after ${printable(provider)} is asked by ${rule}`,
    );
  if (answer.dryRun !== undefined)
    lines.push(`  with the dry-run policies: ${answer.dryRun.verdict}, ${printable(answer.dryRun.reason)}`);
  for (const note of answer.notes) lines.push(`  note: ${note}`);
  if (trace === undefined)
    lines.push("", `policy is not asked about such a ${isOfConnection(answer.reason) ? "connection" : "request"}`);
  const mark = (matches: boolean) => (matches ? paint(32, "✓") : paint(2, "✗"));
  for (const { step, rules, more } of trace === undefined ? [] : shownSteps(trace, options.room)) {
    lines.push(
      "",
      `${paint(1, `${step.action} policies`)}: ${step.outcome}${step.decides ? "" : paint(2, "  (does not decide)")}`,
    );
    for (const policy of step.policies) {
      const shown = rules.filter((rule) => policy.rules.includes(rule));
      const isEmpty = policy.rules.length === 0;
      if (shown.length === 0 && !isEmpty) continue;
      const { at } = policy;
      const place = `${printable(options.nameFile(at.file))}:${at.line ?? 1}`;
      const notes = [
        policy.dryRun ? "dry run" : "",
        policy.provider === undefined ? "" : `asks ${printable(policy.provider)}`,
        isEmpty ? "no rules: never matches" : "",
      ];
      const said = notes.filter((note) => note !== "").join(", ");
      lines.push(
        `  ${mark(policy.matches)} ${printable(`${policy.namespace}/${policy.name}`)}  ${paint(2, place)}${said === "" ? "" : `  ${said}`}`,
      );
      for (const rule of shown) lines.push(...ruleLines(rule, mark, paint));
    }
    if (more > 0) lines.push(paint(2, `  and ${more} more rules, none of which matches (--all shows them)`));
  }
  return `${lines.join("\n")}\n`;
}

function isOfConnection(reason: string): boolean {
  return reason === "E_PLAINTEXT_REFUSED" || reason === "E_PEER_NO_CERTIFICATE";
}

function callText({ direction, source, destination, request }: AskedCall, { answer }: ExplainedCall): string {
  const seen = answer.facts?.request?.path;
  const asked = request?.path.split("?", 1)[0];
  const path = seen === undefined || seen === asked ? "" : `  (as ${seen})`;
  const what = request === undefined ? "TCP" : `${request.method} ${request.host ?? ""}${request.path}${path}`;
  // Outbound the caller is this workload, whoever else was named.
  if (direction === "inbound") return `${what} by ${source.spiffeId?.slice("spiffe://".length) ?? "nobody"}`;
  const to = destination.spiffeId;
  return to === undefined ? `${what} by this workload` : `${what} to ${to.slice("spiffe://".length)} by this workload`;
}

type Mark = (matches: boolean) => string;
type Paint = (code: number, text: string) => string;

function ruleLines(rule: TraceRule, mark: Mark, paint: Paint): readonly string[] {
  const index = /rule\[(\d+)\]$/.exec(rule.id)?.[1] ?? "";
  const lines = [`      ${mark(rule.matches)} rule ${index}${rule.dropped === undefined ? "" : `  ${rule.dropped}`}`];
  const fields = (all: readonly TraceField[], indent: string) =>
    all.map((field) => `${indent}${mark(field.matches)} ${fieldText(field, paint)}`);
  for (const [name, alternatives] of [
    ["from", rule.from],
    ["to", rule.to],
  ] as const) {
    if (alternatives.length === 1) lines.push(...fields(alternatives[0]?.fields ?? [], "          "));
    else lines.push(...alternativeLines(name, alternatives, mark, fields));
  }
  lines.push(...fields(rule.when, "          "));
  if (rule.expression !== undefined) {
    const { matches, text, fault } = rule.expression;
    lines.push(
      `          ${mark(matches)} conditions: ${printable(text)}${fault === undefined ? "" : `  (${printable(fault)})`}`,
    );
  }
  return lines;
}

function alternativeLines(
  name: string,
  alternatives: readonly TraceAlternative[],
  mark: Mark,
  fields: (all: readonly TraceField[], indent: string) => readonly string[],
): readonly string[] {
  if (alternatives.length === 0) return [];
  const any = alternatives.some(({ matches }) => matches);
  return [
    `          ${mark(any)} ${name}: one of ${alternatives.length}`,
    ...alternatives.flatMap((one) => fields(one.fields, "              ")),
  ];
}

/** Both texts are safe already: the trace escapes what the call brought. */
function fieldText({ label, matches, expected, actual, because }: TraceField, paint: Paint): string {
  const why = because === undefined ? "" : `  (${because})`;
  const had = matches ? paint(2, `has ${actual}`) : `has ${actual}`;
  return `${label}: wants ${printable(expected)}, ${had}${why}`;
}
