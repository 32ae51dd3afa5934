/** A radix tree over the beginnings (or the ends) of texts, flat in typed arrays, so that a lookup among a hundred thousand entries touches
 *  a few cache lines. A lookup walks the text once and allocates nothing. Immutable. */
export interface TextTrie {
  readonly fromEnd: boolean;
  /** FIELDS numbers for each node; the root is node 0. */
  readonly nodes: Int32Array;
  /** Labels of the nodes, one after the other, in reading order of the walk. */
  readonly labels: Uint16Array;
  /** Children: by character from `MIN` on, or as pairs of character and child where the characters lie far apart. A child is the number of its
   *  node; or, where nothing but the end of a text comes behind the character, LAST less its value, so that most lookups end here; or NONE. */
  readonly table: Int32Array;
  /** For each node the least value at or below it. */
  readonly near: Int32Array;
}

/** Stands in an entry for a `{*}` of a template: one segment, which is everything up to the next slash and at least one character. Texts that are
 *  looked up never have it. */
export const SEGMENT = "\u0000";
const SEGMENT_CODE = 0;
const SLASH = 0x2f;
const FIELDS = 8;
const LABEL = 0;
const LENGTH = 1;
/** Value of the text that ends here, or -1. */
const EXACT = 2;
/** Value of all texts that begin so, or -1. */
const PREFIX = 3;
const BASE = 4;
/** First character of the table, or one of the next two for pairs. */
const MIN = 5;
const SPARSE = -1;
const SPARSE_WITH_SEGMENT = -2;
/** Characters of the table, or number of pairs. */
const SPAN = 6;
/** Second character of the label, so that short labels need no look at the others; -1: there is none. */
const SECOND = 7;
const MAX_SPAN = 256;
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

/** Builds a tree, yielding every few entries. `fromEnd`: for ends of texts. */
export function* buildTextTrie(entries: Iterable<TrieEntry>, fromEnd: boolean): Generator<void, TextTrie> {
  const root: Growing = { label: "", exact: -1, prefix: -1, children: undefined };
  let count = 0;
  for (const { text, form, value } of entries) {
    const node = insert(root, fromEnd ? text.split("").reverse().join("") : text);
    if (form === "exact") node.exact = value;
    else node.prefix = value;
    if ((++count & 63) === 0) yield;
  }
  return yield* flatten(root, fromEnd);
}

function insert(root: Growing, text: string): Growing {
  let node = root;
  let rest = text;
  while (rest !== "") {
    node.children ??= new Map();
    const child = node.children.get(rest.charCodeAt(0));
    if (child === undefined) {
      const leaf = { label: rest, exact: -1, prefix: -1, children: undefined };
      node.children.set(rest.charCodeAt(0), leaf);
      return leaf;
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

function* flatten(root: Growing, fromEnd: boolean): Generator<void, TextTrie> {
  const order: Growing[] = [root];
  const nodes = growingNumbers();
  const table = growingNumbers();
  const labels = growingNumbers();
  for (let at = 0; at < order.length; at++) {
    const node = order[at] ?? root;
    const codes = node.children === undefined ? [] : [...node.children.keys()].sort((a, b) => a - b);
    // Never 0 by chance: that says that there is a child for a segment.
    const min = codes[0] ?? 1;
    const span = codes.length === 0 ? 0 : (codes[codes.length - 1] ?? 0) - min + 1;
    const isTable = span <= MAX_SPAN;
    const sparse = codes[0] === SEGMENT_CODE ? SPARSE_WITH_SEGMENT : SPARSE;
    const second = node.label.length > 1 ? node.label.charCodeAt(1) : -1;
    // In the order of the fields.
    nodes.add(labels.count);
    nodes.add(node.label.length);
    nodes.add(node.exact);
    nodes.add(node.prefix);
    nodes.add(table.count);
    nodes.add(isTable ? min : sparse);
    nodes.add(isTable ? span : codes.length);
    nodes.add(second);
    for (let i = 0; i < node.label.length; i++) labels.add(node.label.charCodeAt(i));
    for (let i = 0; i < (isTable ? span : codes.length); i++) {
      const code = isTable ? min + i : (codes[i] ?? 0);
      if (!isTable) table.add(code);
      const child = node.children?.get(code);
      if (child === undefined) table.add(NONE);
      else table.add(isLast(child, code) ? LAST - child.exact : order.push(child) - 1);
    }
    if ((at & 63) === 63) yield;
  }
  const flat = { nodes: nodes.take(), table: table.take() };
  const near = yield* nearestValues(flat.nodes, flat.table);
  return { fromEnd, ...flat, labels: Uint16Array.from(labels.take()), near };
}

/** Whether the node only says that a text ends with its one character. */
function isLast({ label, exact, prefix, children }: Growing, code: number): boolean {
  return label.length === 1 && exact >= 0 && prefix < 0 && children === undefined && code !== SEGMENT_CODE;
}

/** Numbers side by side: copied as memory when they grow, and of no interest to the garbage collector. */
function growingNumbers(): { readonly count: number; add(value: number): void; take(): Int32Array } {
  let numbers = new Int32Array(64);
  let count = 0;
  return {
    get count() {
      return count;
    },
    add(value) {
      if (count === numbers.length) {
        const larger = new Int32Array(2 * count);
        larger.set(numbers);
        numbers = larger;
      }
      numbers[count++] = value;
    },
    take: () => numbers.slice(0, count),
  };
}

/** Children come after their parents, so one pass from the end does. */
function* nearestValues(nodes: Int32Array, table: Int32Array): Generator<void, Int32Array> {
  const near = new Int32Array(nodes.length / FIELDS);
  for (let node = near.length - 1; node >= 0; node--) {
    const at = node * FIELDS;
    const base = nodes[at + BASE] ?? 0;
    const span = nodes[at + SPAN] ?? 0;
    const isTable = (nodes[at + MIN] ?? 0) >= 0;
    let least = lesser(nodes[at + EXACT] ?? -1, nodes[at + PREFIX] ?? -1);
    for (let i = 0; i < span; i++) {
      const child = table[isTable ? base + i : base + 2 * i + 1] ?? NONE;
      least = lesser(least, child <= LAST ? LAST - child : (near[child] ?? -1));
    }
    near[node] = least;
    if ((node & 511) === 511) yield;
  }
  return near;
}

/** Of values that are not negative; -1: none of them is. */
function lesser(a: number, b: number): number {
  return a < 0 || (b >= 0 && b < a) ? b : a;
}

/** What the table has for a character. */
function childOf(trie: TextTrie, at: number, code: number): number {
  const { nodes, table } = trie;
  const base = nodes[at + BASE] ?? 0;
  const min = nodes[at + MIN] ?? 0;
  const span = nodes[at + SPAN] ?? 0;
  if (min >= 0) {
    const slot = code - min;
    return slot < 0 || slot >= span ? NONE : (table[base + slot] ?? NONE);
  }
  for (let i = 0; i < span; i++) if (table[base + 2 * i] === code) return table[base + 2 * i + 1] ?? NONE;
  return NONE;
}

/** Offset behind the label when it fits the text from `used` on, or -1. The first `known` characters have been compared already. */
function behindLabel(trie: TextTrie, at: number, text: string, used: number, known: number): number {
  const { nodes, labels, fromEnd } = trie;
  const length = nodes[at + LENGTH] ?? 0;
  if (length === known) return used + known;
  if (known === 1 && length === 2 && nodes[at + SECOND] !== SEGMENT_CODE) {
    const second = text.charCodeAt(fromEnd ? text.length - 2 - used : used + 1);
    return second === nodes[at + SECOND] ? used + 2 : -1;
  }
  const label = nodes[at + LABEL] ?? 0;
  const end = text.length;
  if (fromEnd) {
    if (used + length > end) return -1;
    for (let i = known; i < length; i++) if (text.charCodeAt(end - 1 - used - i) !== labels[label + i]) return -1;
    return used + length;
  }
  let next = used + known;
  for (let i = known; i < length; i++) {
    const code = labels[label + i];
    if (next >= end) return -1;
    if (code !== SEGMENT_CODE) {
      if (text.charCodeAt(next) !== code) return -1;
      next++;
      continue;
    }
    const from = next;
    while (next < end && text.charCodeAt(next) !== SLASH) next++;
    if (next === from) return -1;
  }
  return next;
}

/** Writes the values of all entries that fit the text into `out` from `count` on, and returns the new count. */
export function collectValues(trie: TextTrie, text: string, out: number[], count: number): number {
  return collectFrom(trie, text, 0, 0, out, count);
}

function collectFrom(trie: TextTrie, text: string, node: number, start: number, out: number[], count: number): number {
  const { nodes, fromEnd } = trie;
  const end = text.length;
  let at = node;
  let used = start;
  let found = count;
  let known = 0;
  for (;;) {
    used = behindLabel(trie, at, text, used, known);
    if (used < 0) return found;
    const prefix = nodes[at + PREFIX] ?? -1;
    if (prefix >= 0) out[found++] = prefix;
    if (used === end) {
      const exact = nodes[at + EXACT] ?? -1;
      if (exact >= 0) out[found++] = exact;
      return found;
    }
    // Only here may a lookup fork, and as often as templates of the policies do.
    const segment = hasSegment(nodes, at) ? childOf(trie, at, SEGMENT_CODE) : -1;
    if (segment >= 0) found = collectFrom(trie, text, segment * FIELDS, used, out, found);
    const code = text.charCodeAt(fromEnd ? end - 1 - used : used);
    const child = code === SEGMENT_CODE ? NONE : childOf(trie, at, code);
    if (child < 0) {
      if (child <= LAST && used + 1 === end) out[found++] = LAST - child;
      return found;
    }
    at = child * FIELDS;
    // The table has compared the label's first character.
    known = 1;
  }
}

function hasSegment(nodes: Int32Array, at: number): boolean {
  const min = nodes[at + MIN] ?? 1;
  return min === SEGMENT_CODE || min === SPARSE_WITH_SEGMENT;
}

/** The value of an entry that shares a long beginning (or end) with the text, the least of several; -1: there is no entry. */
export function nearestValue(trie: TextTrie, text: string): number {
  const { nodes, near, fromEnd } = trie;
  const end = text.length;
  let at = 0;
  let used = 0;
  for (;;) {
    used = behindLabel(trie, at, text, used, 0);
    if (used < 0 || used >= end) return near[at / FIELDS] ?? -1;
    let child = childOf(trie, at, text.charCodeAt(fromEnd ? end - 1 - used : used));
    if (child <= LAST) return LAST - child;
    if (child < 0 && hasSegment(nodes, at)) child = childOf(trie, at, SEGMENT_CODE);
    if (child < 0) return near[at / FIELDS] ?? -1;
    at = child * FIELDS;
  }
}
