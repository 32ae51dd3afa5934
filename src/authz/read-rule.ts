import { checkKeys, checkNotEmpty } from "./check-keys.ts";
import type { FieldGroup, RuleModel } from "./policy-model.ts";
import { readCondition } from "./read-condition.ts";
import { readExpression } from "./read-expression.ts";
import { type ReadContext, readFieldGroup } from "./read-fields.ts";
import { asList, asMap, childOf, entryOf, refuseUnknownKeys } from "./yaml-access.ts";
import type { YamlMap, YamlValue } from "./yaml-documents.ts";

/** Reads one item of `rules`. */
export function readRule(value: YamlValue, index: number, context: ReadContext): RuleModel | undefined {
  const label = `rules[${index}]`;
  const map = asMap(value, label, context.findings);
  if (map === undefined) return undefined;
  checkKeys(map, label, ["from", "to", "when", ...(context.ours ? ["conditions"] : [])], context);
  const from = entryOf(map, "from");
  if (context.direction === "OUTBOUND" && from !== undefined && from.value.kind !== "null") {
    const fix = "remove `from`, and select the calling workload by selector.matchLabels";
    const message = `${label}.from in an OUTBOUND policy: the caller is this workload`;
    context.findings.error("E_POLICY_COMBINATION", from.at, message, fix);
  }
  return {
    index,
    sources: readGroups(map, "from", "source", context),
    operations: readGroups(map, "to", "operation", context),
    conditions: readConditions(map, context),
    expression: context.ours ? readExpression(map, label, context) : undefined,
    at: map.at,
  };
}

function readGroups(
  rule: YamlMap,
  key: "from" | "to",
  what: "source" | "operation",
  context: ReadContext,
): readonly FieldGroup[] {
  const { findings } = context;
  const list = childOf(rule, key);
  const fix = "give it content, or remove it: as it stands its meaning is unclear";
  const items = asList(list, key, findings, fix);
  if (list === undefined || items === undefined) return [];
  const empty = (at: YamlValue["at"], label: string) => findings.error("E_POLICY_EMPTY", at, `${label} is empty`, fix);
  if (items.length === 0) empty(list.at, key);
  const groups: FieldGroup[] = [];
  for (const [index, item] of items.entries()) {
    const label = `${key}[${index}]`;
    const map = asMap(item, label, findings);
    if (map === undefined) continue;
    refuseUnknownKeys(map, label, [what], findings);
    const body = asMap(childOf(map, what), `${label}.${what}`, findings);
    const written = childOf(map, what);
    if (written === undefined) empty(map.at, `${label}.${what}`);
    if (body === undefined) continue;
    const fields = readFieldGroup(body, what, `${label}.${what}`, context);
    if (body.entries.every(({ value }) => value.kind === "null" || (value.kind === "list" && value.items.length === 0)))
      empty(body.at, `${label}.${what}`);
    refuseServiceAccountsBeside(fields, body, `${label}.${what}`, context);
    groups.push(fields);
  }
  return groups;
}

function refuseServiceAccountsBeside(fields: FieldGroup, map: YamlMap, label: string, context: ReadContext): void {
  const has = (...kinds: readonly string[]) => fields.some(({ kind }) => kinds.includes(kind));
  if (!has("serviceAccount") || !has("principal", "namespace")) return;
  const message = `${label} has service accounts beside principals or namespaces`;
  context.findings.error(
    "E_POLICY_COMBINATION",
    map.at,
    message,
    "keep one of them: a service account names its namespace",
  );
}

function readConditions(rule: YamlMap, context: ReadContext): FieldGroup {
  const items = asList(childOf(rule, "when"), "when", context.findings, "write a condition, or remove it") ?? [];
  const entry = entryOf(rule, "when");
  if (entry !== undefined) checkNotEmpty(entry, "when", context);
  return items.flatMap((item, index) => {
    const label = `when[${index}]`;
    const map = asMap(item, label, context.findings);
    return map === undefined ? [] : readCondition(map, label, context);
  });
}
