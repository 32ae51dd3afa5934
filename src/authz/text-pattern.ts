/** Istio's string match (authorization, section 2): one star at the start or at the end, else the literal text. */
export type TextPattern =
  | { readonly form: "exact" | "prefix" | "suffix"; readonly text: string }
  /** `*`: present and not empty. */
  | { readonly form: "any" };

/** Reads a pattern. A leading star is looked at before a trailing one: `*a*` ends with the literal `a*`. */
export function parseTextPattern(value: string): TextPattern {
  if (value === "*") return { form: "any" };
  if (value.startsWith("*")) return { form: "suffix", text: value.slice(1) };
  if (value.endsWith("*")) return { form: "prefix", text: value.slice(0, -1) };
  return { form: "exact", text: value };
}

/** Whether a star stands where it is only literal text: in the middle, or at an end when the other end has one too. */
export function hasLiteralStar(value: string): boolean {
  const pattern = parseTextPattern(value);
  return pattern.form !== "any" && pattern.text.includes("*");
}

/** Alternatives, laid out for the hot path. */
export interface TextSet {
  readonly any: boolean;
  readonly exact: ReadonlySet<string>;
  readonly prefixes: readonly string[];
  readonly suffixes: readonly string[];
}

export function textSet(patterns: readonly TextPattern[]): TextSet {
  const texts = (form: TextPattern["form"]) =>
    patterns.flatMap((pattern) => (pattern.form !== "any" && pattern.form === form ? [pattern.text] : []));
  return {
    any: patterns.some((pattern) => pattern.form === "any"),
    exact: new Set(texts("exact")),
    prefixes: texts("prefix"),
    suffixes: texts("suffix"),
  };
}

/** Whether one alternative matches a text that is present. */
export function inTextSet(set: TextSet, text: string): boolean {
  if (set.any && text !== "") return true;
  if (set.exact.has(text)) return true;
  for (const prefix of set.prefixes) if (text.startsWith(prefix)) return true;
  for (const suffix of set.suffixes) if (text.endsWith(suffix)) return true;
  return false;
}
