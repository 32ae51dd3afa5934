import { type Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, parseDocument } from "yaml";
import type { SourcePosition } from "../core/errors.ts";
import { type Environment, expandEnvironment } from "./environment.ts";
import type { Problems } from "./problems.ts";

/** One value of a YAML file with its place. Immutable, aliases resolved, environment variables filled in. */
export type YamlNode =
  | { readonly kind: "map"; readonly at: SourcePosition; readonly entries: readonly YamlEntry[] }
  | { readonly kind: "list"; readonly at: SourcePosition; readonly items: readonly YamlNode[] }
  | YamlText
  | { readonly kind: "number"; readonly at: SourcePosition; readonly value: number; readonly source: string }
  | { readonly kind: "boolean"; readonly at: SourcePosition; readonly value: boolean }
  | { readonly kind: "null"; readonly at: SourcePosition };

export interface YamlText {
  readonly kind: "text";
  readonly at: SourcePosition;
  /** After expansion. It may hold a secret of the environment: never shown when `expanded` is true. */
  readonly value: string;
  /** As written, with its `${…}`: what messages may show. */
  readonly source: string;
  readonly expanded: boolean;
}

export interface YamlEntry {
  readonly key: string;
  readonly keyAt: SourcePosition;
  readonly value: YamlNode;
}

const MAX_TEXT_CHARS = 1024 * 1024;
/** Counted after aliases are resolved: what stops a bomb of nested aliases. */
const MAX_NODES = 50_000;
const MAX_DEPTH = 64;
const MAX_SYNTAX_ERRORS = 20;

interface Reading {
  readonly document: Document;
  readonly environment: Environment;
  readonly problems: Problems;
  readonly at: (offset: number) => SourcePosition;
  nodesLeft: number;
}

/** Reads one YAML 1.2 document into a tree with positions. Duplicate keys, keys that are no strings, unknown tags,
 *  several documents, other YAML versions, texts over 1 MiB, more than 50 000 nodes and nesting beyond 64 are errors.
 *  Returns undefined when there is no usable tree; every finding is in `problems`. */
export function parseYamlTree(
  text: string,
  file: string,
  environment: Environment,
  problems: Problems,
): YamlNode | undefined {
  if (text.length > MAX_TEXT_CHARS) {
    problems.error("E_CONFIG_YAML", { file }, `is larger than ${MAX_TEXT_CHARS} characters`, "split or shorten it");
    return undefined;
  }
  const lines = new LineCounter();
  const at = (offset: number): SourcePosition => {
    const { line, col } = lines.linePos(offset);
    return { file, line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const document = parseDocument(text, {
    lineCounter: lines,
    logLevel: "error", // "silent" would also hide that there are several documents
    prettyErrors: false, // the pretty form quotes the file's lines, whatever they hold
    stringKeys: true,
    uniqueKeys: false, // checked below, with the place of the first one and in linear time
    resolveKnownTags: false,
    version: "1.2",
  });
  const findings = [...document.errors, ...document.warnings];
  for (const finding of findings.slice(0, MAX_SYNTAX_ERRORS)) {
    problems.error("E_CONFIG_YAML", at(finding.pos[0]), ...describeSyntax(finding.code, finding.message));
  }
  if (document.directives !== undefined && document.directives.yaml.version !== "1.2") {
    problems.error(
      "E_CONFIG_YAML",
      { file, line: 1, column: 1 },
      "declares a YAML version other than 1.2",
      "remove the %YAML line",
    );
    return undefined;
  }
  if (findings.length > 0) return undefined;
  if (document.contents === null) return { kind: "null", at: { file, line: 1, column: 1 } };
  return convert(document.contents, { document, environment, problems, at, nodesLeft: MAX_NODES }, []);
}

function describeSyntax(code: string, message: string): [message: string, fix: string | undefined] {
  const line = message.split("\n", 1)[0] ?? message;
  switch (code) {
    case "MULTIPLE_DOCS":
      return ["holds more than one YAML document", "remove the `---` and what follows it"];
    case "RESOURCE_EXHAUSTION":
      return ["is nested too deeply", "flatten it"];
    case "NON_STRING_KEY":
      return ["has a key that is no plain text", "write the key as a word"];
    case "TAG_RESOLVE_FAILED":
      return [line, "remove the tag (the word that starts with !)"];
    case "TAB_AS_INDENT":
      return [line, "indent with spaces"];
    default:
      return [line, undefined];
  }
}

/** `above` holds the collections around this node: an alias to one of them would never end. */
function convert(node: Node, reading: Reading, above: readonly Node[]): YamlNode | undefined {
  const at = reading.at(node.range?.[0] ?? 0);
  if (reading.nodesLeft-- <= 0) {
    // Reported once: nodesLeft is then below zero for everything that follows.
    if (reading.nodesLeft === -1) {
      reading.problems.error("E_CONFIG_YAML", at, `holds more than ${MAX_NODES} values, aliases counted`, "shorten it");
    }
    return undefined;
  }
  if (above.length > MAX_DEPTH) {
    reading.problems.error("E_CONFIG_YAML", at, `is nested deeper than ${MAX_DEPTH}`, "flatten it");
    return undefined;
  }
  if (isAlias(node)) {
    const target = node.resolve(reading.document);
    if (target === undefined || above.includes(target)) {
      const why = target === undefined ? "names no anchor before it" : "contains itself";
      reading.problems.error("E_CONFIG_YAML", at, `the alias *${node.source} ${why}`, "write the value out");
      return undefined;
    }
    return convert(target, reading, above);
  }
  if (isMap(node)) return convertMap(node, at, reading, above);
  if (isSeq(node)) {
    const items: YamlNode[] = [];
    for (const item of node.items) {
      const converted = convert(item as Node, reading, [...above, node]);
      if (converted !== undefined) items.push(converted);
    }
    return { kind: "list", at, items };
  }
  if (isScalar(node)) return convertScalar(node.value, node.source ?? "", at, reading);
  return undefined;
}

function convertMap(
  node: Extract<Node, { items: unknown }> & { items: readonly { key: unknown; value: unknown }[] },
  at: SourcePosition,
  reading: Reading,
  above: readonly Node[],
): YamlNode {
  const entries: YamlEntry[] = [];
  const seen = new Map<string, SourcePosition>();
  for (const pair of node.items) {
    const keyNode = pair.key as Node;
    const keyAt = reading.at(keyNode.range?.[0] ?? 0);
    if (!isScalar(keyNode) || typeof keyNode.value !== "string") {
      reading.problems.error("E_CONFIG_YAML", keyAt, "has a key that is no plain text", "write the key as a word");
      continue;
    }
    const key = keyNode.value;
    const first = seen.get(key);
    if (first !== undefined) {
      reading.problems.error(
        "E_CONFIG_YAML",
        keyAt,
        `the key ${JSON.stringify(key)} already stands at line ${first.line}`,
        "keep one of the two",
      );
      continue;
    }
    seen.set(key, keyAt);
    const value =
      pair.value === null
        ? { kind: "null" as const, at: keyAt }
        : convert(pair.value as Node, reading, [...above, node as Node]);
    if (value !== undefined) entries.push({ key, keyAt, value });
  }
  return { kind: "map", at, entries };
}

function convertScalar(value: unknown, source: string, at: SourcePosition, reading: Reading): YamlNode | undefined {
  if (typeof value === "number") return { kind: "number", at, value, source };
  if (typeof value === "boolean") return { kind: "boolean", at, value };
  if (typeof value !== "string") return { kind: "null", at };
  const expansion = expandEnvironment(value, reading.environment);
  for (const { message, fix } of expansion.problems) reading.problems.error("E_CONFIG_ENV", at, message, fix);
  if (expansion.problems.length > 0) return undefined;
  return { kind: "text", at, value: expansion.text, source: value, expanded: expansion.text !== value };
}
