import type { SourcePosition } from "../core/errors.ts";
import { compileCel } from "./cel-expression.ts";
import type { ExpressionModel } from "./policy-model.ts";
import type { ReadContext } from "./read-fields.ts";
import { asText, childOf } from "./yaml-access.ts";
import type { YamlMap, YamlValue } from "./yaml-documents.ts";

/** Reads `conditions`: one CEL expression, checked here so that its errors have their place in the file. */
export function readExpression(rule: YamlMap, label: string, context: ReadContext): ExpressionModel | undefined {
  const { findings, direction } = context;
  const value = childOf(rule, "conditions");
  const text = asText(value, `${label}.conditions`, findings);
  if (value === undefined || text === undefined) return undefined;
  const compiled = compileCel(text.text, direction);
  if ("run" in compiled) return { text: text.text, at: text.at };
  const at = placeInside(value, text.text, compiled.offset);
  const otherwise =
    compiled.code === "E_POLICY_CONDITION"
      ? "correct the expression here"
      : "make it shorter, or nest fewer of all, exists, filter and map";
  const { fix = otherwise } = compiled;
  findings.error(compiled.code, at, `${label}.conditions: ${compiled.message}`, fix);
  return undefined;
}

/** The place of an offset of the text in the file. Where escapes or folding hide it: of the text's beginning. */
function placeInside(value: YamlValue, text: string, offset: number): SourcePosition {
  if (value.kind !== "text" || value.inner === undefined) return value.at;
  const before = text.slice(0, offset).split("\n");
  const { line = 1, column = 1 } = value.inner;
  const last = before[before.length - 1] ?? "";
  return { file: value.at.file, line: line + before.length - 1, column: column + last.length };
}
