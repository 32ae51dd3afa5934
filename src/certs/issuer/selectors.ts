import { isAbsolute, normalize } from "node:path";

/** One condition on a caller, in SPIRE's terms (unix workload attestor). */
export type Selector =
  | { readonly kind: "uid" | "gid"; readonly value: number }
  | { readonly kind: "path" | "sha256"; readonly value: string };

const MAX_ID = 0xffff_fffe; // -1 is nobody at all

/** Reads `unix:uid:1001`, `unix:gid:1001`, `unix:path:/usr/bin/app` or `unix:sha256:<64 hex digits>`.
 *  Returns a text that says what is wrong otherwise. */
export function parseSelector(text: string): Selector | string {
  const [, kind = "", value = ""] = /^unix:([a-z0-9_]+):(.*)$/s.exec(text) ?? [];
  switch (kind) {
    case "uid":
    case "gid": {
      const id = /^(?:0|[1-9][0-9]{0,9})$/.test(value) ? Number(value) : Number.NaN;
      return id <= MAX_ID ? { kind, value: id } : `has no plain decimal ${kind}`;
    }
    case "path":
      // A path that is not in its shortest form would silently never match what the kernel reports.
      return isAbsolute(value) && normalize(value) === value && !value.endsWith("/")
        ? { kind, value }
        : "has no absolute path in its shortest form (no //, . or ..)";
    case "sha256":
      return /^[0-9a-f]{64}$/.test(value) ? { kind, value } : "has no SHA-256 of 64 lower-case hex digits";
    default:
      return "is not one of unix:uid:, unix:gid:, unix:path:, unix:sha256:";
  }
}

export function formatSelector(selector: Selector): string {
  return `unix:${selector.kind}:${selector.value}`;
}

/** The facts about a caller that selectors may look at. */
export interface CallerFacts {
  readonly uid: number;
  readonly gid: number;
  /** undefined: not known, so that nothing matches. */
  readonly path: string | undefined;
  readonly sha256: string | undefined;
}

export function matchesSelector(selector: Selector, caller: CallerFacts): boolean {
  return caller[selector.kind] === selector.value;
}
