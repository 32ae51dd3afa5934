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

/** Decodes unreserved characters and, if asked, slashes. One pass: what it decodes is not decoded again. */
function decodeEscapes(path: string, slashes: boolean): string {
  let out = "";
  let from = 0;
  for (let i = path.indexOf("%"); i !== -1; i = path.indexOf("%", i)) {
    const high = hexDigit(path.charCodeAt(i + 1));
    const low = hexDigit(path.charCodeAt(i + 2));
    const code = high === -1 || low === -1 ? -1 : high * 16 + low;
    if (isUnreserved(code) || (slashes && (code === SLASH || code === BACKSLASH))) {
      out += path.slice(from, i) + String.fromCharCode(code);
      from = i + 3;
      i += 3;
    } else i++;
  }
  return from === 0 ? path : out + path.slice(from);
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

function mergeSlashes(path: string): string {
  if (!path.includes("//")) return path;
  const segments = path.split("/");
  const last = segments.length - 1;
  return segments.filter((segment, i) => segment !== "" || i === 0 || i === last).join("/");
}

/** Normalises a request's path before anything looks at it (authorization, section 10), in the order unescape, dot
 *  segments, merge. `path` and `query` are the two parts of the target; `*` and the empty path of CONNECT stay as they are. A raw `#` in either part and an
 *  encoded NUL are refused in every setting; a bad escape is refused in strict mode and kept in istio mode. */
export function normalizePath(
  path: string,
  query: string,
  normalization: PathNormalization,
  mode: PolicyMode,
): NormalizedPath {
  if (query.includes("#")) return refused("E_PATH_FRAGMENT", "the query has a raw #");
  if (!needsPathNormalization(path)) return { ok: true, path };
  if (path.includes("#")) return refused("E_PATH_FRAGMENT", "the path has a raw #");
  const problem = escapeProblem(path, mode);
  if (problem !== undefined) return problem;
  if (normalization === "NONE") return { ok: true, path };
  const decoded = decodeEscapes(path, normalization === "DECODE_AND_MERGE_SLASHES");
  const plain = removeDotSegments(decoded.includes("\\") ? decoded.replaceAll("\\", "/") : decoded);
  return { ok: true, path: normalization === "BASE" ? plain : mergeSlashes(plain) };
}
