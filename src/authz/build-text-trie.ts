import type { GrowingWords } from "./growing-words.ts";
import {
  FORKS,
  HAS_CHILDREN,
  HAS_EXACT,
  HAS_PREFIX,
  HAS_TAIL,
  IS_SPARSE,
  IS_WIDE,
  LAST,
  LENGTH_SHIFT,
  NONE,
  SEGMENT,
  SEGMENT_CODE,
  SPAN_BITS,
} from "./text-trie.ts";

/** Longest span of a table, which must fit below SPAN_BITS; beyond it children are pairs. */
const MAX_SPAN = 256;
/** Places of a table for two characters. */
const MAX_WIDE = 1024;

interface Growing {
  label: string;
  exact: number;
  prefix: number;
  children: Map<number, Growing> | undefined;
}

/** One text with the value that stands for it. */
export interface TrieEntry {
  readonly text: string;
  readonly form: "exact" | "affix";
  /** Not negative. The same text and form twice keeps the last. */
  readonly value: number;
}

/** Writes a tree behind the words, yielding every few entries, and returns the place of its root. `fromEnd`: for ends of texts. */
export function* buildTextTrie(
  entries: Iterable<TrieEntry>,
  fromEnd: boolean,
  words: GrowingWords,
): Generator<void, number> {
  const root: Growing = { label: "", exact: -1, prefix: -1, children: undefined };
  let count = 0;
  for (const { text, form, value } of entries) {
    const node = insert(root, fromEnd ? text.split("").reverse().join("") : text);
    if (form === "exact") node.exact = value;
    else node.prefix = value;
    if ((++count & 63) === 0) yield;
  }
  return yield* flatten(root, words);
}

function insert(root: Growing, text: string): Growing {
  let node = root;
  let rest = text;
  while (rest !== "") {
    node.children ??= new Map();
    const child = node.children.get(rest.charCodeAt(0));
    if (child === undefined) {
      // A segment begins a node.
      const end = rest.indexOf(SEGMENT, 1);
      const label = end < 0 ? rest : rest.slice(0, end);
      const next: Growing = { label, exact: -1, prefix: -1, children: undefined };
      node.children.set(rest.charCodeAt(0), next);
      node = next;
      rest = rest.slice(label.length);
      continue;
    }
    let shared = 1;
    const most = Math.min(rest.length, child.label.length);
    while (shared < most && rest.charCodeAt(shared) === child.label.charCodeAt(shared)) shared++;
    if (shared < child.label.length) {
      const lower: Growing = { ...child, label: child.label.slice(shared) };
      child.label = child.label.slice(0, shared);
      child.exact = -1;
      child.prefix = -1;
      child.children = new Map([[lower.label.charCodeAt(0), lower]]);
    }
    node = child;
    rest = rest.slice(shared);
  }
  return node;
}

function* flatten(root: Growing, words: GrowingWords): Generator<void, number> {
  /** Nodes to be written, and the place that names each. */
  const order: { readonly node: Growing; readonly named: number }[] = [{ node: root, named: -1 }];
  const first = words.length;
  for (let i = 0; i < order.length; i++) {
    const { node, named } = order[i] ?? { node: root, named: -1 };
    const place = writeNode(node, words, (child, at) => order.push({ node: child, named: at }));
    if (named >= 0) words.set(named, place);
    if ((i & 63) === 63) yield;
  }
  return first;
}

function writeNode(node: Growing, words: GrowingWords, later: (child: Growing, named: number) => void): number {
  const { label: whole, exact, prefix, children = NO_CHILDREN } = node;
  const label = whole.slice(1);
  const first = spanOf(children.keys());
  const isSparse = first.span > MAX_SPAN;
  const second = isSparse ? undefined : secondSpan(children, first);
  const below =
    second === undefined ? [...children] : [...children.values()].flatMap((row) => [...(row.children ?? [])]);
  const tail = isSparse ? undefined : tailOf(below);
  const flags =
    (exact >= 0 ? HAS_EXACT : 0) |
    (prefix >= 0 ? HAS_PREFIX : 0) |
    (children.size > 0 ? HAS_CHILDREN : 0) |
    (children.has(SEGMENT_CODE) ? FORKS : 0) |
    (isSparse ? IS_SPARSE : 0) |
    (second === undefined ? 0 : IS_WIDE) |
    (tail === undefined ? 0 : HAS_TAIL);
  const place = words.add(flags | (label.length << LENGTH_SHIFT));
  if (exact >= 0) words.add(exact);
  if (prefix >= 0) words.add(prefix);
  if (children.size > 0) words.add(isSparse ? children.size : packSpan(first));
  writeText(label, words);
  const write = (child: Growing | undefined): void => {
    if (child === undefined) words.add(NONE);
    else if (isLast(child, tail)) words.add(LAST - Math.max(child.exact, child.prefix));
    else later(child, words.add(NONE));
  };
  if (isSparse) {
    for (const code of [...children.keys()].sort((a, b) => a - b)) {
      words.add(code);
      write(children.get(code));
    }
  } else if (second === undefined) for (let i = 0; i < first.span; i++) write(children.get(first.min + i));
  else {
    words.add(packSpan(second));
    for (let i = 0; i < first.span; i++) {
      const row = children.get(first.min + i)?.children ?? NO_CHILDREN;
      for (let j = 0; j < second.span; j++) write(row.get(second.min + j));
    }
  }
  if (tail !== undefined) {
    words.add((tail.text.length << 1) | (tail.isPrefix ? 1 : 0));
    writeText(tail.text, words);
  }
  return place;
}

const NO_CHILDREN: ReadonlyMap<number, Growing> = new Map();

interface Span {
  readonly min: number;
  readonly span: number;
}

function spanOf(codes: Iterable<number>): Span {
  let [min, max] = [Number.POSITIVE_INFINITY, -1];
  for (const code of codes) {
    min = Math.min(min, code);
    max = Math.max(max, code);
  }
  return max < 0 ? { min: 0, span: 0 } : { min, span: max - min + 1 };
}

function packSpan({ min, span }: Span): number {
  return (min << SPAN_BITS) | span;
}

/** That of the second characters where a table for two is at least half full, and nothing ends or begins with the first. */
function secondSpan(children: ReadonlyMap<number, Growing>, first: Span): Span | undefined {
  const codes = new Set<number>();
  let count = 0;
  for (const [code, { label, exact, prefix, children: below }] of children) {
    if (code === SEGMENT_CODE || label.length > 1 || exact >= 0 || prefix >= 0 || below === undefined) return undefined;
    for (const key of below.keys()) codes.add(key);
    count += below.size;
  }
  const second = spanOf(codes);
  const places = first.span * second.span;
  if (count === 0 || codes.has(SEGMENT_CODE) || second.span > MAX_SPAN) return undefined;
  if (places > Math.min(MAX_WIDE, 2 * count)) return undefined;
  return second;
}

interface Tail {
  readonly text: string;
  readonly isPrefix: boolean;
}

/** What all children that have no children go on with; undefined: they do not, or they just end. */
function tailOf(children: readonly (readonly [number, Growing])[]): Tail | undefined {
  let tail: Tail | undefined;
  for (const [code, { label, exact, prefix, children: below }] of children) {
    if (code === SEGMENT_CODE || (below === undefined && exact >= 0 && prefix >= 0)) return undefined;
    if (below !== undefined) continue;
    tail ??= { text: label.slice(1), isPrefix: prefix >= 0 };
    if (tail.text !== label.slice(1) || tail.isPrefix !== prefix >= 0) return undefined;
  }
  return tail === undefined || (tail.text === "" && !tail.isPrefix) ? undefined : tail;
}

function writeText(text: string, words: GrowingWords): void {
  for (let i = 0; i < text.length; i += 2) words.add(pairAt(text, i));
}

/** Two characters of a label as one number. */
function pairAt(label: string, at: number): number {
  return label.charCodeAt(at) | (at + 1 < label.length ? label.charCodeAt(at + 1) << 16 : 0);
}

/** Whether the node only says that a text ends with its one character, or goes on with the tail. */
function isLast({ label, exact, prefix, children }: Growing, tail: Tail | undefined): boolean {
  if (children !== undefined || label.startsWith(SEGMENT)) return false;
  return tail !== undefined || (label.length === 1 && exact >= 0 && prefix < 0);
}
