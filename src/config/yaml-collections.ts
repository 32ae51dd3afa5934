import { didYouMean } from "../core/did-you-mean.ts";
import type { SourcePosition } from "../core/errors.ts";
import { type Invalid, invalid } from "./problems.ts";
import { badValue, inside, type JsonSchema, type ReadContext, type Shape, subject, wrongKind } from "./yaml-shape.ts";
import type { YamlNode } from "./yaml-tree.ts";

/** One key of a mapping. `node` is undefined when the key is absent; `at` is then the mapping's place. */
export interface Field<T> {
  readonly schema: JsonSchema;
  readonly required: boolean;
  /** Known, but refused in this version. */
  readonly unsupported: boolean;
  read(node: YamlNode | undefined, at: SourcePosition, context: ReadContext): T | Invalid;
}

type Fields = Readonly<Record<string, Field<unknown>>>;
type ValueOf<F> = F extends Field<infer T> ? T : never;
export type ObjectOf<F extends Fields> = { readonly [K in keyof F]: ValueOf<F[K]> };
export type VariantOf<F extends Fields> = {
  [K in keyof F & string]: { readonly kind: K; readonly value: Exclude<ValueOf<F[K]>, undefined> };
}[keyof F & string];
/** A default as a person would write it in YAML. */
type Written = string | number | boolean | readonly Written[] | { readonly [key: string]: Written };

export function required<T>(shape: Shape<T>, description: string): Field<T> {
  return {
    schema: { description, ...shape.schema },
    required: true,
    unsupported: false,
    read(node, at, context) {
      if (node !== undefined) return shape.read(node, context);
      return context.problems.error("E_CONFIG_MISSING", at, `${subject(context)} is missing`, `add it: ${description}`);
    },
  };
}

export function optional<T>(shape: Shape<T>, description: string): Field<T | undefined> {
  return {
    schema: { description, ...shape.schema },
    required: false,
    unsupported: false,
    read: (node, _at, context) => (node === undefined ? undefined : shape.read(node, context)),
  };
}

/** The default is written as in the file and read by the same shape. */
export function withDefault<T>(shape: Shape<T>, fallback: Written, description: string): Field<T> {
  return {
    schema: { description, ...shape.schema, default: fallback },
    required: false,
    unsupported: false,
    read: (node, at, context) => shape.read(node ?? nodeOf(fallback, at), context),
  };
}

/** A key that is part of the format, but that this version does not build: refused, never ignored. */
export function unsupported(description: string): Field<undefined> {
  return {
    schema: { description: `${description} Not built in this version.`, not: {} },
    required: false,
    unsupported: true,
    read(node, _at, context) {
      if (node === undefined) return undefined;
      const message = `${context.path} is not built in this version`;
      return context.problems.error("E_CONFIG_UNSUPPORTED", node.at, message, "remove it");
    },
  };
}

/** A mapping with known keys. Any other key is E_CONFIG_KEY with the key that was probably meant. */
export function object<const F extends Fields>(fields: F): Shape<ObjectOf<F>> {
  const known = Object.keys(fields);
  return {
    schema: objectSchema(fields, {
      required: known.filter((key) => fields[key]?.required === true),
    }),
    read(node, context) {
      if (node.kind !== "map") return wrongKind(node, context, "a mapping");
      // An unknown key stops the load, but not the look at the rest.
      reportUnknownKeys(node, known, fields, context);
      let valid = true;
      const value: Record<string, unknown> = {};
      for (const [key, field] of Object.entries(fields)) {
        const entry = node.entries.find((candidate) => candidate.key === key);
        const read = field.read(entry?.value, node.at, inside(context, key));
        if (read === invalid) valid = false;
        else value[key] = read;
      }
      return valid ? (value as ObjectOf<F>) : invalid;
    },
  };
}

/** A mapping that holds exactly one of the known keys, which says what kind of thing it is. */
export function variant<const F extends Fields>(what: string, fields: F): Shape<VariantOf<F>> {
  const known = Object.keys(fields);
  const offered = known.filter((key) => fields[key]?.unsupported !== true);
  const fix = `write exactly one of ${offered.join(", ")}`;
  return {
    schema: objectSchema(fields, { minProperties: 1, maxProperties: 1 }),
    read(node, context) {
      if (node.kind !== "map") return wrongKind(node, context, "a mapping", fix);
      if (!reportUnknownKeys(node, known, fields, context)) return invalid;
      const [entry, second] = node.entries;
      if (entry === undefined) return badValue(node, context, `names no ${what}`, fix);
      if (second !== undefined) {
        const message = `${subject(context)} names more than one ${what}`;
        return context.problems.error("E_CONFIG_VALUE", second.keyAt, message, fix);
      }
      const value = fields[entry.key]?.read(entry.value, node.at, inside(context, entry.key));
      return value === invalid ? invalid : ({ kind: entry.key, value } as unknown as VariantOf<F>);
    },
  };
}

function objectSchema(fields: Fields, more: JsonSchema): JsonSchema {
  const properties = Object.fromEntries(Object.entries(fields).map(([key, field]) => [key, field.schema]));
  return { type: "object", additionalProperties: false, properties, ...more };
}

function reportUnknownKeys(
  node: Extract<YamlNode, { kind: "map" }>,
  known: readonly string[],
  fields: Fields,
  context: ReadContext,
): boolean {
  let valid = true;
  for (const { key, keyAt } of node.entries) {
    if (Object.hasOwn(fields, key)) continue;
    valid = false;
    const meant = key === "<<" ? undefined : didYouMean(key, known);
    const fix =
      key === "<<"
        ? "write the keys out: YAML 1.2 has no merge keys"
        : meant === undefined
          ? `remove it; known here: ${known.join(", ")}`
          : `did you mean "${meant}"?`;
    context.problems.error("E_CONFIG_KEY", keyAt, `${subject(context)} has no key ${JSON.stringify(key)}`, fix);
  }
  return valid;
}

export function list<T>(
  item: Shape<T>,
  bounds: { readonly min?: number; readonly max?: number } = {},
): Shape<readonly T[]> {
  const { min = 0, max = 1000 } = bounds;
  return {
    schema: { type: "array", items: item.schema, ...(min > 0 ? { minItems: min } : {}), maxItems: max },
    read(node, context) {
      if (node.kind !== "list") return wrongKind(node, context, "a list", "write each item after a -, or all in [ ]");
      if (node.items.length < min) return badValue(node, context, `needs at least ${min} item`);
      if (node.items.length > max) return badValue(node, context, `has more than ${max} items`);
      const values: T[] = [];
      for (const [index, child] of node.items.entries()) {
        const value = item.read(child, inside(context, index));
        if (value !== invalid) values.push(value);
      }
      return values.length === node.items.length ? values : invalid;
    },
  };
}

/** A list, or a single item that stands for a list of one. */
export function oneOrList<T>(item: Shape<T>): Shape<readonly T[]> {
  const several = list(item, { min: 1 });
  return {
    schema: { anyOf: [item.schema, several.schema] },
    read(node, context) {
      if (node.kind === "list") return several.read(node, context);
      const value = item.read(node, context);
      return value === invalid ? invalid : [value];
    },
  };
}

/** A mapping with free keys, which `readKey` checks and converts. */
export function mapOf<K, V>(
  readKey: (key: string, at: SourcePosition, context: ReadContext) => K | Invalid,
  item: Shape<V>,
  bounds: { readonly min?: number; readonly max?: number } = {},
): Shape<ReadonlyMap<K, V>> {
  const { min = 0, max = 1000 } = bounds;
  return {
    schema: { type: "object", additionalProperties: item.schema, ...(min > 0 ? { minProperties: min } : {}) },
    read(node, context) {
      if (node.kind !== "map") return wrongKind(node, context, "a mapping");
      if (node.entries.length < min) return badValue(node, context, `needs at least ${min} entry`);
      if (node.entries.length > max) return badValue(node, context, `has more than ${max} entries`);
      const values = new Map<K, V>();
      let valid = true;
      for (const entry of node.entries) {
        const key = readKey(entry.key, entry.keyAt, context);
        const value = item.read(entry.value, inside(context, entry.key));
        if (key === invalid || value === invalid) valid = false;
        else values.set(key, value);
      }
      return valid ? values : invalid;
    },
  };
}

function nodeOf(written: Written, at: SourcePosition): YamlNode {
  if (typeof written === "string") return { kind: "text", at, value: written, source: written, expanded: false };
  if (typeof written === "number") return { kind: "number", at, value: written, source: String(written) };
  if (typeof written === "boolean") return { kind: "boolean", at, value: written };
  if (isList(written)) return { kind: "list", at, items: written.map((item) => nodeOf(item, at)) };
  const entries = Object.entries(written).map(([key, value]) => ({ key, keyAt: at, value: nodeOf(value, at) }));
  return { kind: "map", at, entries };
}

function isList(written: Written): written is readonly Written[] {
  return Array.isArray(written);
}
