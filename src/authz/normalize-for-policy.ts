import type { CompiledPolicy } from "./compiled-policy.ts";
import { matchedDifferently, type PathIndex } from "./path-index.ts";
import { type NormalizedPath, normalizePath, withCapitalEscapes } from "./path-normalization.ts";
import { hidesDotSegments, isAmbiguousPath, otherReadings } from "./path-readings.ts";

/** The path that policy, routing and the app see of an inbound request, or why it is answered with 400 (authorization, section 10).
 *  `path` and `query` are the two parts of the target as received; the query stays as it is. strict, where policies read paths: refused
 *  is what hides dot segments behind encoded slashes, encoded backslashes or `;` parameters, and what a path value would match differently
 *  with any of these decoded or removed, for some apps read it that way. */
export function normalizeForPolicy(policy: CompiledPolicy, path: string, query: string): NormalizedPath {
  const { mode, pathNormalization } = policy.options;
  const normal = normalizePath(path, query, pathNormalization, mode);
  if (!normal.ok || mode === "istio" || !isAmbiguousPath(normal.path) || !policy.paths.isRead) return normal;
  const readings = otherReadings(normal.path);
  if (hidesDotSegments(normal.path, readings)) return HIDDEN_DOTS;
  return isReadAlike(policy, policy.paths, normal.path, readings) ? normal : READ_DIFFERENTLY;
}

/** Why an outbound request's path is answered with 400, or the path as policies compare it. It goes out as it came, for it may be signed, and is
 *  refused when an OUTBOUND policy would match its normalised form, or another that an app may read in it, differently. */
export function checkOutboundPath(policy: CompiledPolicy, path: string, query: string): NormalizedPath {
  const { mode, pathNormalization } = policy.options;
  const index = policy.outboundPaths;
  const normal = normalizePath(path, query, pathNormalization, mode);
  if (!normal.ok) return normal;
  const isStrict = mode === "strict";
  const compared = comparedOutboundPath(policy, path);
  if (!index.isRead) return { ok: true, path: compared };
  const all = [compared];
  // An app may normalise it before it reads it in another way, or the other way round.
  for (const text of isStrict ? new Set([compared, normal.path]) : []) {
    if (!isAmbiguousPath(text) && !text.includes("\\")) continue;
    const readings = otherReadings(text);
    if (hidesDotSegments(text, readings)) return HIDDEN_DOTS;
    all.push(...readings);
  }
  if (isStrict && compared.includes("\\")) {
    // To some a backslash is a character like others.
    const kept = compared.replaceAll("\\", "%5C");
    all.push(kept, ...otherReadings(kept));
  }
  // Nobody normalises it before the destination, which may remove empty segments before dot segments.
  const merged = isStrict ? all.filter(hasEmptySegment).flatMap(withoutEmptySegments) : [];
  return isReadAlike(policy, index, compared, [...all, ...merged]) ? { ok: true, path: compared } : NOT_PLAIN;
}

/** An outbound request's path as policies compare it, if they do: strict gives its escapes capitals. */
export function comparedOutboundPath({ options }: CompiledPolicy, path: string): string {
  return options.mode === "strict" && options.pathNormalization !== "NONE" ? withCapitalEscapes(path) : path;
}

const AMBIGUOUS = { ok: false, code: "E_PATH_AMBIGUOUS" } as const;
const HIDDEN_DOTS: NormalizedPath = {
  ...AMBIGUOUS,
  reason:
    "the path has dot segments behind encoded slashes, encoded backslashes or ; parameters, and policies read paths",
};
const READ_DIFFERENTLY: NormalizedPath = {
  ...AMBIGUOUS,
  reason:
    "the path has an encoded slash, an encoded backslash or a ; parameter, and a policy would match it differently without",
};
const NOT_PLAIN: NormalizedPath = {
  ...AMBIGUOUS,
  reason: "the path is not in its plain form, and an OUTBOUND policy would match that differently",
};

/** Whether each path value matches the path and all readings, as they are and normalised, or none of these. */
function isReadAlike(policy: CompiledPolicy, index: PathIndex, path: string, readings: readonly string[]): boolean {
  const { mode, pathNormalization } = policy.options;
  const texts = new Set<string>();
  for (const reading of new Set(readings)) {
    const normal = normalizePath(reading, "", pathNormalization, mode);
    if (!normal.ok) return false;
    // Not every app merges what became two slashes.
    texts.add(normal.path).add(reading);
  }
  return !matchedDifferently(index, policy.memory.words, mode, path, [...texts]);
}

/** Whether a backslash is a slash or not. */
function withoutEmptySegments(path: string): readonly string[] {
  return [path.replaceAll(/\/{2,}/g, "/"), path.replaceAll(/[/\\]{2,}/g, "/")];
}

function hasEmptySegment(path: string): boolean {
  return /[/\\]{2}/.test(path);
}
