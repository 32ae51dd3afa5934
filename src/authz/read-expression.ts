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
const SMALL_ESCAPE = /%(?:[0-9A-Fa-f][a-f]|[a-f][0-9A-F]|[a-f](?=['"([\\.]))/;
/** Digits with which a text begins that may be those of an escape: another escape follows, or nothing. */
const CUT_ESCAPE =
  /(?<=\.path\s*\.\s*(?:endsWith|contains)\(\s*[rR]?["']{1,3})(?:(?:[0-9A-Fa-f]?[a-f]|[a-f][0-9A-F])(?=%)|(?:[0-9][a-f]|[a-f][0-9])(?=["']))/;
/** An escape whose digits a pattern lists: in a group or in a class. */
const LISTED_ESCAPE = /%([0-9A-Fa-f]?)(?:\((?:\?:)?([^()]*)\)|\[([^\]^][^\]]*)\])/g;

/** What asks for such an escape would be false of every path, and a `!=` true: refused, for nobody means that. */
function hasSmallEscape(value: YamlValue, text: string, label: string, { options, findings }: ReadContext): boolean {
  if (comparedPathValue("%aa", options) === "%aa") return false;
  const found = SMALL_ESCAPE.exec(text) ?? CUT_ESCAPE.exec(text) ?? listedSmallEscape(text);
  if (found === undefined) return false;
  const message = `${label}.conditions: ${found[0]} stands in no escape of request.path: they are in capitals`;
  const fix = /^%[0-9A-Fa-f]+$/.test(found[0])
    ? `write ${found[0].toUpperCase()}`
    : "write whole escapes, in capitals; where none is meant, write more of what stands before it";
  findings.error("E_POLICY_CONDITION", placeInside(value, text, found.index), message, fix);
  return true;
}

/** One with small letters that are not listed as capitals beside them. */
function listedSmallEscape(text: string): RegExpExecArray | undefined {
  if (!text.includes("matches")) return undefined;
  return text.matchAll(LISTED_ESCAPE).find(([, first = "", group, letters]) => {
    if (letters !== undefined) return /[a-f]/.test(letters.replaceAll(/\\./g, "")) && !/[A-F]/.test(letters);
    const all = (group ?? "").split("|");
    return all.some((one) => {
      const digits = one.slice(0, 2 - first.length);
      return /^[0-9A-Fa-f]?[a-f]|^[a-f]/.test(digits) && !all.includes(digits.toUpperCase() + one.slice(digits.length));
    });
  });
}

/** The place of an offset of the text in the file. Where escapes or folding hide it: of the text's beginning. */
function placeInside(value: YamlValue, text: string, offset: number): SourcePosition {
  if (value.kind !== "text" || value.inner === undefined) return value.at;
  const before = text.slice(0, offset).split("\n");
  const { line = 1, column = 1 } = value.inner;
  const last = before[before.length - 1] ?? "";
  return { file: value.at.file, line: line + before.length - 1, column: column + last.length };
}
