/** A radix tree over the beginnings (or the ends) of texts, flat in typed arrays, so that a lookup among a hundred thousand entries touches
 *  a few cache lines. A lookup walks the text once and allocates nothing. Immutable. */
export interface TextTrie {
  readonly fromEnd: boolean;
  /** FIELDS numbers for each node; the root is node 0. */
  readonly nodes: Int32Array;
  /** Labels of the nodes, one after the other, in reading order of the walk. */
  readonly labels: Uint16Array;
  /** Children: by character from `MIN` on, or as pairs of character and child where the characters lie far apart. */
  readonly table: Int32Array;
}

const FIELDS = 8;
const LABEL = 0;
const LENGTH = 1;
/** Value of the text that ends here, or -1. */
const EXACT = 2;
/** Value of all texts that begin so, or -1. */
const PREFIX = 3;
const BASE = 4;
/** First character of the table, or -1 for pairs. */
const MIN = 5;
/** Characters of the table, or number of pairs. */
const SPAN = 6;
/** Least value at or below the node. */
const NEAR = 7;
const MAX_SPAN = 256;

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
  const nodes: number[] = [];
  const table: number[] = [];
  const labels: number[] = [];
  for (let at = 0; at < order.length; at++) {
    const node = order[at] ?? root;
    const codes = [...(node.children?.keys() ?? [])].toSorted((a, b) => a - b);
    const min = codes[0] ?? 0;
    const span = codes.length === 0 ? 0 : (codes[codes.length - 1] ?? 0) - min + 1;
    const isTable = span <= MAX_SPAN;
    nodes.push(labels.length, node.label.length, node.exact, node.prefix, table.length);
    nodes.push(isTable ? min : -1, isTable ? span : codes.length, -1);
    for (let i = 0; i < node.label.length; i++) labels.push(node.label.charCodeAt(i));
    let next = order.length;
    if (isTable) for (let i = 0; i < span; i++) table.push(node.children?.has(min + i) === true ? next++ : -1);
    else for (const code of codes) table.push(code, next++);
    for (const code of codes) {
      const child = node.children?.get(code);
      if (child !== undefined) order.push(child);
    }
    if ((at & 63) === 63) yield;
  }
  const flat = Int32Array.from(nodes);
  setNearest(flat, order, Int32Array.from(table));
  return { fromEnd, nodes: flat, labels: Uint16Array.from(labels), table: Int32Array.from(table) };
}

/** Children come after their parents, so one pass from the end does. */
function setNearest(nodes: Int32Array, order: readonly unknown[], table: Int32Array): void {
  const field = (node: number, name: number) => nodes[node * FIELDS + name] ?? 0;
  for (let node = order.length - 1; node >= 0; node--) {
    let near = field(node, EXACT);
    const consider = (value: number) => {
      if (value >= 0 && (near < 0 || value < near)) near = value;
    };
    consider(field(node, PREFIX));
    const base = field(node, BASE);
    const isTable = field(node, MIN) >= 0;
    for (let i = 0; i < field(node, SPAN); i++) {
      const child = table[isTable ? base + i : base + 2 * i + 1] ?? -1;
      if (child >= 0) consider(field(child, NEAR));
    }
    nodes[node * FIELDS + NEAR] = near;
  }
}

function childOf(trie: TextTrie, at: number, code: number): number {
  const { nodes, table } = trie;
  const base = nodes[at + BASE] ?? 0;
  const min = nodes[at + MIN] ?? 0;
  const span = nodes[at + SPAN] ?? 0;
  if (min >= 0) {
    const slot = code - min;
    return slot < 0 || slot >= span ? -1 : (table[base + slot] ?? -1);
  }
  for (let i = 0; i < span; i++) if (table[base + 2 * i] === code) return table[base + 2 * i + 1] ?? -1;
  return -1;
}

/** Writes the values of all entries that fit the text into `out` from `count` on, and returns the new count. */
export function collectValues(trie: TextTrie, text: string, out: number[], count: number): number {
  const { nodes, labels, fromEnd } = trie;
  const end = text.length;
  const last = end - 1;
  let at = 0;
  let used = 0;
  let found = count;
  for (;;) {
    const label = nodes[at + LABEL] ?? 0;
    const length = nodes[at + LENGTH] ?? 0;
    if (used + length > end) return found;
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(fromEnd ? last - used - i : used + i);
      if (code !== labels[label + i]) return found;
    }
    used += length;
    const prefix = nodes[at + PREFIX] ?? -1;
    if (prefix >= 0) out[found++] = prefix;
    if (used === end) {
      const exact = nodes[at + EXACT] ?? -1;
      if (exact >= 0) out[found++] = exact;
      return found;
    }
    const child = childOf(trie, at, text.charCodeAt(fromEnd ? last - used : used));
    if (child < 0) return found;
    at = child * FIELDS;
  }
}

/** The value of the entry that shares the longest beginning (or end) with the text, the least of several; -1: there is no entry. */
export function nearestValue(trie: TextTrie, text: string): number {
  const { nodes, labels, fromEnd } = trie;
  const last = text.length - 1;
  let at = 0;
  let used = 0;
  for (;;) {
    const label = nodes[at + LABEL] ?? 0;
    const length = nodes[at + LENGTH] ?? 0;
    for (let i = 0; i < length; i++) {
      const code = text.charCodeAt(fromEnd ? last - used - i : used + i);
      if (code !== labels[label + i]) return nodes[at + NEAR] ?? -1;
    }
    used += length;
    if (used > last) return nodes[at + NEAR] ?? -1;
    const child = childOf(trie, at, text.charCodeAt(fromEnd ? last - used : used));
    if (child < 0) return nodes[at + NEAR] ?? -1;
    at = child * FIELDS;
  }
}
