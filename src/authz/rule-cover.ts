import { isPathTemplate } from "./path-template.ts";
import type { FieldGroup, FieldModel, RuleModel } from "./policy-model.ts";
import { parseTextPattern } from "./text-pattern.ts";

/** Kinds whose values are compared as texts with one star at an end, so that one value can be seen to cover another. */
const PATTERN_KINDS = ["audience", "presenter", "claim", "principal", "trustDomain", "method", "path", "header", "sni"];

/** Whether every text that `value` matches is matched by one of the field's values. `false` may mean "cannot tell". */
export function covers(field: FieldModel, value: string): boolean {
  if (field.values.includes(value)) return true;
  if (!PATTERN_KINDS.includes(field.kind)) return false;
  const narrow = parseTextPattern(value);
  // A template is only compared as a whole: its literal beginning is not all that it says.
  if (isPathTemplate(value)) return field.values.includes("*");
  return field.values.some((candidate) => {
    const wide = parseTextPattern(candidate);
    // In an ALLOW a star in the trust domain does not stand for every trust domain.
    if (field.kind === "principal" && !field.negated && (wide.form !== "prefix" || !wide.text.includes("/")))
      return false;
    if (wide.form === "any") return true;
    if (isPathTemplate(candidate) || narrow.form === "any") return false;
    if (wide.form === "prefix") return narrow.form !== "suffix" && narrow.text.startsWith(wide.text);
    if (wide.form === "suffix") return narrow.form !== "prefix" && narrow.text.endsWith(wide.text);
    return false;
  });
}

/** Whether all fields of `wide` hold wherever those of `narrow` do. */
function groupCovers(wide: FieldGroup, narrow: FieldGroup): boolean {
  return wide.every((field) =>
    narrow.some(
      (other) =>
        other.kind === field.kind &&
        other.header === field.header &&
        other.claim?.join("][") === field.claim?.join("][") &&
        other.negated === field.negated &&
        (field.negated
          ? field.values.every((value) => covers(other, value))
          : other.values.every((value) => covers(field, value))),
    ),
  );
}

function anyCovers(wide: readonly FieldGroup[], narrow: readonly FieldGroup[]): boolean {
  if (wide.length === 0) return true;
  return narrow.length > 0 && narrow.every((group) => wide.some((candidate) => groupCovers(candidate, group)));
}

/** Whether `wide` certainly matches every call that `narrow` matches, both being rules of one policy. */
export function ruleCovers(wide: RuleModel, narrow: RuleModel): boolean {
  return (
    anyCovers(wide.sources, narrow.sources) &&
    anyCovers(wide.operations, narrow.operations) &&
    groupCovers(wide.conditions, narrow.conditions) &&
    (wide.expression === undefined || wide.expression.text === narrow.expression?.text)
  );
}
