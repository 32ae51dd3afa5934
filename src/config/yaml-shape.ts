import type { SourcePosition, Warning } from "../core/errors.ts";
import type { Environment } from "./environment.ts";
import { collectProblems, type Invalid, invalid, type Problems } from "./problems.ts";
import { parseYamlTree, type YamlNode } from "./yaml-tree.ts";

export type JsonSchema = Readonly<Record<string, unknown>>;

export interface ReadContext {
  /** `inbound[0].listen`; "" at the top. */
  readonly path: string;
  /** Absolute folder of the file, which relative paths are relative to. */
  readonly folder: string;
  readonly environment: Environment;
  readonly problems: Problems;
}

/** One definition of a value, for two uses: reading it with positions, and describing it to editors. */
export interface Shape<T> {
  readonly schema: JsonSchema;
  /** Reports what is wrong in the context's problems and then returns `invalid`. */
  read(node: YamlNode, context: ReadContext): T | Invalid;
}

/** Reads a whole YAML text by its shape. Pure. `folder` is the file's absolute folder.
 *  Throws CountersignErrors with every problem and its place. */
export function readYaml<T>(
  shape: Shape<T>,
  text: string,
  place: { readonly file: string; readonly folder: string },
  environment: Environment,
): { value: T; warnings: readonly Warning[] } {
  const problems = collectProblems();
  const root = parseYamlTree(text, place.file, environment, problems);
  const context = { path: "", folder: place.folder, environment, problems };
  const value = root === undefined ? invalid : shape.read(root, context);
  problems.throwIfAny();
  if (value === invalid) throw new TypeError("a shape returned `invalid` without reporting why");
  return { value, warnings: problems.warnings };
}

export function inside(context: ReadContext, key: string | number): ReadContext {
  const step = typeof key === "number" ? `[${key}]` : context.path === "" ? key : `.${key}`;
  return { ...context, path: context.path + step };
}

/** Reports E_CONFIG_VALUE: `<path> <message>`. */
export function badValue(node: YamlNode, context: ReadContext, message: string, fix?: string): Invalid {
  return context.problems.error("E_CONFIG_VALUE", node.at, `${subject(context)} ${message}`, fix);
}

export function wrongKind(node: YamlNode, context: ReadContext, wanted: string, fix?: string): Invalid {
  if (node.kind === "null" && context.path === "") return badValue(node, context, "is empty", `write ${wanted}`);
  if (node.kind === "null") return badValue(node, context, "has no value", fix ?? `write ${wanted}, or remove the key`);
  return badValue(node, context, `is ${kindNames[node.kind]}, not ${wanted}`, fix);
}

export function subject(context: ReadContext): string {
  return context.path === "" ? "the file" : context.path;
}

const kindNames = {
  map: "a mapping",
  list: "a list",
  text: "a text",
  number: "a number",
  boolean: "a boolean",
  null: "empty",
} as const;

/** Lets `${ENV}` stand where the schema would else ask for a number or a certain form. */
export function orVariable(schema: JsonSchema): JsonSchema {
  return { anyOf: [schema, { type: "string", pattern: "\\$\\{" }] };
}

/** Looks closer at, or converts, a value that has the right shape. */
export function refine<T, R>(
  shape: Shape<T>,
  check: (value: T, node: YamlNode, context: ReadContext) => R | Invalid,
): Shape<R> {
  return {
    schema: shape.schema,
    read(node, context) {
      const value = shape.read(node, context);
      return value === invalid ? invalid : check(value, node, context);
    },
  };
}

/** The place of a key's value in a mapping; the mapping's own place when the key is absent. */
export function placeOf(node: YamlNode, key: string): SourcePosition {
  if (node.kind !== "map") return node.at;
  return node.entries.find((entry) => entry.key === key)?.value.at ?? node.at;
}
