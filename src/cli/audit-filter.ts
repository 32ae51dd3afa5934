import { type AuditRecord, member, withoutScheme } from "./audit-lines.ts";

/** What `audit tail` lets through; an absent member lets everything through. */
export interface AuditFilter {
  /** Of the caller or the called: `*` stands for any characters; with or without `spiffe://`. */
  readonly principal?: string | undefined;
  readonly decision?: string | undefined;
  /** The path begins with it. */
  readonly path?: string | undefined;
  readonly direction?: string | undefined;
}

/** Compiles the filter once; undefined when it lets everything through. */
export function compileAuditFilter(filter: AuditFilter): ((record: AuditRecord) => boolean) | undefined {
  const { decision, path, direction } = filter;
  const principal = filter.principal === undefined ? undefined : globOf(withoutScheme(filter.principal));
  if (principal === undefined && decision === undefined && path === undefined && direction === undefined)
    return undefined;
  return (record) => {
    if (decision !== undefined && member(record, "decision") !== decision) return false;
    if (direction !== undefined && member(record, "direction") !== direction) return false;
    if (path !== undefined && member(record, "path")?.startsWith(path) !== true) return false;
    if (principal === undefined) return true;
    return ["source.spiffe_id", "destination.spiffe_id"].some((side) => {
      const id = member(record, side);
      return id !== undefined && principal.test(withoutScheme(id));
    });
  };
}

function globOf(text: string): RegExp {
  const pieces = text.split(/\*+/).map((piece) => piece.replace(/[\\^$.+?()[\]{}|]/g, "\\$&"));
  return new RegExp(`^${pieces.join(".*")}$`, "s");
}
