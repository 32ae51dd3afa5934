import { looksLikeId } from "./path-tree.ts";

/** A path with `{*}` in place of what looks like an id: what calls are grouped by. Without its query. */
export function pathShape(path: string): string {
  const question = path.indexOf("?");
  const plain = question === -1 ? path : path.slice(0, question);
  return plain
    .split("/")
    .map((segment) => (looksLikeId(segment) ? "{*}" : segment))
    .join("/");
}
