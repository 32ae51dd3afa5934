import type { SourcePosition } from "../core/errors.ts";
import { compileCel } from "./cel-expression.ts";
import { comparedPathValue } from "./path-value.ts";
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
  if ("run" in compiled) {
    if (compiled.readsPath && hasSmallEscape(value, text.text, label, context)) return undefined;
    return { text: text.text, at: text.at };
  }
  const at = placeInside(value, text.text, compiled.offset);
  const otherwise =
    compiled.code === "E_POLICY_CONDITION"
      ? "correct the expression here"
      : "make it shorter, or nest fewer of all, exists, filter and map";
  const { fix = otherwise } = compiled;
  findings.error(compiled.code, at, `${label}.conditions: ${compiled.message}`, fix);
  return undefined;
}

/** An escape as no path has it in strict mode, where normalisation gives its digits capitals. */
const SMALL_ESCAPE = /%(?:[0-9A-Fa-f][a-f]|[a-f][0-9A-F])/;

/** What asks for such an escape would be false of every path, and a `!=` true: refused, for nobody means that. */
function hasSmallEscape(value: YamlValue, text: string, label: string, { options, findings }: ReadContext): boolean {
  const found = SMALL_ESCAPE.exec(text);
  if (found === null || comparedPathValue(found[0], options) === found[0]) return false;
  const message = `${label}.conditions: ${found[0]} stands in no request.path, whose escapes are in capitals`;
  findings.error(
    "E_POLICY_CONDITION",
    placeInside(value, text, found.index),
    message,
    `write ${found[0].toUpperCase()}`,
  );
  return true;
}

/** The place of an offset of the text in the file. Where escapes or folding hide it: of the text's beginning. */
function placeInside(value: YamlValue, text: string, offset: number): SourcePosition {
  if (value.kind !== "text" || value.inner === undefined) return value.at;
  const before = text.slice(0, offset).split("\n");
  const { line = 1, column = 1 } = value.inner;
  const last = before[before.length - 1] ?? "";
  return { file: value.at.file, line: line + before.length - 1, column: column + last.length };
}
