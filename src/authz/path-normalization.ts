import type { ErrorCode } from "../core/error-codes.ts";
import type { PathNormalization, PolicyMode } from "./policy-options.ts";

/** The path that policy, routing and the app see, or why the request is answered with 400. */
export type NormalizedPath =
  | { readonly ok: true; readonly path: string }
  | { readonly ok: false; readonly code: ErrorCode; readonly reason: string };

const SLASH = 0x2f;
const BACKSLASH = 0x5c;
const DOT = 0x2e;
const PERCENT = 0x25;
const HASH = 0x23;
const SEMICOLON = 0x3b;

function refused(code: ErrorCode, reason: string): NormalizedPath {
  return { ok: false, code, reason };
}

/** Whether normalisation could change or refuse the path. One pass, nothing allocated: most paths end here. */
export function needsPathNormalization(path: string): boolean {
  let previous = 0;
  for (let i = 0; i < path.length; i++) {
    const code = path.charCodeAt(i);
    if (code === PERCENT || code === BACKSLASH || code === HASH) return true;
    // A dot segment begins with a dot after a slash; /.well-known takes the long way, too.
    if (previous === SLASH && (code === SLASH || code === DOT)) return true;
    previous = code;
  }
  return false;
}

function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

/** Unreserved characters of RFC 3986 section 2.3. */
function isUnreserved(code: number): boolean {
  const lower = code | 0x20;
  return (
    (lower >= 0x61 && lower <= 0x7a) ||
    (code >= 0x30 && code <= 0x39) ||
    code === 0x2d ||
    code === DOT ||
    code === 0x5f ||
    code === 0x7e
  );
}

/** Why the path's escapes are refused in every mode of normalisation, or undefined. */
function escapeProblem(path: string, mode: PolicyMode): NormalizedPath | undefined {
  for (let i = path.indexOf("%"); i !== -1; i = path.indexOf("%", i + 1)) {
    const high = hexDigit(path.charCodeAt(i + 1));
    const low = hexDigit(path.charCodeAt(i + 2));
    if (high === 0 && low === 0) return refused("E_PATH_NUL", "the path has an encoded NUL");
    if (mode === "strict" && (high === -1 || low === -1))
      return refused("E_PATH_ESCAPE", "the path has a % that two hexadecimal digits do not follow");
  }
  return undefined;
}

/** Decodes unreserved characters. One pass: what it decodes is not decoded again, nor does it become part of another escape: a `%` that
 *  was none, and would be one with what was decoded behind it, is escaped itself (as Envoy does; `%4%31` is not to be read as `%41`). strict: what
 *  stays escaped gets capitals; Envoy leaves it as it is. */
function decodeEscapes(path: string, mode: PolicyMode): string {
  let out = "";
  let from = 0;
  let lonePercent = Number.NEGATIVE_INFINITY;
  for (let i = path.indexOf("%"); i !== -1; i = path.indexOf("%", from)) {
    const code = escapedCode(path, i);
    out += path.slice(from, i);
    from = i + 3;
    if (code === -1) {
      lonePercent = out.length;
      from = i + 1;
      out += "%";
    } else if (!isUnreserved(code)) out += mode === "strict" ? path.slice(i, from).toUpperCase() : path.slice(i, from);
    else {
      out += String.fromCharCode(code);
      // The character behind may be the second digit.
      const isEscape =
        lonePercent >= out.length - 3 && escapedCode(out + path.slice(from, from + 1), lonePercent) !== -1;
      if (isEscape) out = `${out.slice(0, lonePercent)}%25${out.slice(lonePercent + 1)}`;
    }
  }
  return from === 0 ? path : out + path.slice(from);
}

/** The text with the digits of its escapes in capitals: `%c3` and `%C3` are one escape (RFC 3986 section 6.2.2.1). */
export function withCapitalEscapes(text: string): string {
  return text.includes("%") ? text.replaceAll(/%[0-9a-f]{1,2}/gi, (one) => one.toUpperCase()) : text;
}

/** What the `%` at that place escapes; -1: nothing. */
function escapedCode(text: string, percent: number): number {
  const high = hexDigit(text.charCodeAt(percent + 1));
  const low = hexDigit(text.charCodeAt(percent + 2));
  return high === -1 || low === -1 ? -1 : high * 16 + low;
}

function decodeSlashes(path: string): string {
  if (!path.includes("%")) return path;
  return path.replaceAll(/%2f/gi, "/").replaceAll(/%5c/gi, "\\");
}

/** RFC 3986 section 5.2.4 for an absolute path: `..` above the root stays at the root. */
function removeDotSegments(path: string): string {
  if (!path.includes("/.")) return path;
  const kept: string[] = [];
  const segments = path.split("/");
  for (let i = 1; i < segments.length; i++) {
    const segment = segments[i] ?? "";
    const isDot = segment === "." || segment === "..";
    if (segment === "..") kept.pop();
    if (!isDot) kept.push(segment);
    else if (i === segments.length - 1) kept.push("");
  }
  return `/${kept.join("/")}`;
}

/** Envoy leaves two slashes of a path that has nothing else. */
function mergeSlashes(path: string, mode: PolicyMode): string {
  if (!path.includes("//")) return path;
  const segments = path.split("/");
  if (mode === "istio" && segments.every((segment) => segment === "")) return "//";
  const last = segments.length - 1;
  return segments.filter((segment, i) => segment !== "" || i === 0 || i === last).join("/");
}

/** What Envoy's normalisation escapes, of what a request target may hold. */
const ESCAPED_BY_ENVOY = new Uint8Array(0x80);
for (const char of '"<>^`{|}') ESCAPED_BY_ENVOY[char.charCodeAt(0)] = 1;

/** What Envoy does to a path before it is decoded: dot segments lose a `;` parameter, under which apps know them as well, and
 *  some characters are escaped. strict refuses the former where it counts (normalizeForPolicy) and leaves the latter alone. */
function prepareAsEnvoy(path: string): string {
  let out = "";
  let from = 0;
  for (let i = 0; i < path.length; i++) {
    const code = path.charCodeAt(i);
    if (code === SEMICOLON && endsInDotSegment(path, i)) {
      const slash = path.indexOf("/", i);
      out += path.slice(from, i);
      from = slash === -1 ? path.length : slash;
      i = from - 1;
    } else if (ESCAPED_BY_ENVOY[code] === 1) {
      out += `${path.slice(from, i)}%${code.toString(16).toUpperCase()}`;
      from = i + 1;
    }
  }
  return from === 0 ? path : out + path.slice(from);
}

/** Whether what stands before that place is `/.` or `/..`. */
function endsInDotSegment(path: string, end: number): boolean {
  return path.endsWith("/.", end) || path.endsWith("/..", end);
}

/** Normalises a request's path before anything looks at it (authorization, section 10), in the order unescape, dot
 *  segments, merge. `path` and `query` are the two parts of the target; `*` and the empty path of CONNECT stay as they are. A raw `#` in either part and an
 *  encoded NUL are refused in every setting; a bad escape is refused in strict mode and kept in istio mode, where paths become what Envoy makes
 *  of them. strict: escapes that stay are in capitals. */
export function normalizePath(
  received: string,
  query: string,
  normalization: PathNormalization,
  mode: PolicyMode,
): NormalizedPath {
  const slashed = normalization === "DECODE_AND_MERGE_SLASHES" ? decodeSlashes(received) : received;
  const path = mode === "istio" && normalization !== "NONE" ? prepareAsEnvoy(slashed) : slashed;
  if (query.includes("#")) return refused("E_PATH_FRAGMENT", "the query has a raw #");
  if (!needsPathNormalization(path)) return { ok: true, path };
  if (path.includes("#")) return refused("E_PATH_FRAGMENT", "the path has a raw #");
  const problem = escapeProblem(path, mode);
  if (problem !== undefined) return problem;
  if (normalization === "NONE") return { ok: true, path };
  const decoded = decodeEscapes(path, mode);
  const plain = removeDotSegments(decoded.includes("\\") ? decoded.replaceAll("\\", "/") : decoded);
  return { ok: true, path: normalization === "BASE" ? plain : mergeSlashes(plain, mode) };
}
