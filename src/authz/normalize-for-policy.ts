import type { CompiledPolicy } from "./compiled-policy.ts";
import { matchedDifferently } from "./path-index.ts";
import { type NormalizedPath, normalizePath } from "./path-normalization.ts";

/** The path that policy, routing and the app see of an inbound request, or why it is answered with 400 (authorization, section 10).
 *  `path` and `query` are the two parts of the target as received; the query stays as it is. strict: a path with an encoded slash or
 *  backslash, or with a `;` parameter, is refused when a path value of the policies would match it differently without, for some apps
 *  read it that way. */
export function normalizeForPolicy(policy: CompiledPolicy, path: string, query: string): NormalizedPath {
  const { mode, pathNormalization } = policy.options;
  const normal = normalizePath(path, query, pathNormalization, mode);
  if (!normal.ok || mode === "istio" || !isAmbiguous(normal.path)) return normal;
  for (const reading of otherReadings(normal.path)) {
    const other = normalizePath(reading, "", pathNormalization, mode);
    if (!other.ok || matchedDifferently(policy.paths, policy.memory.words, mode, normal.path, other.path)) {
      const reason =
        "the path has an encoded slash, an encoded backslash or a ; parameter, and a policy would match it differently without";
      return { ok: false, code: "E_PATH_AMBIGUOUS", reason };
    }
  }
  return normal;
}

/** Why an outbound request's path is answered with 400, or the path as it is: outbound paths are never rewritten, for they may be signed. It is
 *  refused when an OUTBOUND policy would match its normalised form, or another that an app may read in it, differently. */
export function checkOutboundPath(policy: CompiledPolicy, path: string, query: string): NormalizedPath {
  const { mode, pathNormalization } = policy.options;
  const normal = normalizePath(path, query, pathNormalization, mode);
  if (!normal.ok) return normal;
  const readings = mode === "strict" && isAmbiguous(normal.path) ? otherReadings(normal.path) : [];
  for (const reading of [normal.path, ...readings]) {
    const other = reading === normal.path ? normal : normalizePath(reading, "", pathNormalization, mode);
    if (other.ok && !matchedDifferently(policy.outboundPaths, policy.memory.words, mode, path, other.path)) continue;
    const reason = "the path is not in its plain form, and an OUTBOUND policy would match that differently";
    return { ok: false, code: "E_PATH_AMBIGUOUS", reason };
  }
  return { ok: true, path };
}

function isAmbiguous(path: string): boolean {
  for (let i = 0; i < path.length; i++) {
    const code = path.charCodeAt(i);
    if (code === 0x3b) return true;
    if (code === 0x25 && /^(?:2f|5c)$/i.test(path.slice(i + 1, i + 3))) return true;
  }
  return false;
}

/** How an app might read the path: with its escaped slashes decoded, without its parameters, or both. */
function otherReadings(path: string): readonly string[] {
  const decode = (text: string) => text.replaceAll(/%2f/gi, "/").replaceAll(/%5c/gi, "\\");
  const withoutParameters = (text: string) => text.replaceAll(/;[^/]*/g, "");
  const decoded = decode(path);
  const plain = withoutParameters(path);
  // Parameters end at a slash: whether an escaped one counts depends on which is done first.
  return [...new Set([decoded, plain, decode(plain), withoutParameters(decoded)])].filter((text) => text !== path);
}
