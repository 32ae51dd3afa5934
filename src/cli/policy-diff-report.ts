import type { CompiledPolicy } from "../authz/compiled-policy.ts";
import { asciiJson, printable } from "../core/safe-text.ts";
import type { PolicyAnswer } from "../policy-tools/ask-policy.ts";
import type { Change, ChangedCalls, PolicyDiff } from "../policy-tools/diff-policies.ts";
import { type GenerationCoverage, isUnproven } from "../policy-tools/generation-coverage.ts";

/** `coverage`: of generated calls. */
type Found = PolicyDiff & { readonly coverage: GenerationCoverage | undefined };

interface Side {
  readonly policy: CompiledPolicy;
}
type Sides = readonly [Side, Side];

/** Groups that people are shown of each change; `--json` has all. */
const SHOWN = 25;

export function diffJson(found: Found, [before, after]: Sides, source: string): string {
  const answer = ({ decision, rule, reason, detail, nearest }: PolicyAnswer) => ({
    decision,
    rule: rule ?? null,
    reason,
    detail,
    nearest: nearest ?? null,
  });
  const document = {
    before: sideJson(before),
    after: sideJson(after),
    source,
    calls: found.calls,
    changed: found.changed,
    otherRule: found.otherRule,
    ungrouped: found.ungrouped,
    unlikeRecord: found.unlikeRecord,
    coverage: found.coverage ?? null,
    groups: found.groups.map((group) => ({
      change: group.change,
      principal: group.principal ?? null,
      what: group.what,
      calls: group.calls,
      before: answer(group.before),
      after: answer(group.after),
      example: { id: group.exampleId ?? null, ...exampleOf(group) },
    })),
  };
  return `${asciiJson(JSON.stringify(document, null, 2))}\n`;
}

function sideJson({ policy }: Side): object {
  return { version: policy.version, policies: policy.policyCount, rules: policy.ruleCount };
}

/** Header values and claims of a request may be secrets: only their names are shown. */
function exampleOf({ example }: ChangedCalls): object {
  const { request, source, destination } = example;
  return {
    from: source.spiffeId ?? null,
    ip: source.ip,
    port: destination.port ?? null,
    method: request?.method ?? null,
    host: request?.host ?? null,
    path: request?.path ?? null,
    headers: request?.headers.filter((_, i) => i % 2 === 0) ?? [],
  };
}

export function diffText(found: Found, [before, after]: Sides, source: string, colour: boolean): string {
  const paint = (code: number, text: string) => (colour ? `\u001b[${code}m${text}\u001b[0m` : text);
  const lines = [
    `before  ${sideText(before)}`,
    `after   ${sideText(after)}`,
    `${found.changed} of ${found.calls} calls change verdict, ${found.otherRule} are decided by another rule (${printable(source)})`,
  ];
  if (found.coverage !== undefined) lines.push(...coverageLines(found.coverage, found.changed + found.otherRule));
  for (const change of ["deny → allow", "allow → deny", "other rule"] as const) {
    const groups = found.groups.filter((group) => group.change === change);
    if (groups.length === 0) continue;
    lines.push("", paint(colourOf(change), change));
    for (const group of groups.slice(0, SHOWN)) lines.push(...groupLines(group));
    if (groups.length > SHOWN) lines.push(`  and ${groups.length - SHOWN} more (--json shows all)`);
  }
  if (found.ungrouped > 0) lines.push("", `${found.ungrouped} more calls change in too many ways to list`);
  return `${lines.join("\n")}\n`;
}

/** Rules that are named of those that no call shows; `--json` has all. */
const SHOWN_SILENT = 10;

/** What must be said beside "no call changes verdict". */
function coverageLines(coverage: GenerationCoverage, changedCalls: number): readonly string[] {
  const { rules, withoutCall, silent, otherDirection, tokensDiffer } = coverage;
  const sets = ["before", "after"] as const;
  const missed = sets.map((set, i) => `${withoutCall[i] ?? 0} of ${rules[i] ?? 0} rules ${set}`).join(", ");
  const lines = [
    `without a call of their own: ${missed}${withoutCall.some((count) => count > 0) ? " (more calls: --generate)" : ""}`,
  ];
  if (!isUnproven(coverage, changedCalls)) return lines;
  lines.push("", "the sets differ, and no generated call shows how:");
  for (const { set, rule, hasConditions } of silent.slice(0, SHOWN_SILENT))
    lines.push(`  ${rule} (only ${set}${hasConditions ? "; it has conditions" : ""})`);
  if (silent.length > SHOWN_SILENT) lines.push(`  and ${silent.length - SHOWN_SILENT} more rules (--json shows all)`);
  if (otherDirection > 0)
    lines.push(`  ${otherDirection} rules about calls in the other direction, which --outbound chooses`);
  if (tokensDiffer) lines.push("  RequestAuthentication documents: generated calls have claims, not tokens");
  if (coverage.settingsDiffer && changedCalls === 0)
    lines.push("  settings, PeerAuthentication documents, or whether there are ALLOW policies");
  return lines;
}

function sideText({ policy }: Side): string {
  return `version ${policy.version}, ${policy.policyCount} policies, ${policy.ruleCount} rules`;
}

function colourOf(change: Change): number {
  switch (change) {
    case "deny → allow":
      return 33;
    case "allow → deny":
      return 31;
    case "other rule":
      return 2;
  }
}

function groupLines({ calls, principal, what, before, after, example, exampleId }: ChangedCalls): readonly string[] {
  const path = example.request === undefined ? "" : `, e.g. ${example.request.path.slice(0, 100)}`;
  const id = exampleId === undefined || exampleId === "" ? "" : ` (${exampleId})`;
  return [
    `  ${calls} × ${printable(principal ?? "nobody")}  ${printable(what)}${printable(path + id)}`,
    `      was ${answerText(before)}`,
    `      now ${answerText(after)}`,
  ];
}

function answerText({ decision, rule, reason, nearest, providers }: PolicyAnswer): string {
  const by = rule === undefined ? reason : `by ${rule}`;
  const near =
    nearest === undefined
      ? ""
      : `; nearest ${nearest.rule}: ${nearest.field} wants ${nearest.expected}, call had ${nearest.actual}`;
  const asks = providers.map(({ provider }) => `; ${printable(provider)} is asked`).join("");
  return `${decision} ${by}${near}${asks}`;
}
