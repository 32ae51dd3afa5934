import type { GrowingWords } from "./growing-words.ts";

// A radix tree over the beginnings (or the ends) of texts, flat among the numbers of a set of policies, so that a lookup among a hundred
// thousand entries touches a few cache lines: a node's label and children stand right behind it. A lookup walks the text once and
// allocates nothing.

/** Stands in an entry for a `{*}` of a template: one segment, which is everything up to the next slash and at least one character. Texts that are
 *  looked up never have it. */
export const SEGMENT = "\u0000";
const SEGMENT_CODE = 0;
const SLASH = 0x2f;

// A node: its head; the value of the text that ends here, if one does; the value of all texts that begin so, if there is one; the span of its
// children, if it has any; its label, two characters in each number, in reading order of the walk; its children; its tail. The label is what
// follows the character or segment by which the node is a child.
// A head: these flags, and the length of the label above them.
const HAS_EXACT = 1;
const HAS_PREFIX = 2;
const HAS_CHILDREN = 4;
/** The first child is for a segment. */
const FORKS = 8;
/** Children are pairs of a character and a child, as the characters lie far apart; the span is how many. Otherwise they are a table, and the
 *  span is its first character above SPAN_BITS, its length below. */
const IS_SPARSE = 16;
/** Children are a table for two characters: before its rows stands the span of the second one. Numbers in texts make such tables, and each look into
 *  a table waits for memory. */
const IS_WIDE = 32;
/** What is LAST goes on with one more text, the same for all: behind the children stand its length above a bit that says whether any text may
 *  follow, and it. */
const HAS_TAIL = 64;
const LENGTH_SHIFT = 7;
const SPAN_BITS = 9;
const SPAN_MASK = (1 << SPAN_BITS) - 1;
const MAX_SPAN = 256;
const MAX_WIDE = 1024;

/** A child is the place of its node; or, where nothing but the end of a text (or the tail) comes behind the character, LAST less its value, so that
 *  most lookups end here; or NONE. */
const NONE = -1;
const LAST = -2;

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
  if (count === 0 || codes.has(SEGMENT_CODE) || places > Math.min(MAX_WIDE, 2 * count)) return undefined;
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

/** Where the label begins. */
function labelOf(node: number, head: number): number {
  return node + 1 + (head & HAS_EXACT) + ((head >> 1) & 1) + ((head >> 2) & 1);
}

function prefixOf(words: Int32Array, node: number, head: number): number {
  return words[node + 1 + (head & HAS_EXACT)] ?? 0;
}

/** Where the children begin. */
function childrenOf(node: number, head: number): number {
  return labelOf(node, head) + (((head >> LENGTH_SHIFT) + 1) >> 1);
}

/** What a node has for a character; not of a wide one. */
function childOf(words: Int32Array, node: number, head: number, code: number): number {
  if ((head & HAS_CHILDREN) === 0) return NONE;
  const label = labelOf(node, head);
  const children = label + (((head >> LENGTH_SHIFT) + 1) >> 1);
  const span = words[label - 1] ?? 0;
  if ((head & IS_SPARSE) === 0) {
    const slot = code - (span >> SPAN_BITS);
    return slot < 0 || slot >= (span & SPAN_MASK) ? NONE : (words[children + slot] ?? NONE);
  }
  for (let i = 0; i < span; i++) if (words[children + 2 * i] === code) return words[children + 2 * i + 1] ?? NONE;
  return NONE;
}

/** What a wide node has for two characters. */
function wideChildOf(words: Int32Array, node: number, head: number, code: number, next: number): number {
  const rows = childrenOf(node, head);
  const first = words[labelOf(node, head) - 1] ?? 0;
  const second = words[rows] ?? 0;
  const row = code - (first >> SPAN_BITS);
  const slot = next - (second >> SPAN_BITS);
  if (row < 0 || row >= (first & SPAN_MASK) || slot < 0 || slot >= (second & SPAN_MASK)) return NONE;
  return words[rows + 1 + row * (second & SPAN_MASK) + slot] ?? NONE;
}

/** Whether the text goes on from `used` with the tail of a node. */
function hasTail(words: Int32Array, node: number, head: number, fromEnd: boolean, text: string, used: number): boolean {
  const children = childrenOf(node, head);
  const span = (words[labelOf(node, head) - 1] ?? 0) & SPAN_MASK;
  const at = (head & IS_WIDE) === 0 ? children + span : children + 1 + span * ((words[children] ?? 0) & SPAN_MASK);
  const tail = words[at] ?? 0;
  const next = behindText(words, at + 1, tail >> 1, fromEnd, text, used);
  return (tail & 1) === 1 ? next >= 0 : next === text.length;
}

/** Offset behind the node's label when it fits the text from `used` on, or -1. */
function behindLabel(
  words: Int32Array,
  node: number,
  head: number,
  fromEnd: boolean,
  text: string,
  used: number,
): number {
  return behindText(words, labelOf(node, head), head >> LENGTH_SHIFT, fromEnd, text, used);
}

function behindText(
  words: Int32Array,
  place: number,
  length: number,
  fromEnd: boolean,
  text: string,
  used: number,
): number {
  const next = used + length;
  const end = text.length;
  if (next > end) return -1;
  let at = place;
  let i = 0;
  if (fromEnd) {
    const last = end - 1 - used;
    for (; i + 1 < length; i += 2)
      if ((text.charCodeAt(last - i) | (text.charCodeAt(last - i - 1) << 16)) !== words[at++]) return -1;
    return i < length && text.charCodeAt(last - i) !== words[at] ? -1 : next;
  }
  for (; i + 1 < length; i += 2)
    if ((text.charCodeAt(used + i) | (text.charCodeAt(used + i + 1) << 16)) !== words[at++]) return -1;
  return i < length && text.charCodeAt(used + i) !== words[at] ? -1 : next;
}

/** Offset behind a segment, which are found in texts from their beginning only; -1: there is none. */
function behindSegment(text: string, used: number): number {
  let next = used;
  while (next < text.length && text.charCodeAt(next) !== SLASH) next++;
  return next === used ? -1 : next;
}

/** Writes the values of all entries that fit the text into `out` from `count` on, and returns the new count. */
export function collectValues(
  words: Int32Array,
  root: number,
  fromEnd: boolean,
  text: string,
  out: number[],
  count: number,
): number {
  return collectFrom(words, root, fromEnd, text, 0, out, count);
}

function collectFrom(
  words: Int32Array,
  root: number,
  fromEnd: boolean,
  text: string,
  start: number,
  out: number[],
  count: number,
): number {
  const end = text.length;
  let node = root;
  let used = start;
  let found = count;
  for (;;) {
    const head = words[node] ?? 0;
    let child: number;
    if (head === HAS_CHILDREN) {
      // Nothing but a table, as most nodes are where many texts share a beginning.
      if (used === end) return found;
      const span = words[node + 1] ?? 0;
      const slot = text.charCodeAt(fromEnd ? end - 1 - used : used) - (span >> SPAN_BITS);
      child = slot < 0 || slot >= (span & SPAN_MASK) ? NONE : (words[node + 2 + slot] ?? NONE);
    } else {
      if (head >> LENGTH_SHIFT !== 0) {
        used = behindLabel(words, node, head, fromEnd, text, used);
        if (used < 0) return found;
      }
      if ((head & HAS_PREFIX) !== 0) out[found++] = prefixOf(words, node, head);
      if (used === end) {
        if ((head & HAS_EXACT) !== 0) out[found++] = words[node + 1] ?? 0;
        return found;
      }
      // Only here may a lookup fork, and as often as templates of the policies do.
      if ((head & FORKS) !== 0) {
        const next = behindSegment(text, used);
        const segment = childOf(words, node, head, SEGMENT_CODE);
        if (next >= 0) found = collectFrom(words, segment, fromEnd, text, next, out, found);
      }
      const code = text.charCodeAt(fromEnd ? end - 1 - used : used);
      if ((head & IS_WIDE) !== 0) {
        // Nothing ends between the two.
        if (used + 1 === end) return found;
        used++;
        child = wideChildOf(words, node, head, code, text.charCodeAt(fromEnd ? end - 1 - used : used));
      } else child = code === SEGMENT_CODE ? NONE : childOf(words, node, head, code);
      if (child <= LAST && (head & HAS_TAIL) !== 0) {
        if (hasTail(words, node, head, fromEnd, text, used + 1)) out[found++] = LAST - child;
        return found;
      }
    }
    used++;
    if (child < 0) {
      if (child <= LAST && used === end) out[found++] = LAST - child;
      return found;
    }
    node = child;
  }
}

/** The value of an entry that shares a long beginning (or end) with the text, of several that of the first text; -1: there is no entry. */
export function nearestValue(words: Int32Array, root: number, fromEnd: boolean, text: string): number {
  const end = text.length;
  let node = root;
  let used = 0;
  for (;;) {
    const head = words[node] ?? 0;
    used = behindLabel(words, node, head, fromEnd, text, used);
    if (used < 0 || used >= end) return firstValue(words, node);
    const code = text.charCodeAt(fromEnd ? end - 1 - used : used);
    if ((head & IS_WIDE) !== 0) {
      used++;
      const next = used < end ? text.charCodeAt(fromEnd ? end - 1 - used : used) : SEGMENT_CODE;
      const below = wideChildOf(words, node, head, code, next);
      if (below <= LAST) return LAST - below;
      if (below < 0) return firstInTable(words, node, head, code);
      used++;
      node = below;
      continue;
    }
    const child = code === SEGMENT_CODE ? NONE : childOf(words, node, head, code);
    if (child <= LAST) return LAST - child;
    const segment = child < 0 && (head & FORKS) !== 0 ? childOf(words, node, head, SEGMENT_CODE) : child;
    if (segment < 0) return firstValue(words, node);
    used = child < 0 ? behindSegment(text, used) : used + 1;
    if (used < 0) return firstValue(words, segment);
    node = segment;
  }
}

/** The value of the first text at or below a node. */
function firstValue(words: Int32Array, start: number): number {
  for (let node = start; ; ) {
    const head = words[node] ?? 0;
    if ((head & (HAS_EXACT | HAS_PREFIX)) !== 0) return words[node + 1] ?? NONE;
    if ((head & HAS_CHILDREN) === 0) return NONE;
    if ((head & IS_WIDE) !== 0)
      return firstInTable(words, node, head, (words[labelOf(node, head) - 1] ?? 0) >> SPAN_BITS);
    // A table begins with a child, and so do pairs.
    const first = childrenOf(node, head);
    const child = words[(head & IS_SPARSE) === 0 ? first : first + 1] ?? NONE;
    if (child <= LAST) return LAST - child;
    if (child < 0) return NONE;
    node = child;
  }
}

/** The value of the first text of a wide node that goes on with the character, or of all of them. */
function firstInTable(words: Int32Array, node: number, head: number, code: number): number {
  const rows = childrenOf(node, head);
  const first = words[labelOf(node, head) - 1] ?? 0;
  const length = (words[rows] ?? 0) & SPAN_MASK;
  const row = code - (first >> SPAN_BITS);
  const isRow = row >= 0 && row < (first & SPAN_MASK);
  for (const start of isRow ? [row, 0] : [0])
    for (let at = rows + 1 + start * length; at < rows + 1 + (first & SPAN_MASK) * length; at++) {
      const child = words[at] ?? NONE;
      if (child <= LAST) return LAST - child;
      if (child >= 0) return firstValue(words, child);
    }
  return NONE;
}
