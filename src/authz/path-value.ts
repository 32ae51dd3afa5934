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
  return mode === "strict" ? refusedValue(text, sample.path) : undefined;
}

/** What a request target cannot have (RFC 9112 section 3.2). */
const FORBIDDEN = /[^\x21-\x7e]/;
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
function refusedValue(text: string, sample: string): DeadPathValue | undefined {
  const odd = /;|%2f|%5c/i.exec(text);
  if (odd === null && !(isAmbiguousPath(sample) && hidesDotSegments(sample, otherReadings(sample)))) return undefined;
  if (odd === null)
    return dead("has a dot segment that is encoded more than once (E_PATH_AMBIGUOUS)", "remove it", undefined);
  const before = text.slice(0, odd.index);
  const fix = /^\/[^{}]*$/.test(before)
    ? `name what stands before it: ${JSON.stringify(`${before}*`)} matches such paths however apps read them`
    : "name the path without it";
  return dead(
    "has an encoded slash, an encoded backslash or a ; parameter, and no path with these passes if a value names them (E_PATH_AMBIGUOUS)",
    fix,
    undefined,
  );
}
