import { type Alias, type Document, isAlias, isMap, isScalar, isSeq, LineCounter, type Node, visit } from "yaml";
import type { SourcePosition } from "../core/errors.ts";
import type { Findings } from "./findings.ts";
import { readSimpleYaml, type TakeDocument } from "./simple-yaml.ts";
import { parseInSteps } from "./yaml-steps.ts";

/** One value of a policy file with its place. Aliases are resolved. */
export type YamlValue =
  | { readonly kind: "map"; readonly at: SourcePosition; readonly entries: readonly YamlEntry[] }
  | { readonly kind: "list"; readonly at: SourcePosition; readonly items: readonly YamlValue[] }
  | {
      readonly kind: "text";
      readonly at: SourcePosition;
      readonly text: string;
      /** Where its first character stands, when its lines and columns are those of the file. */
      readonly inner?: SourcePosition;
    }
  /** A number or boolean, as written: Kubernetes refuses one where a text belongs. */
  | { readonly kind: "bare"; readonly at: SourcePosition; readonly text: string }
  | { readonly kind: "null"; readonly at: SourcePosition };

export type YamlMap = Extract<YamlValue, { kind: "map" }>;

export interface YamlEntry {
  readonly key: string;
  readonly at: SourcePosition;
  readonly value: YamlValue;
}

const MAX_FILE_CHARS = 16 * 1024 * 1024;
/** Counted after aliases are resolved. */
const MAX_VALUES = 1_000_000;
/** What stops a bomb of nested aliases; each is looked for in the whole document. */
const MAX_ALIASES = 1_000;
const MAX_DEPTH = 32;
const MAX_SYNTAX_ERRORS = 20;
const RENDER = "the file holds {{, as templates do: render the template first (helm template)";

interface Budget {
  values: number;
  aliases: number;
  /** How much was left out, which is said in the findings: a document without it would seem to be wrong elsewhere. */
  leftOut: number;
}

interface Reading {
  /** What the document's aliases stand for; read once one is met. */
  readonly targets: () => ReadonlyMap<Alias, Node>;
  readonly findings: Findings;
  readonly text: string;
  readonly at: (offset: number | undefined) => SourcePosition;
  readonly budget: Budget;
}

/** Who gets the documents of a file. */
export interface DocumentTaker {
  readonly take: TakeDocument;
  /** All that was taken from this file comes again. */
  readonly takeBack: () => void;
}

/** Reads a file of any number of YAML 1.2 documents, which `take` gets one by one; empty ones are skipped. Everything that is wrong is in
 *  `findings`, a document with errors is left out. */
export function* readYamlDocuments(
  file: string,
  text: string,
  findings: Findings,
  { take, takeBack }: DocumentTaker,
): Generator<void, void> {
  const start = { file, line: 1, column: 1 };
  if (text.length > MAX_FILE_CHARS) {
    findings.error("E_POLICY_YAML", start, `the file is larger than ${MAX_FILE_CHARS} characters`, "split it");
    return;
  }
  if (yield* readSimpleYaml(file, text, take)) return;
  takeBack();
  for (const document of yield* readAnyYaml(file, text, findings)) yield* take(document);
}

/** All of them by the library alone, whatever stands in the file. */
export function* readAnyYaml(file: string, text: string, findings: Findings): Generator<void, readonly YamlValue[]> {
  const start = { file, line: 1, column: 1 };
  const lines = new LineCounter();
  const at = (offset: number | undefined): SourcePosition => {
    const { line, col } = lines.linePos(offset ?? 0);
    return { file, line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const isTemplate = text.includes("{{");
  let isNothing = true;
  const values: YamlValue[] = [];
  const budget: Budget = { values: MAX_VALUES, aliases: MAX_ALIASES, leftOut: 0 };
  for (const step of parseInSteps(text, lines)) {
    if (step === undefined) {
      yield;
      continue;
    }
    const { document, rules } = step;
    isNothing &&= document.errors.length === 0 && isEmpty(document);
    const problems = [document, ...rules].flatMap(({ errors, warnings }) => [...errors, ...warnings]);
    // What a template makes the parser say is one mistake, whose place tells nothing.
    for (const problem of problems.slice(0, isTemplate ? 1 : MAX_SYNTAX_ERRORS)) {
      const message = problem.message.split("\n", 1)[0] ?? "";
      findings.error("E_POLICY_YAML", at(problem.pos[0]), message, isTemplate ? RENDER : "correct the YAML here");
    }
    if (problems.length > 0 || document.contents === null) continue;
    const before = budget.leftOut;
    const value = convert(document.contents, { targets: aliasTargets(document), findings, text, at, budget }, []);
    yield;
    const items: YamlValue[] = [];
    for (const part of rules) {
      const list =
        part.contents === null
          ? undefined
          : convert(part.contents, { targets: aliasTargets(part), findings, text, at, budget }, []);
      if (list?.kind === "list") items.push(...list.items);
      yield;
    }
    const isWhole = budget.leftOut === before;
    if (isWhole && value !== undefined && value.kind !== "null")
      values.push(items.length === 0 ? value : withRules(value, items));
  }
  if (isNothing) {
    findings.error("E_POLICY_NO_DOCUMENTS", start, "the file holds no policy", "write a policy into it, or remove it");
  }
  return values;
}

/** Puts the rules that were read apart back to their place. */
function withRules(
  value: YamlValue,
  items: readonly YamlValue[],
  path: readonly string[] = ["spec", "rules"],
): YamlValue {
  const [name, ...rest] = path;
  if (name === undefined) return value.kind === "list" ? { ...value, items } : value;
  if (value.kind !== "map") return value;
  const entries = value.entries.map((entry) =>
    entry.key === name ? { ...entry, value: withRules(entry.value, items, rest) } : entry,
  );
  return { ...value, entries };
}

function isEmpty(document: Document): boolean {
  return document.contents === null || (isScalar(document.contents) && document.contents.value === null);
}

/** `above` holds the collections around this node: an alias to one of them would never end. */
function convert(node: Node, reading: Reading, above: readonly Node[]): YamlValue | undefined {
  const at = reading.at(node.range?.[0]);
  const { budget, findings } = reading;
  if (budget.values === 0) return leaveOut(reading); // said before
  if (--budget.values === 0) {
    findings.error("E_POLICY_YAML", at, "the file holds too many values, aliases counted", "split it");
    return leaveOut(reading);
  }
  if (above.length > MAX_DEPTH) {
    findings.error("E_POLICY_YAML", at, "nested too deeply", "flatten it");
    return leaveOut(reading);
  }
  if (isAlias(node)) return convertAlias(node, at, reading, above);
  if (isMap(node)) return { kind: "map", at, entries: convertPairs(node, reading, above) };
  if (isSeq(node)) {
    const items = node.items.map((item) => convert(item as Node, reading, [...above, node]));
    return { kind: "list", at, items: items.filter((item) => item !== undefined) };
  }
  if (!isScalar(node)) return undefined;
  if (typeof node.value === "string") return { kind: "text", at, text: node.value };
  return node.value === null ? { kind: "null", at } : { kind: "bare", at, text: node.source ?? "" };
}

/** What each alias stands for, in one pass: the last node before it that has the anchor (YAML 1.2.2 section 7.1). */
function aliasTargets(document: Document): () => ReadonlyMap<Alias, Node> {
  let targets: Map<Alias, Node> | undefined;
  return () => {
    if (targets !== undefined) return targets;
    const found = new Map<Alias, Node>();
    const anchors = new Map<string, Node>();
    visit(document, {
      Node(_, node) {
        const target = isAlias(node) ? anchors.get(node.source) : undefined;
        if (isAlias(node) && target !== undefined) found.set(node, target);
        if (!isAlias(node) && node.anchor !== undefined) anchors.set(node.anchor, node);
      },
    });
    targets = found;
    return found;
  };
}

function leaveOut({ budget }: Reading): undefined {
  budget.leftOut++;
}

/** Where the first character of a text stands, when lines and columns inside it are those of the file. */
function innerOf(node: Node, at: SourcePosition, text: string): SourcePosition | undefined {
  const { line = 1, column = 1, file } = at;
  const start = node.range?.[0] ?? 0;
  if (!isScalar(node) || typeof node.value !== "string") return undefined;
  if (node.type === "PLAIN") return node.value.includes("\n") ? undefined : at;
  if (node.type === "QUOTE_DOUBLE" || node.type === "QUOTE_SINGLE")
    return text.startsWith(node.value, start + 1) ? { file, line, column: column + 1 } : undefined;
  if (node.type !== "BLOCK_LITERAL") return undefined;
  const first = text.indexOf("\n", start) + 1;
  const [indent = ""] = /^ */.exec(text.slice(first, first + 200)) ?? [];
  return { file, line: line + 1, column: indent.length + 1 };
}

function convertAlias(
  node: Alias,
  at: SourcePosition,
  reading: Reading,
  above: readonly Node[],
): YamlValue | undefined {
  const { budget, findings, targets } = reading;
  if (--budget.aliases === 0) {
    findings.error("E_POLICY_YAML", at, `the file holds more than ${MAX_ALIASES} aliases`, "write the values out");
    budget.values = 0;
    return leaveOut(reading);
  }
  const target = targets().get(node);
  if (target !== undefined && !above.includes(target)) return convert(target, reading, above);
  const why = target === undefined ? "names no anchor before it" : "contains itself";
  findings.error("E_POLICY_YAML", at, `the alias *${node.source} ${why}`, "write the value out");
  return leaveOut(reading);
}

function convertPairs(node: Extract<Node, { items: unknown }>, reading: Reading, above: readonly Node[]): YamlEntry[] {
  const entries: YamlEntry[] = [];
  const seen = new Map<string, SourcePosition>();
  for (const pair of node.items as readonly { key: unknown; value: unknown }[]) {
    // The parser refuses keys that are no scalars (`stringKeys`).
    if (!isScalar(pair.key)) continue;
    const key = String(pair.key.value);
    const at = reading.at(pair.key.range?.[0]);
    const first = seen.get(key);
    if (first !== undefined) {
      const message = `the key ${JSON.stringify(key)} already stands at line ${first.line}`;
      reading.findings.error("E_POLICY_YAML", at, message, "keep one of the two");
      continue;
    }
    seen.set(key, at);
    const value =
      pair.value === null || pair.value === undefined
        ? { kind: "null" as const, at }
        : convert(pair.value as Node, reading, [...above, node]);
    if (value === undefined) continue;
    // Expressions have errors inside them; nothing else is long enough for its inner places to matter.
    const inner = key === "conditions" ? innerOf(pair.value as Node, value.at, reading.text) : undefined;
    const located = inner !== undefined && value.kind === "text" ? { ...value, inner } : value;
    entries.push({ key, at, value: located });
  }
  return entries;
}
