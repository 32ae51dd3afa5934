import type { SourcePosition } from "../core/errors.ts";
import { collectProblems } from "./problems.ts";
import { parseYamlTree, type YamlNode } from "./yaml-tree.ts";

/** Where a value stands in a file, for findings that come after the file was read. The nearest place that exists on the
 *  way: a value that is a default has none of its own. */
export function findPlace(text: string, file: string, path: readonly (string | number)[]): SourcePosition {
  let node: YamlNode | undefined = parseYamlTree(text, file, {}, collectProblems());
  let at: SourcePosition = node?.at ?? { file };
  for (const step of path) {
    if (node?.kind === "map") node = node.entries.find(({ key }) => key === step)?.value;
    else node = node?.kind === "list" && typeof step === "number" ? node.items[step] : undefined;
    if (node === undefined) return at;
    at = node.at;
  }
  return at;
}
