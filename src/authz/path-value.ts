import { normalizePath, withCapitalEscapes } from "./path-normalization.ts";
import { hidesDotSegments, isAmbiguousPath, otherReadings } from "./path-readings.ts";
import { isPathTemplate } from "./path-template.ts";
import type { PolicyOptions } from "./policy-options.ts";
import { parseTextPattern } from "./text-pattern.ts";

/** Why no request has a path that a value matches, and what to write instead. */
interface DeadPathValue {
  readonly problem: string;
  readonly fix: string;
  /** The value in the form that normalisation gives to paths, where that is the whole matter. */
  readonly plain: string | undefined;
}

type PathOptions = Pick<PolicyOptions, "mode" | "pathNormalization">;

/** A path value as it is compared: strict compares escapes in capitals, as they are after normalisation. */
export function comparedPathValue(value: string, { mode, pathNormalization }: PathOptions): string {
  return mode === "strict" && pathNormalization !== "NONE" ? withCapitalEscapes(value) : value;
}

/** What else a value is compared as that ends paths, and may begin inside an escape: `*c3%A9` is also `*%C3%A9`, and `*a9` is `*%A9`. Compared by its text
 *  alone it would match no such path, whose escapes have capitals. For what refuses: a grant is only what is written. */
export function cutEscapeValues(value: string, options: PathOptions): readonly string[] {
  const pattern = parseTextPattern(value);
  if (pattern.form !== "suffix" || comparedPathValue("%aa", options) === "%aa") return [];
  const { text } = pattern;
  const capital = (digits: number): string => text.slice(0, digits).toUpperCase() + text.slice(digits);
  const whole = /^(?:[0-9A-Fa-f][a-f]|[a-f][0-9A-F])/.test(text) ? [`%${capital(2)}`] : [];
  // A lone digit is taken for the second one where the text does not go on like a word.
  const halves = /^[a-f](?:$|[%/])/.test(text) ? HEX_DIGITS.map((high) => `%${high}${capital(1)}`) : [];
  // Others are decoded.
  return [...whole, ...halves]
    .filter((some) => deadPathValue(`*${some}`, options) === undefined)
    .map((some) => `*${some}`);
}

/** Why a valid path value can never match; undefined: some request has such a path. Of a prefix, a suffix and a template nothing is assumed about what
 *  goes on beside them: `/files/.*` also stands for `/files/.hidden`. */
export function deadPathValue(value: string, options: PathOptions): DeadPathValue | undefined {
  const pattern = isPathTemplate(value) ? ({ form: "template", text: value } as const) : parseTextPattern(value);
  if (pattern.form === "any") return undefined;
  const { form, text } = pattern;
  if (/[?#]/.test(text))
    return dead("has a ? or #, and paths are compared without query and fragment", "remove it", undefined);
  if (form !== "suffix" && !text.startsWith("/"))
    return dead("does not start with /", `write ${JSON.stringify(`/${text}`)}`, undefined);
  if (FORBIDDEN.test(text)) {
    const escaped = value.replaceAll(/[^\x21-\x7e]+/g, (some) => encodeURIComponent(some.toWellFormed()));
    const plain = deadPathValue(escaped, options)?.plain ?? escaped;
    const problem = "has a character that paths of requests have only in its escaped form";
    return dead(problem, `write ${JSON.stringify(plain)}`, undefined);
  }
  const sample = SAMPLES[form](comparedPathValue(text, options));
  const { mode, pathNormalization } = options;
  const normal = normalizePath(sample.path, "", pathNormalization, mode);
  if (!normal.ok)
    return dead(
      `is a path that every request is refused for (${normal.code})`,
      "write the path as it is after decoding",
      undefined,
    );
  if (normal.path !== sample.path) {
    // Envoy leaves two slashes of a path that has nothing else.
    if (mode === "istio" && text.replaceAll("{**}", "") === "//") return undefined;
    const plain = sample.back(normal.path);
    const isPlain = plain !== undefined && deadPathValue(plain, options) === undefined;
    return dead(
      `is not in the form that pathNormalization ${pathNormalization} gives to paths`,
      isPlain ? `write ${JSON.stringify(plain)}` : "write the path as it is after that",
      isPlain ? plain : undefined,
    );
  }
  return mode === "strict" ? refusedValue(value, text, sample.path, options) : undefined;
}

/** What a request target cannot have (RFC 9112 section 3.2). */
const FORBIDDEN = /[^\x21-\x7e]/;
const HEX_DIGITS: readonly string[] = "0123456789ABCDEF".split("");
const STARTED_ESCAPE = /%[0-9A-Fa-f]?$/;

function dead(problem: string, fix: string, plain: string | undefined): DeadPathValue {
  return { problem, fix, plain };
}

/** A path that the value matches, and the value that stands for another one in the same way, if one does. */
interface Sample {
  readonly path: string;
  readonly back: (path: string) => string | undefined;
}

const SAMPLES: Readonly<Record<"exact" | "prefix" | "suffix" | "template", (text: string) => Sample>> = {
  exact: (text) => ({ path: text, back: (path) => path }),
  prefix: (text) => {
    const [started = ""] = STARTED_ESCAPE.exec(text) ?? [];
    const path = `${text.slice(0, text.length - started.length)}x`;
    return { path, back: (other) => (other.endsWith("x") ? `${other.slice(0, -1)}${started}*` : undefined) };
  },
  suffix: (text) => ({
    path: `/x${text}`,
    back: (other) => (other.length > 2 && other.startsWith("/x") ? `*${other.slice(2)}` : undefined),
  }),
  template: (text) => {
    const operators = text.match(/\{\*{1,2}\}/g) ?? [];
    let token = "x";
    while (text.includes(token)) token += "x";
    const back = (other: string) => {
      const parts = other.split(token);
      return parts.length === operators.length + 1
        ? parts.map((part, i) => part + (operators[i] ?? "")).join("")
        : undefined;
    };
    return { path: text.replaceAll(/\{\*{1,2}\}/g, token), back };
  },
};

/** strict refuses a path with these where a value says something about them: without them it would not be matched. */
function refusedValue(value: string, text: string, sample: string, options: PathOptions): DeadPathValue | undefined {
  const odd = /;|%2f|%5c/i.exec(text);
  if (odd === null && !(isAmbiguousPath(sample) && hidesDotSegments(sample, otherReadings(sample)))) return undefined;
  if (odd === null)
    return dead("has a dot segment that is encoded more than once (E_PATH_AMBIGUOUS)", "remove it", undefined);
  const before = text.slice(0, odd.index);
  const plain = value.replaceAll(/%2f|%5c/gi, "/").replaceAll(/;[^/]*/g, "");
  const fix =
    plain.startsWith("/") && deadPathValue(plain, options) === undefined
      ? `write ${JSON.stringify(plain)}, for paths without it`
      : "name the path without it";
  const wider = /^\/[^{}]*$/.test(before)
    ? `; only what is wider, ${JSON.stringify(`${before}*`)}, lets paths with it pass`
    : "";
  return dead(
    "has an encoded slash, an encoded backslash or a ; parameter, and no path with these passes if a value names them (E_PATH_AMBIGUOUS)",
    fix + wider,
    undefined,
  );
}
